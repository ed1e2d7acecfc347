#!/bin/sh
# The main job, from nothing: a receiver, a playbook with the callback plugin, and what arrived.
# Usage: demo.sh PATH-TO-ansible-notify PATH-TO-ansible-playbook
set -eu
binary=$1
playbook=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
receiver=
stop() {
    [ -z "$receiver" ] || kill "$receiver" 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 1' INT TERM

cp "$here"/playbook.yml "$here"/included.yml "$here"/inventory.ini "$here"/ansible.cfg "$work"
cp -r "$here/../callback_plugins" "$work"
(umask 077; echo rehearsal >"$work/password")
"$binary" receive --listen 127.0.0.1:0 --username demo --password-file "$work/password" \
    >"$work/received" 2>"$work/listening" &
receiver=$!
until grep -q 'listening on' "$work/listening"; do
    kill -0 "$receiver" 2>/dev/null || { cat "$work/listening" >&2; exit 1; }
    sleep 0.05
done
url=$(sed -n 's/.*listening on //p' "$work/listening")

cat >"$work/callback_plugins/plugin_config.ini" <<CONFIG
[inputs]
callback_url = $url/ansible/events
username = demo
password_file = ../password

[outputs]
state = state
host = host
task_name = task_name
task_output = task_output
CONFIG

printf '== %s\n\n' "the playbook runs, and tells $url"
cd "$work"
ANSIBLE_NOTIFY_BINARY=$binary ANSIBLE_FORCE_COLOR=${FORCE_COLOR:-false} "$playbook" playbook.yml
printf '\n== %s\n\n' "what $url received"
cat "$work/received"
printf '== %s requests arrived\n' "$(grep -c '^POST' "$work/received")"
