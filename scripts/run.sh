#!/bin/sh
# Runs both programs on this host in observe mode: a hub with a NATS server of its own on loopback, and the agent on
# the host's real sources. Prints the state, then each event. Nothing of the host is changed. Ctrl-C ends both.
set -eu

bin=$(cd "$(dirname "$0")/../bin" && pwd)
scratch=$(mktemp -d)
hub=
agent=
tail=

finish() {
    trap - EXIT INT TERM
    for pid in $agent $hub $tail; do # the agent first, so that its last event still arrives
        kill -TERM "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$scratch"
    echo "run: both ended, nothing of this host was changed"
}
trap 'finish; exit 0' INT TERM
trap finish EXIT

# wait_for PID FILE TEXT: until the file has the text. A program that ends before is an error.
wait_for() {
    tries=0
    until grep -q "$3" "$2" 2>/dev/null; do
        if ! kill -0 "$1" 2>/dev/null || [ $tries -ge 300 ]; then
            echo "run: did not start:" >&2
            cat "$scratch"/*.log >&2
            exit 3
        fi
        tries=$((tries + 1))
        sleep 0.1
    done
}

# A process group of its own keeps Ctrl-C from the programs: this script ends them, in order.
setsid "$bin/ctwarden-hub" serve --embedded --listen 127.0.0.1:0 --store "$scratch/nats" \
    >"$scratch/events" 2>"$scratch/hub.log" &
hub=$!
wait_for "$hub" "$scratch/events" 'ready at'
url=$(sed -n 's/.*ready at //p' "$scratch/events")

cat >"$scratch/ctwarden.yaml" <<END
mode: observe
nats: {servers: ["$url"]}
metrics: {listen: ""}
state_dir: $scratch/state
runtime_dir: $scratch/run
END
setsid "$bin/ctwarden" run --config "$scratch/ctwarden.yaml" >"$scratch/agent.log" 2>&1 &
agent=$!
wait_for "$agent" "$scratch/agent.log" 'agent ready'
"$bin/ctwarden" status --config "$scratch/ctwarden.yaml"
echo
echo "events as they come; Ctrl-C ends both programs"
tail -n +1 -f "$scratch/events" &
tail=$!
wait "$agent" || true # a signal ends this wait, and the trap does the rest
