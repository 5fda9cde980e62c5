#!/bin/sh
# Runs both programs on this host in observe mode: a hub with a NATS server of its own on loopback, and the agent on
# the host's real sources. Prints the state, then each event. Nothing of the host is changed. Ctrl-C ends both.
set -eu

bin=$(cd "$(dirname "$0")/../bin" && pwd)
scratch=$(mktemp -d)
hub= agent=

finish() {
    trap - EXIT INT TERM
    for pid in $agent $hub; do
        kill -TERM "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$scratch"
    echo "run: both ended, nothing of this host was changed"
}
trap 'finish; exit 0' INT TERM
trap finish EXIT

# wait_for PID FILE WHAT: until FILE holds something.
wait_for() {
    tries=0
    until [ -s "$2" ]; do
        if ! kill -0 "$1" 2>/dev/null || [ $tries -ge 150 ]; then
            echo "run: $3 did not start:" >&2
            cat "$scratch"/*.log >&2
            exit 3
        fi
        tries=$((tries + 1))
        sleep 0.1
    done
}

port=$(awk 'BEGIN { srand(); print 20000 + int(rand() * 20000) }')
setsid "$bin/ctwarden-hub" serve --embedded --listen "127.0.0.1:$port" --store "$scratch/hub" \
    >"$scratch/events" 2>"$scratch/hub.log" &
hub=$!
wait_for "$hub" "$scratch/hub.log" ctwarden-hub

cat >"$scratch/ctwarden.yaml" <<END
mode: observe
nats: {servers: ["nats://127.0.0.1:$port"]}
metrics: {listen: "127.0.0.1:0"}
state_dir: $scratch/state
runtime_dir: $scratch/run
END
setsid "$bin/ctwarden" run --config "$scratch/ctwarden.yaml" >"$scratch/agent.log" 2>&1 &
agent=$!
wait_for "$agent" "$scratch/events" ctwarden
"$bin/ctwarden" status --config "$scratch/ctwarden.yaml"
echo
echo "events as they come (Ctrl-C ends):"
tail -n +1 -f "$scratch/events" --pid="$agent" &
wait $! || true
