#!/bin/sh
# Installs what a target needs: setup.sh build | run | test | torture-long | bench-refused | packages |
# packages-check | e2e | e2e-kernels
# As root it installs what is missing through apt-get or dnf; otherwise it prints the exact command and ends with 3.
set -eu

want=${1:-build}
missing=

# need COMMAND-OR-FILE DEBIAN-PACKAGE FEDORA-PACKAGE
need() {
    case $1 in
    /*) [ -e "$1" ] && return ;;
    *) command -v "$1" >/dev/null 2>&1 && return ;;
    esac
    if [ "$manager" = dnf ]; then missing="$missing $3"; else missing="$missing $2"; fi
}

PATH=$PATH:/usr/sbin:/sbin:/usr/local/go/bin
manager=none
if command -v apt-get >/dev/null 2>&1; then
    manager=apt-get
elif command -v dnf >/dev/null 2>&1; then
    manager=dnf
fi

if ! command -v go >/dev/null 2>&1; then
    echo "setup: the go command is not in PATH; install Go 1.26 or newer from https://go.dev/dl/" >&2
    exit 3
fi
need gcc gcc gcc
need /usr/include/stdio.h libc6-dev glibc-devel
need /usr/include/systemd/sd-journal.h libsystemd-dev systemd-devel
case $want in
build) ;;
packages | packages-check)
    if [ "$manager" = dnf ]; then
        echo "setup: packages are built on Debian or Ubuntu: the old C library that they are linked to comes from Debian" >&2
        exit 3
    fi
    need x86_64-linux-gnu-gcc gcc-x86-64-linux-gnu -
    need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu -
    need /usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring -
    need git git -
    need gpg gpg -
    need gpg-agent gpg-agent -
    need gzip gzip -
    ;;
*)
    need ip iproute2 iproute
    need nft nftables nftables
    need flock util-linux util-linux
    need conntrack conntrack conntrack-tools
    ;;
esac
if [ "$want" = test ] || [ "$want" = torture-long ]; then
    need rsyslogd rsyslog rsyslog
    [ "$manager" = dnf ] || need prometheus-alertmanager prometheus-alertmanager -
    need logrotate logrotate logrotate
    need /lib/systemd/systemd-journald systemd systemd
    need journalctl systemd systemd
    need sysctl procps procps-ng
    need gzip gzip gzip
    need bzip2 bzip2 bzip2
    need xz xz-utils xz
    need zstd zstd zstd
    need setpriv util-linux util-linux
    need findmnt util-linux util-linux
    need systemd-analyze systemd systemd
    need shellcheck shellcheck ShellCheck
    need dash dash dash
    need mkfs.ext4 e2fsprogs e2fsprogs
    need e2fsck e2fsprogs e2fsprogs
    need strace strace strace
    need logger bsdutils util-linux
    need curl curl curl
    need groff groff-base groff-base
    need chromium chromium chromium
fi
if [ "$want" = packages-check ]; then
    need lintian lintian -
    need rpmlint rpmlint -
    need /usr/lib/python3/dist-packages/magic python3-magic - # without it rpmlint sees no program
    need rpm rpm -
    need rpm2cpio rpm2cpio -
    need cpio cpio -
    need ar binutils -
    need gpgv gpgv -
    need groff groff-base -
    need mandoc mandoc -
    need ansible-playbook ansible-core -
    need ansible-lint ansible-lint -
    need shellcheck shellcheck -
fi
if [ "$want" = e2e ]; then
    need debootstrap debootstrap debootstrap
    need /usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring debian-keyring
    need systemd-nspawn systemd-container systemd-container
    need /lib/systemd/systemd-journald systemd systemd
    need journalctl systemd systemd
    need unshare util-linux util-linux
    need nsenter util-linux util-linux
    need dpkg-deb dpkg dpkg
    need qemu-aarch64-static qemu-user-static qemu-user-static-aarch64
fi
if [ "$want" = bench-refused ]; then
    need rsyslogd rsyslog rsyslog
    need swatchdog swatch swatch
    need taskset util-linux util-linux
    need sysctl procps procps-ng
fi
if [ "$want" = torture-long ] || [ "$want" = e2e-kernels ]; then # what boots Debian's kernels
    need qemu-system-x86_64 qemu-system-x86 qemu-system-x86-core
    need busybox busybox-static busybox
    need modinfo kmod kmod
    need xz xz-utils xz
    need zstd zstd zstd
    need apt-cache apt apt
    need dpkg-deb dpkg dpkg
    need /usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring debian-keyring
    need /lib/systemd/systemd-sysctl systemd systemd
fi

[ -z "$missing" ] && exit 0
missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
missing=${missing% }

case $manager in
apt-get) command="apt-get update && apt-get install -y --no-install-recommends $missing" ;;
dnf) command="dnf install -y $missing" ;;
*)
    echo "setup: neither apt-get nor dnf is here; install: $missing" >&2
    exit 3
    ;;
esac
if [ "$(id -u)" != 0 ]; then
    echo "setup: missing: $missing" >&2
    echo "setup: run as root: $command" >&2
    exit 3
fi
echo "setup: installing: $missing" >&2
log=$(mktemp)
if ! DEBIAN_FRONTEND=noninteractive sh -c "$command" >"$log" 2>&1; then
    cat "$log" >&2
    echo "setup: installing failed: $command" >&2
    rm -f "$log"
    exit 3
fi
rm -f "$log"
