#!/bin/sh
# Prints the version of the packages, from git: one that dpkg and rpm both take, and order alike.
#
# On a tag v1.2.3 it is 1.2.3; v1.2.3-rc.1 is 1.2.3~rc.1, which comes before the release. Commits since the tag make
# 1.2.3+N.gHASH, which comes after it and before 1.2.4. Without any tag it is 0.0.0~N.gHASH, before everything.
set -eu

if described=$(git describe --tags --match 'v[0-9]*' --long --abbrev=10 2>/dev/null); then
    hash=${described##*-}
    described=${described%-*}
    commits=${described##*-}
    tag=${described%-*}
    version=$(echo "${tag#v}" | sed 's/-/~/; s/-/./g')
    [ "$commits" = 0 ] || version=$version+$commits.$hash
elif commits=$(git rev-list --count HEAD 2>/dev/null); then
    version="0.0.0~$commits.g$(git rev-parse --short=10 HEAD)"
else
    echo "version: this is no git checkout with a commit; set VERSION" >&2
    exit 1
fi
# What is not committed comes after what is. git status asks for the work tree, and need not be precise here.
[ -z "$(git status --porcelain --untracked-files=no 2>/dev/null)" ] || case $version in
*+* | *~*) version=$version.dirty ;;
*) version=$version+dirty ;;
esac
echo "$version"
