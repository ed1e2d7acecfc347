#!/bin/sh
# Checks the dependencies against the RustSec advisory database, which is fetched for it. Without a network
# the copy of an earlier fetch serves; without that too, one line says that nothing was checked.
# Usage: advisories.sh CARGO-DENY [CONFIG]
set -eu
deny=$1
config=${2:-deny.toml}
said=$(mktemp)
trap 'rm -f "$said"' EXIT

check() {
    "$deny" --locked --config "$config" "$@" check advisories >"$said" 2>&1
}

if check || { grep -q 'failed to fetch advisory database' "$said" && check --offline; }; then
    cat "$said"
elif grep -q 'failed to .*\(advisory database\|FETCH_HEAD\)' "$said"; then
    echo 'advisories: NOT CHECKED: the database cannot be fetched here, and there is no earlier copy' >&2
else
    cat "$said" >&2
    exit 1
fi
