#!/bin/sh
# A complete demo: starts a receiver, runs a playbook with the callback plugin, and shows what arrived.
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
until grep -qs 'listening on' "$work/listening"; do
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

printf '== %s\n\n' "the playbook runs and reports to $url"
cd "$work"
ended=0
ANSIBLE_NOTIFY_BINARY=$binary "$playbook" playbook.yml >played 2>said || ended=$?
# Results by host, without the output of modules.
sed -nE 's/ \*+$//; s/ => .*//; /^(PLAY|TASK|RUNNING HANDLER) \[|^(ok|changed|skipping|fatal): /p' played
grep '^ansible-notify' said || { cat said >&2; exit 1; }
[ "$ended" = 0 ] || { cat played said >&2; exit "$ended"; }

row='{ printf "%-12s %-5s %-24s %s\n", state, host, task, $4 ~ /^{/ ? "{…}" : substr($4, 1, 60) }'
printf '\n== %s\n\n' "what $url received"
awk -F '"' '/"state":/ { state = $4 } /"host":/ { host = $4 } /"task_name":/ { task = $4 }
    /"task_output":/ '"$row" received >rows
cat rows
printf '\n== %s requests arrived; failures:\n\n' "$(grep -c '^POST' received)"
grep -E '^(failed|unreachable)' rows
