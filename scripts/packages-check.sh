#!/bin/sh
# Checks the packages in a directory: packages-check.sh DIRECTORY
#
# They are built again in another folder, for amd64 with nothing built before, and have to be the same bit for bit; once
# more, after a build that was cut short, signed with a key made for this, whose signatures rpm and gpgv have to accept; then come
# lintian, rpmlint, promtool, ansible and the tests of what is in them. QUICK=1 leaves the second build out.
set -eu

go=${GO:-go}
[ $# = 1 ] || {
    echo "packages-check: name the directory with the packages" >&2
    exit 1
}
cd "$(dirname "$0")/.."
dist=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
trap 'exit 143' TERM # dash ends without the other trap else
cache=${XDG_CACHE_HOME:-$HOME/.cache}

die() {
    echo "packages-check: $*" >&2
    exit 1
}

say() { echo "packages-check: $*"; }

# version: that of the packages which are there.
version() {
    set -- "$dist"/ctwarden_*_amd64.deb
    name=${1##*/ctwarden_}
    echo "${name%_amd64.deb}"
}

# epoch: the time that they were built for, which is that of every file in them.
epoch() {
    date -u -d "$(sed -n 's/.*"timestamp": "\([^"]*\)".*/\1/p' "$dist/ctwarden-$version-amd64.cdx.json" | head -1)" +%s
}

# twice builds them from a copy of the sources in another place, for the same version and time. All that is in those for
# amd64 is compiled anew. Those for arm64 take from the cache what is compiled: with -trimpath no path is part of that, as
# the others show, and the compiler is the same program.
twice() {
    mkdir -p "$work/other place/src" "$work/cache/ctwarden"
    git ls-files -z | xargs -0 cp --parents -t "$work/other place/src"
    cp -R "$cache"/ctwarden/sysroot-* "$work/cache/ctwarden/" # so that they need not be fetched again
    shared=$("$go" env GOCACHE)
    again amd64 "$work/gocache"
    again arm64 "$shared"
    cat "$work"/again-*/SHA256SUMS | LC_ALL=C sort -k 2 >"$work/sums"
    diff "$dist/SHA256SUMS" "$work/sums" || die "two builds are not the same"
    say "two builds in two folders: $(wc -l <"$dist/SHA256SUMS") files with the same checksums"
}

# again ARCH GOCACHE: the second build. nfpm and the like are no part of what is compared, and need not be built again.
again() {
    (
        export ARCHES="$1" GOCACHE="$2" TOOLS_GOCACHE="$shared" XDG_CACHE_HOME="$work/cache" VERSION="$version" SOURCE_DATE_EPOCH="$epoch"
        umask 077
        "$work/other place/src/scripts/packages.sh" "$work/again-$1" >"$work/log" 2>&1
    ) || { cat "$work/log" >&2 && die "the second build failed"; }
}

# new_key makes a key with a passphrase: its secret half in key.asc, the public one in public.asc.
new_key() {
    export GNUPGHOME="$work/gnupg"
    mkdir -m 0700 "$GNUPGHOME"
    gpg --batch --quiet --pinentry-mode loopback --passphrase "$1" --quick-generate-key "ctwarden test <test@example.org>" rsa3072 sign 1d 2>/dev/null
    gpg --batch --quiet --pinentry-mode loopback --passphrase "$1" --armor --output "$work/key.asc" --export-secret-keys
    gpg --batch --quiet --armor --output "$work/public.asc" --export
    gpg --batch --quiet --output "$work/public.gpg" --export
    gpgconf --kill gpg-agent
    unset GNUPGHOME
}

# cut_short ends a build in the middle, beside a file that is somebody else's.
cut_short() {
    mkdir "$work/signed"
    echo mine >"$work/signed/ctwarden_mine.deb"
    ! ARCHES=amd64 NFPM_SIGNING_KEY_FILE=$work/none VERSION=0.0.0~cut SOURCE_DATE_EPOCH=$epoch scripts/packages.sh "$work/signed" >"$work/log" 2>&1 ||
        die "a build without its key succeeds"
    find "$work/signed" -name '*0.0.0~cut*' | grep -q . || { cat "$work/log" >&2 && die "the build that was cut short left nothing"; }
}

# cleared wants the build after it to have taken away what it left, and nothing else.
cleared() {
    ! find "$work/signed" -name '*0.0.0~cut*' | grep . >&2 || die "what a build that was cut short left is still there"
    rm "$work/signed/ctwarden_mine.deb" || die "a file that is somebody else's is gone"
}

# signed builds them with a key and has the signatures checked as a user would.
signed() {
    cut_short
    new_key "not a secret"
    NFPM_SIGNING_KEY_FILE=$work/key.asc NFPM_PASSPHRASE="not a secret" VERSION=$version SOURCE_DATE_EPOCH=$epoch \
        scripts/packages.sh "$work/signed" >"$work/log" 2>&1 || { cat "$work/log" >&2 && die "the signed build failed"; }
    cleared
    gpgv --quiet --keyring "$work/public.gpg" "$work/signed/SHA256SUMS.asc" "$work/signed/SHA256SUMS" 2>/dev/null || die "SHA256SUMS.asc does not verify"
    (cd "$work/signed" && sha256sum --quiet -c SHA256SUMS) || die "SHA256SUMS do not match"
    mkdir "$work/rpmdb"
    rpm --dbpath "$work/rpmdb" --import "$work/public.asc"
    for file in "$work/signed"/*.rpm; do
        rpm --dbpath "$work/rpmdb" -K "$file" | grep -q 'digests signatures OK' || die "$file: rpm -K does not accept the signature"
    done
    for file in "$work/signed"/*.deb; do
        deb_signature "$file" || die "$file: the signature does not verify"
    done
    say "signed with a key of its own: every .rpm by rpm -K, every .deb and SHA256SUMS by gpgv"
}

# deb_signature FILE: a .deb is an archive of members; the member _gpgorigin signs the ones before it, put together.
deb_signature() {
    rm -rf "$work/deb"
    mkdir "$work/deb"
    (cd "$work/deb" && ar x "$1" && cat debian-binary control.tar.* data.tar.* >signed &&
        gpgv --quiet --keyring "$work/public.gpg" _gpgorigin signed 2>/dev/null)
}

# rpm_lint: rpmlint unpacks with cpio, and the names in an .rpm that nfpm makes begin with a slash, so that as root it would
# unpack into this machine. Its cpio takes them for relative ones, and it has no rights.
rpm_lint() {
    mkdir -p "$work/bin"
    printf '#!/bin/sh\nexec %s --no-absolute-filenames "$@"\n' "$(command -v cpio)" >"$work/bin/cpio"
    chmod 0755 "$work/bin/cpio"
    chmod 0711 "$work"
    cp packaging/rpmlint.toml "$work/rpmlint.toml"
    drop=
    [ "$(id -u)" != 0 ] || drop="setpriv --reuid=65534 --regid=65534 --clear-groups"
    PATH="$work/bin:$PATH" HOME=/nonexistent $drop rpmlint --config "$work/rpmlint.toml" "$work/signed"/*.rpm
}

lint() {
    lintian --fail-on error,warning "$dist"/*.deb || die "lintian is not content"
    rpm_lint >"$work/rpmlint" 2>&1 || { cat "$work/rpmlint" >&2 && die "rpmlint is not content"; }
    grep -q ' 0 errors, 0 warnings' "$work/rpmlint" || { cat "$work/rpmlint" >&2 && die "rpmlint warns"; }
    shellcheck scripts/packages.sh scripts/packages-check.sh scripts/sysroot.sh scripts/version.sh scripts/older.sh
    say "lintian and rpmlint: no errors, no warnings"
}

# manuals has the pages looked at by mandoc, which knows what groff lets pass.
manuals() {
    dpkg-deb -x "$dist/ctwarden_${version}_amd64.deb" "$work/root"
    dpkg-deb -x "$dist/ctwarden-hub_${version}_amd64.deb" "$work/root"
    for page in "$work"/root/usr/share/man/man*/*.gz; do
        name=$(basename "$page" .gz) # which mandoc holds against the section
        gzip -dc "$page" >"$work/$name"
        mandoc -Tlint -Wwarning "$work/$name" || die "$page"
    done
    say "manual pages: $(find "$work/root/usr/share/man" -name '*.gz' | wc -l), no warnings of mandoc"
}

# promtool is in Debian's package of Prometheus, whose server nobody wants started for this. (A function of that name would
# be found by command -v.)
run_promtool() {
    tool=$(command -v promtool) || tool=$cache/ctwarden/promtool
    if [ ! -x "$tool" ]; then
        (
            cd "$work"
            fetch() { apt-get -qq download -o APT::Sandbox::User="$(id -un)" prometheus; }
            fetch || { apt-get -qq update && fetch; }
            dpkg-deb -x prometheus_*.deb prometheus
            cp prometheus/usr/bin/promtool "$tool.$$"
            mv "$tool.$$" "$tool"
        )
    fi
    "$tool" "$@"
}

alerts() {
    run_promtool check rules packaging/prometheus/*.rules.yaml
    (cd packaging/prometheus && run_promtool test rules ./*.rules.test.yaml) || die "the alert rules do not do what their tests say"
}

ansible() {
    (
        cd packaging/ansible
        export ANSIBLE_HOME="$work/ansible" ANSIBLE_ROLES_PATH="$PWD/roles" ANSIBLE_LOCALHOST_WARNING=False ANSIBLE_INVENTORY_UNPARSED_WARNING=False
        ansible-playbook --syntax-check -i 'ctwarden,' playbook.yml
        ansible-lint --offline --nocolor -q playbook.yml roles/ctwarden
    ) || die "ansible is not content"
}

version=$(version)
epoch=$(epoch)
[ -n "${QUICK:-}" ] || twice
signed
lint
manuals
alerts
ansible
CTWARDEN_PACKAGES=$dist CTWARDEN_TEST_REQUIRE=1 "$go" test -count 1 -timeout 60m ./packaging/...
