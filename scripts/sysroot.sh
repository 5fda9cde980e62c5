#!/bin/sh
# Prints the C compiler that builds against an old C library: sysroot.sh amd64 | arm64
#
# What a program needs of the C library is decided by the one that it is linked against, and this machine's own may be
# years newer than those of the hosts where ctwarden runs. So the headers and libraries are Debian 11's (glibc 2.31, none of
# whose additions to 2.28 are used; packaging/glibcfloor checks that), taken from its packages, whose signatures apt
# checks. The compiler is this machine's. They are kept in the user's cache; CTWARDEN_MIRROR names another mirror.
set -eu

suite=bullseye
recipe=1 # to be raised with every change of what is in the directory
packages="libc6 libc6-dev linux-libc-dev libgcc-s1 libsystemd-dev"
mirrors=${CTWARDEN_MIRROR:-http://deb.debian.org/debian http://archive.debian.org/debian}
keyrings=/usr/share/keyrings

die() {
    echo "sysroot: $*" >&2
    exit 1
}

case ${1:-} in
amd64) arch=amd64 triplet=x86_64-linux-gnu ;;
arm64) arch=arm64 triplet=aarch64-linux-gnu ;;
*) die "which architecture, amd64 or arm64?" ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ctwarden
sysroot=$cache/sysroot-$suite-$arch-$recipe
command -v "$triplet-gcc" >/dev/null || die "$triplet-gcc is not here: run scripts/setup.sh packages as root"

# signers are the key files of Debian that are here: older suites' keys move to the second in time.
signers() {
    list=
    for name in debian-archive-keyring.gpg debian-archive-removed-keys.gpg; do
        [ ! -e "$keyrings/$name" ] || list="$list${list:+,}$keyrings/$name"
    done
    [ -n "$list" ] || die "Debian's keys are not in $keyrings: install debian-archive-keyring"
    echo "$list"
}

# apt STATE COMMAND...: apt-get with lists of its own, for the wanted architecture alone. An old suite's lists have expired.
apt() {
    state=$1
    shift
    apt-get -qq -o Dir::State="$state" -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache" \
        -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
        -o APT::Architecture="$arch" -o APT::Architectures="$arch" -o Acquire::Languages=none \
        -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User="$(id -un)" "$@"
}

# download DIR: puts the packages there, from the first mirror that has them.
download() {
    keys=$(signers)
    for mirror in $mirrors; do
        rm -rf "$1/apt"
        mkdir -p "$1/apt/lists/partial" "$1/apt/cache/archives/partial"
        : >"$1/apt/status"
        echo "deb [signed-by=$keys] $mirror $suite main" >"$1/apt/sources.list"
        # shellcheck disable=SC2086 # a list of names
        if apt "$1/apt" update >&2 && (cd "$1" && apt "$1/apt" download $packages >&2); then
            return
        fi
        echo "sysroot: $mirror has no usable $suite" >&2
    done
    die "no mirror has $suite: $mirrors"
}

# verify DIR: what a mirror has, though signed, must be what everybody else has built with.
verify() {
    grep "_\($arch\|all\)\.deb$" "$here/sysroot.sums" >"$1/sums"
    (cd "$1" && ls ./*.deb && cut -c67- sums) | sed 's|^\./||' | sort | uniq -u | grep . && die "packages that are not in scripts/sysroot.sums, or only there"
    (cd "$1" && sha256sum --quiet --strict -c sums) || die "packages that are not those of scripts/sysroot.sums"
}

# relative DIR: has links with absolute targets point into DIR, not into this machine.
relative() {
    find "$1" -type l | while IFS= read -r link; do
        target=$(readlink "$link")
        case $target in /*) ln -sfr "$1$target" "$link" ;; esac
    done
}

# wrapper: the compiler, which looks nowhere but in the sysroot and its own directory.
wrapper() {
    include=$("$triplet-gcc" -print-file-name=include)
    cat <<END
#!/bin/sh
s=$sysroot
exec $triplet-gcc --sysroot="\$s" -nostdinc -isystem $include -isystem "\$s/usr/include/$triplet" -isystem "\$s/usr/include" \\
    -B"\$s/usr/lib/$triplet/" -L"\$s/usr/lib/$triplet" -L"\$s/lib/$triplet" "\$@"
END
}

# lay_out: makes the sysroot aside, so that one that was cut short is never taken for a whole one.
lay_out() {
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/making-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    download "$work"
    verify "$work"
    mkdir "$work/root"
    for deb in "$work"/*.deb; do
        dpkg-deb -x "$deb" "$work/root"
    done
    relative "$work/root"
    mv -T "$work/root" "$sysroot" 2>/dev/null || [ -d "$sysroot" ] || die "cannot move to $sysroot"
}

[ -d "$sysroot" ] || lay_out >&2
wrapper >"$sysroot/cc.$$" # anew each time: the machine's compiler may have been upgraded
chmod 0755 "$sysroot/cc.$$"
mv "$sysroot/cc.$$" "$sysroot/cc"
echo "$sysroot/cc"
