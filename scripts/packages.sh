#!/bin/sh
# Makes the packages: packages.sh DIRECTORY
#
# In: VERSION (default: scripts/version.sh), SOURCE_DATE_EPOCH (default: the last commit's time), ARCHES (default: "amd64 arm64"),
# NFPM_SIGNING_KEY_FILE with NFPM_PASSPHRASE (default: nothing is signed), GO, TAGS. The same sources, compilers and
# SOURCE_DATE_EPOCH make the same files, bit for bit, but for signatures.
set -eu
umask 022
export LC_ALL=C TZ=UTC

go=${GO:-go}
tags=${TAGS:-nethttpomithttp2}
arches=${ARCHES:-amd64 arm64}
nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
cyclonedx=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
# What the environment says of cgo would change what is built.
export GOENV=off # nor is what "go env -w" has kept
unset CGO_CPPFLAGS CGO_CXXFLAGS CGO_LDFLAGS GOAMD64 GOARM64 GOFLAGS
export CGO_CFLAGS=-O2

die() {
    echo "packages: $*" >&2
    exit 1
}

[ $# = 1 ] || die "name the directory for the packages"
cd "$(dirname "$0")/.."
mkdir -p "$1"
dist=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 143' TERM # dash ends without the other trap else

check_version() {
    echo "$1" | grep -Eq '^[0-9][0-9A-Za-z.+~]*$' ||
        die "VERSION=$1: begin with a digit, go on with letters, digits and . + ~, which dpkg and rpm both take"
}

# build PROGRAM ARCH: the agent reads the journal through libsystemd, which it loads at run time, for which it needs cgo. The
# hub needs no cgo: it is static, and asks name servers itself as /etc/resolv.conf and /etc/hosts say, without NSS modules.
build() {
    cgo=0 compiler=
    if [ "$1" = ctwarden ]; then
        cgo=1 compiler=$(scripts/sysroot.sh "$2")
    fi
    CGO_ENABLED=$cgo CC=$compiler GOOS=linux GOARCH=$2 "$go" build -trimpath -buildvcs=false -tags "$tags" \
        -ldflags "-s -w -buildid= -X main.version=$version -extldflags=-Wl,-z,relro,-z,now,--build-id=none" \
        -o "$work/$2/bin/$1" "./cmd/$1"
}

# floor ARCH: ends everything where a program asks for more than the C library of the oldest hosts has.
floor() {
    tool ./packaging/glibcfloor -floor 2.28 "$work/$1/bin/ctwarden" "$work/$1/bin/ctwarden-hub" >"$work/floor"
    sed "s|^$work/||" "$work/floor"
}

# tool PACKAGE ARGUMENT...: runs a program for this machine, whatever is built. TOOLS_GOCACHE keeps what is built of them
# apart from a GOCACHE that was cleared to build all else anew.
tool() {
    CGO_ENABLED=0 CC='' GOCACHE=$tools_cache "$go" run -buildvcs=false "$@"
}

# documents PROGRAM CONFIG ARCH: manual pages and completions, from the program itself, the copyright file.
documents() {
    doc=$work/doc/$1
    mkdir -p "$doc/completion"
    tool ./packaging/man -program "$work/$3/bin/$1" -config "packaging/$2" -out "$doc/man" -version "$version" -date "$day"
    gzip -9n "$doc"/man/*
    for shell in bash zsh fish; do
        "$work/$3/bin/$1" completion $shell >"$doc/completion/$shell"
    done
    CGO_ENABLED=1 CC='' GOCACHE=$tools_cache "$go" run -buildvcs=false ./packaging/licenses -tags "$tags" "./cmd/$1" >"$doc/copyright"
    gzip -9nc CHANGELOG.md >"$doc/CHANGELOG.md.gz"
    changelog "$1" | gzip -9n >"$doc/changelog.gz"
}

# changelog PROGRAM: in Debian's form, one entry for this version.
changelog() {
    cat <<END
$1 ($version) stable; urgency=medium

  * Version $version.
  * What has changed is told in CHANGELOG.md.gz, beside this file.

 -- ctwarden developers <maintainers@ctwarden.io>  $(date -u -d "@$SOURCE_DATE_EPOCH" '+%a, %d %b %Y %H:%M:%S +0000')
END
}

# rpm_changelog: the same for rpm, in the form that nfpm reads.
rpm_changelog() {
    cat <<END
- semver: "$version-1"
  date: $stamp
  packager: ctwarden developers <maintainers@ctwarden.io>
  changes:
    - note: Version $version. What has changed is told in CHANGELOG.md.gz, beside the other documents.
END
}

# sbom PROGRAM ARCH: what is linked into the program, as CycloneDX.
sbom() {
    sbom=$work/$2/$1.sbom
    tool $cyclonedx bin -json -licenses -std -noserial -version "v$version" -output "$sbom" "$work/$2/bin/$1" 2>"$sbom.log" ||
        { cat "$sbom.log" >&2 && die "no SBOM of $1"; }
    # The time of the run is the one thing in it that is not the same twice.
    sed "s/\"timestamp\": \"[^\"]*\"/\"timestamp\": \"$stamp\"/" "$sbom" >"$dist/$1-$version-$2.cdx.json"
}

# lay_out PROGRAM ARCH: the tree that nfpm's files name, with the modes and times that the packages have.
lay_out() {
    tree=$work/tree/$1-$2
    mkdir -p "$tree/bin"
    cp -R packaging systemd LICENSE "$tree/"
    cp "$work/$2/bin/$1" "$tree/bin/"
    cp -R "$work/doc/$1" "$tree/doc"
    cp "$dist/$1-$version-$2.cdx.json" "$tree/doc/sbom.cdx.json"
    rpm_changelog >"$tree/changelog.yaml"
    find "$tree" -type d -exec chmod 0755 {} +
    find "$tree" -type f -exec chmod 0644 {} +
    chmod 0755 "$tree/bin/$1"
    find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

# manuals PROGRAM: a line for nfpm for each manual page.
manuals() {
    for page in "$work/doc/$1/man"/*; do
        page=${page##*/}
        section=${page%.gz}
        echo "  - {src: doc/man/$page, dst: /usr/share/man/man${section##*.}/$page, type: doc}"
    done
}

# recipe PROGRAM FORMAT MANUALS: what nfpm is to read. It leaves documents out of a .deb, and writes a changelog of its own
# there.
recipe() {
    manuals "$1" >"$3"
    case $2 in
    deb) sed -e "/# MANUAL PAGES/r $3" "nfpm${1#ctwarden}.yaml" | sed -e '/^changelog:/d' -e 's/, type: doc//' ;;
    rpm) sed -e "/# MANUAL PAGES/r $3" "nfpm${1#ctwarden}.yaml" ;;
    esac
}

# pack PROGRAM ARCH FORMAT FILE
pack() {
    tree=$work/tree/$1-$2
    recipe "$1" "$3" "$tree/manuals" >"$tree/$3.yaml"
    (cd "$tree" && PACKAGE_ARCH=$2 PACKAGE_VERSION=$version tool $nfpm package -f "$3.yaml" -p "$3" -t "$dist/$4" >"$tree/nfpm.log" 2>&1) ||
        { cat "$tree/nfpm.log" >&2 && die "no $4"; }
}

# machine ARCH: what rpm calls it.
machine() {
    case $1 in amd64) echo x86_64 ;; arm64) echo aarch64 ;; *) die "ARCHES: $1 is neither amd64 nor arm64" ;; esac
}

# package PROGRAM ARCH
package() {
    sbom "$1" "$2"
    lay_out "$1" "$2"
    pack "$1" "$2" deb "$1_${version}_$2.deb"
    pack "$1" "$2" rpm "$1-$version-1.$(machine "$2").rpm"
}

# packages makes them side by side: most of the time goes into compressing, which takes one processor.
packages() {
    jobs='' failed=''
    for arch in $arches; do
        for program in ctwarden ctwarden-hub; do
            package $program "$arch" &
            jobs="$jobs $!"
        done
    done
    for job in $jobs; do
        wait "$job" || failed=1
    done
    [ -z "$failed" ] || exit 1 # what is wrong has been said
}

# names lists the files that will be made.
names() {
    for arch in $arches; do
        for program in ctwarden ctwarden-hub; do
            echo "$program-$version-$arch.cdx.json"
            echo "${program}_${version}_$arch.deb"
            echo "$program-$version-1.$(machine "$arch").rpm"
        done
    done | LC_ALL=C sort
}

# unfinished has the names of what is being made, so that the run after one that was cut short knows what that left.
unfinished=.ctwarden-packages

# clear_away removes what an earlier run made, by its own lists of it; other files in the directory are somebody else's.
clear_away() {
    (
        cd "$dist"
        for list in SHA256SUMS $unfinished; do
            [ ! -e "$list" ] || sed -E 's/^[0-9a-f]{64}  //' "$list"
        done | grep -Ex 'ctwarden[^/]*\.(deb|rpm|cdx\.json)' | xargs -r rm -f --
        rm -f SHA256SUMS SHA256SUMS.asc $unfinished
    )
}

# sign FILE: with the same key as the packages, in a keyring of its own.
sign() {
    GNUPGHOME=$work/gnupg
    export GNUPGHOME
    mkdir -m 0700 "$GNUPGHOME"
    gpg --batch --quiet --import "$NFPM_SIGNING_KEY_FILE" 2>/dev/null
    printf %s "${NFPM_PASSPHRASE:-}" |
        gpg --batch --quiet --yes --pinentry-mode loopback --passphrase-fd 0 --armor --output "$1.asc" --detach-sign "$1"
    gpgconf --kill gpg-agent
}

version=${VERSION:-$(scripts/version.sh)}
version=${version#v}
check_version "$version"
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null) || die "set SOURCE_DATE_EPOCH where this is no git checkout"
fi
export SOURCE_DATE_EPOCH
stamp=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
day=${stamp%T*}
tools_cache=${TOOLS_GOCACHE:-$("$go" env GOCACHE)}
export NFPM_SIGNING_KEY_FILE="${NFPM_SIGNING_KEY_FILE:-}"

here=$("$go" env GOHOSTARCH)
for arch in $(echo "$arches $here" | tr ' ' '\n' | sort -u); do
    build ctwarden "$arch"
    build ctwarden-hub "$arch"
    floor "$arch"
done
documents ctwarden ctwarden.yaml "$here"
documents ctwarden-hub hub.yaml "$here"
clear_away
names >"$dist/$unfinished"
packages
(cd "$dist" && xargs sha256sum -- <$unfinished >SHA256SUMS && rm $unfinished)
if [ -n "$NFPM_SIGNING_KEY_FILE" ]; then
    sign "$dist/SHA256SUMS"
    echo "packages: signed with $NFPM_SIGNING_KEY_FILE"
else
    echo "packages: not signed; NFPM_SIGNING_KEY_FILE names the key to sign with"
fi
ls "$dist"
