#!/bin/sh
# Makes packages of an earlier commit, for the test that upgrades from them: older.sh VERSION DIRECTORY
#
# Of the last release before this commit, where there is a tag; else of some commits ago; else, where the history is not
# here (a shallow clone, no git), of this tree. VERSION is to be below every other. OLDER_COMMIT names another commit.
set -eu

[ $# = 2 ] || {
    echo "older: name the version and the directory" >&2
    exit 1
}
cd "$(dirname "$0")/.."
mkdir -p "$2"
dist=$(cd "$2" && pwd)
back=25

# commit: the one to build; empty: there is none.
commit() {
    if [ -n "${OLDER_COMMIT:-}" ]; then
        git rev-parse --verify --quiet "$OLDER_COMMIT^{commit}"
    elif tag=$(git describe --tags --match 'v[0-9]*' --abbrev=0 HEAD^ 2>/dev/null); then
        git rev-parse "$tag^{commit}"
    else
        git rev-list --first-parent --skip=$back --max-count=1 HEAD 2>/dev/null || true
    fi
}

commit=$(commit) || {
    echo "older: OLDER_COMMIT=$OLDER_COMMIT is no commit" >&2
    exit 1
}
if [ -z "$commit" ]; then
    echo "older: no earlier commit is here; the same tree, as $1"
    VERSION=$1 exec scripts/packages.sh "$dist"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git archive "$commit" | tar -x -C "$work"
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct "$commit")
export SOURCE_DATE_EPOCH
echo "older: $(git log -1 --format='%h %s' "$commit"), as $1"
VERSION=$1 "$work/scripts/packages.sh" "$dist"
