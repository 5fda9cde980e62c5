#!/bin/sh
# Runs every fuzz target of the project, one after the other: fuzz.sh TIME [NAME]
# TIME is for each target (30s, 2m); NAME runs only the targets whose name contains it. PACKAGES=./notify in the
# environment looks for them there alone. Inputs that fail are kept in testdata/fuzz of the target's package, to be mended
# and committed with the mending. Ends with 1 where one failed, or where there is none.
set -eu

time=${1:-30s}
only=${2:-}
go=${GO:-go}
failed=
targets=0

# The scratch files of a target are for nobody to keep, and a disk would be what is tested.
if [ -d /dev/shm ] && [ -w /dev/shm ]; then
    export GOTMPDIR="${GOTMPDIR:-${TMPDIR:-/tmp}}" TMPDIR=/dev/shm
fi

for package in $($go list ${PACKAGES:-./...}); do
    listed=$($go test -run '^$' -list '^Fuzz' "$package")
    for name in $(echo "$listed" | grep '^Fuzz' | grep -e "$only"); do
        targets=$((targets + 1))
        echo "fuzz: $package $name for $time"
        if ! $go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 500x -parallel 1 "$package"; then
            failed="$failed $package.$name"
        fi
    done
done
if [ -n "$failed" ]; then
    echo "fuzz: failed:$failed" >&2
    exit 1
fi
if [ "$targets" = 0 ]; then
    echo "fuzz: there is no target $only" >&2
    exit 1
fi
line="6.10 fuzzing: $targets targets for $time each, none failed"
echo "fuzz: $line"
if [ -n "${CTWARDEN_PROMISES:-}" ]; then
    echo "$line" >>"$CTWARDEN_PROMISES"
fi
