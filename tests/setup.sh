#!/bin/sh
# The tools that tests and benchmarks need, by their names; what is missing is installed, or named.
# Usage: setup.sh TOOL[=PACKAGE]...
set -eu
missing=
for tool in "$@"; do
    name=${tool%%=*}
    command -v "$name" >/dev/null 2>&1 || [ -x "/usr/sbin/$name" ] || missing="$missing ${tool#*=}"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "missing:$missing; install them with your package manager" >&2
    exit 1
fi
root=
[ "$(id -u)" = 0 ] || root="sudo -n"
# shellcheck disable=SC2086 # the names are words of their own
if ! { $root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq $missing; } >/dev/null; then
    echo "missing:$missing; they could not be installed" >&2
    exit 1
fi
