#!/bin/sh
# The servers that the tests talk to; what is missing is installed, or named.
set -eu
missing=
for tool in nginx openssl curl; do
    command -v "$tool" >/dev/null 2>&1 || [ -x "/usr/sbin/$tool" ] || missing="$missing $tool"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "the tests need:$missing; install them with your package manager" >&2
    exit 1
fi
root=
[ "$(id -u)" = 0 ] || root="sudo -n"
# shellcheck disable=SC2086 # the names are words of their own
if ! { $root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq $missing; } >/dev/null; then
    echo "the tests need:$missing; they could not be installed" >&2
    exit 1
fi
