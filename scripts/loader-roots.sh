#!/bin/sh
# Unpacks systemd and procps of other Debian releases, with the libraries that they need, for the test that reads sysctl.d
# files as they do: loader-roots.sh DIR SUITE...
# Nothing is installed, and nothing of this system's package lists is touched. Prints the roots with a colon between two.
set -eu

dir=$1
shift
mirror=${MIRROR:-http://deb.debian.org/debian}
roots=
for suite; do
    root=$dir/$suite
    roots=${roots:+$roots:}$root
    [ ! -e "$root/.complete" ] || continue
    state=$dir/apt-$suite
    rm -rf "$root" "$state"
    mkdir -p "$root" "$state/lists/partial" "$state/cache/archives/partial"
    : >"$state/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$state/sources.list"
    set -- -qq -o Dir::State="$state" -o Dir::State::lists="$state/lists" -o Dir::State::status="$state/status" \
        -o Dir::Cache="$state/cache" -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o APT::Sandbox::User=root -o APT::Install-Recommends=false -o Debug::NoLocking=true
    apt-get "$@" update >&2
    apt-get "$@" --download-only --yes install systemd procps >&2
    for package in "$state"/cache/archives/*.deb; do
        dpkg-deb --extract "$package" "$root"
    done
    rm -rf "$state"
    : >"$root/.complete"
done
echo "$roots"
