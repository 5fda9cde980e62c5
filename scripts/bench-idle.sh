#!/bin/sh
# Measures what `ctwarden run` costs a host on which nothing happens: bench-idle.sh [SECONDS [NAMESPACES...]]
# For each number of network namespaces, without and with NATS, it prints the share of one CPU over so many seconds (300),
# the resident memory, and how often the program was woken up. The settings are the defaults; kmsg, a journald of its
# own and two syslog files are read. It works in mount, process and network namespaces of its own, since whatever else
# happens on the host would be measured too; lines of the kernel's log still are. Needs root; nothing of the host is
# changed. NATS=off or NATS=on in the environment: that alone. MODE=remediate: in that mode. RIGHTS=packaged: not as root, but
# as the packaged service is in observe mode, with namespaces.conf.
#
# What is beyond its goal is MISSED, and the command ends with 1: 20 MB, and in observe mode, at a limit of 262,144 or more,
# 0.1 % of one CPU, 0.3 % beside more namespaces.
#
# The program is a copy, written in small pieces as package managers do: Linux 6.18 maps a file in the pieces in which it
# lies in memory. What comes straight from the linker lies there in pieces of a megabyte, and 4 MB more are resident.
set -eu

bin=${CTWARDEN_BIN:-$(cd "$(dirname "$0")/../bin" && pwd)}

# inside SCRATCH NAMESPACES NATS: makes a small host and becomes the agent on it.
inside() {
    # Namespaces of others are seen by what they are mounted on.
    awk '/ - nsfs / {print $5}' /proc/self/mountinfo | while read -r at; do umount -l "$at"; done
    mount -t tmpfs none /run
    mkdir -p /run/netns /run/log /run/systemd/journal /run/systemd/journald.conf.d "$1/log"
    install -d -g systemd-journal -m 2755 /run/log/journal
    printf '[Journal]\nStorage=volatile\nReadKMsg=yes\nRateLimitBurst=0\n' >/run/systemd/journald.conf.d/bench.conf
    /lib/systemd/systemd-journald >/dev/null 2>&1 &
    for name in kern.log syslog; do
        echo "$(date -Iseconds) $(uname -n) kernel: [    1.000000] Linux" >"$1/log/$name"
    done
    mount --bind "$1/log" /var/log
    ip link set lo up
    for i in $(seq 100); do sleep infinity & done
    for i in $(seq "$2"); do
        ip netns add "bench$i"
        ip -n "bench$i" link set lo up
        ip netns exec "bench$i" nft 'add table ip t; add chain ip t c { type filter hook output priority 0; }
            add rule ip t c ct state new accept'
        ip netns exec "bench$i" bash -c 'echo 86400 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout
            for port in 1 2 3; do echo >/dev/udp/127.0.0.1/900$port; done'
    done
    if [ "$3" = on ]; then
        "$bin/ctwarden-hub" serve --embedded --listen 127.0.0.1:4222 --store "$1/nats" >"$1/hub.log" 2>&1 &
        until grep -q 'ready at' "$1/hub.log"; do sleep 0.2; done
        echo 'nats: {servers: ["nats://127.0.0.1:4222"]}' >"$1/ctwarden.yaml"
    fi
    printf 'mode: %s\nstate_dir: %s/state\nruntime_dir: %s/run\n' "${MODE:-observe}" "$1" "$1" >>"$1/ctwarden.yaml"
    if [ "${RIGHTS:-root}" = packaged ]; then
        mkdir "$1/state" "$1/run"
        chown nobody: "$1/state" "$1/run"
        chmod 755 "$1"
        caps=-all,+syslog,+sys_ptrace,+sys_admin
        set -- "$1" setpriv --reuid=nobody --regid=nogroup --groups=adm,systemd-journal \
            --bounding-set=$caps --inh-caps=$caps --ambient-caps=$caps --no-new-privs
    else
        set -- "$1"
    fi
    scratch=$1
    shift
    exec "$@" "$scratch/ctwarden" run --config "$scratch/ctwarden.yaml"
}

# usage PID: hundredths of a second on a CPU so far, and waits.
usage() {
    awk '{printf "%d ", $14 + $15}' "/proc/$1/stat"
    cat "/proc/$1/task"/*/status | awk '/^voluntary/ {n += $2} END {print n}'
}

# incidents SCRATCH: how many are open.
incidents() {
    text=$("$1/ctwarden" status --config "$1/ctwarden.yaml") || return
    echo "$text" | awk '$2 == "open" && $3 == "of" {n = $1} END {print n + 0}'
}

# calm SCRATCH: waits until none is. The journald brings the kernel's old lines as new ones, and what they opened has to close.
calm() {
    tries=0
    until [ "$(incidents "$1")" = 0 ]; do
        tries=$((tries + 1))
        if [ $tries -gt 120 ]; then
            echo "an incident stays open: nothing is measured" >&2
            exit 3
        fi
        sleep 5
    done
}

measure() { # SECONDS NAMESPACES NATS
    scratch=$(mktemp -d -p /var/tmp) # on a disk
    dd if="$bin/ctwarden" of="$scratch/ctwarden" bs=32k status=none
    chmod 755 "$scratch/ctwarden"
    unshare --mount --pid --net --fork --kill-child --mount-proc --propagation private \
        "$0" inside "$scratch" "$2" "$3" >"$scratch/agent.log" 2>&1 9>&- &
    outer=$!
    tries=0
    until grep -q 'agent ready' "$scratch/agent.log" 2>/dev/null; do
        tries=$((tries + 1))
        if [ $tries -gt 600 ] || ! kill -0 $outer 2>/dev/null; then
            cat "$scratch/agent.log" "$scratch"/hub.log >&2 2>/dev/null || true
            exit 3
        fi
        sleep 0.2
    done
    calm "$scratch"
    sleep 60 # the start is over: old records, the first look at every table
    calm "$scratch"
    agent=$(cat "/proc/$outer/task/$outer/children")
    agent=${agent% }
    [ "$(cat "/proc/$agent/comm")" = ctwarden ]
    before=$(usage "$agent")
    sleep "$1"
    after=$(usage "$agent")
    rest=yes
    [ "$(incidents "$scratch")" = 0 ] || rest=no
    rss=$(awk '/^VmRSS/ {print $2 / 1024}' "/proc/$agent/status")
    echo "$before $after $1 $2 $3 $rss $(cat /proc/sys/net/netfilter/nf_conntrack_max)" |
        awk -v mode="${MODE:-observe}" -v rights="${RIGHTS:-root}" -v rest=$rest '
            function missed(value, goal) {
                if (value <= goal) return ""
                any = 1
                return " (MISSED " goal ")"
            }
            function judged(cpu, goal) {
                if (rest == "no") return " (not judged: an incident was opened meanwhile)"
                if (mode != "observe" || $9 < 262144) return " (no goal)"
                return missed(cpu, goal)
            }
            {
                cpu = ($3 - $1) / $5
                printf "%s, %s, limit %d, %d more namespaces, NATS %s: %.3f %% of a CPU%s, %.1f MB resident%s, %.0f waits/s\n",
                    mode, rights, $9, $6, $7, cpu, judged(cpu, $6 > 0 ? 0.3 : 0.1), $8, missed($8, 20), ($4 - $2) / $5
                exit any
            }' || missed=1
    kill -TERM $outer 2>/dev/null || true # the agent is its init process: all in there end with it
    kill -TERM "$agent" 2>/dev/null || true
    wait $outer 2>/dev/null || true
    rm -rf "$scratch"
}

if [ "${1:-}" = inside ]; then
    shift
    inside "$@"
fi
# The tests lower the one limit of the kernel: the nearer it is, the more often a table is read.
exec 9>>/run/lock/ctwarden-kernel.lock
flock 9
missed=0
seconds=${1:-300}
[ $# -gt 0 ] && shift
for namespaces in "${@:-0 200}"; do
    for nats in ${NATS:-off on}; do
        for n in $namespaces; do measure "$seconds" "$n" $nats; done
    done
done
exit $missed
