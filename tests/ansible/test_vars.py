"""The user's own variables in events: the real plugin, program and spool; and what never leaves."""

import json
import re
import sqlite3
from contextlib import closing

import pytest
from conftest import wait_for
from test_endtoend import BINARY, PLUGIN

CONFIG = """
[event]
%s
[inputs]
callback_url = http://127.0.0.1:9/events
on = any, playbook_on_start, playbook_on_play_start, playbook_on_stats
[delivery]
drain = 0s
spool = spool
"""
INVENTORY = """
[all:vars]
ansible_connection=local
ansible_python_interpreter="{{ ansible_playbook_python }}"
[web]
web1 rack=r1
web2 rack=r2
[prod:children]
web
"""


class Project:
    """A playbook's directory whose events stay in its spool."""

    def __init__(self, ansible):
        self.ansible = ansible
        self.write = ansible.write
        ansible.environment["ANSIBLE_NOTIFY_BINARY"] = str(BINARY)
        ansible.environment["ANSIBLE_CALLBACK_PLUGINS"] = str(ansible.directory / "plugins")
        self.folder = ansible.directory / "plugins"
        self.folder.mkdir()
        (self.folder / "ansible_notify.py").symlink_to(PLUGIN)
        (ansible.directory / "inventory").unlink()
        ansible.write("inventory/hosts", INVENTORY)
        ansible.write("vault", "a password")
        ansible.environment["ANSIBLE_VAULT_PASSWORD_FILE"] = str(ansible.directory / "vault")
        ansible.environment["ANSIBLE_CONFIG"] = str(ansible.write("ansible.cfg", "[defaults]\n"))
        for name in ("ANSIBLE_CALLBACKS_ENABLED", "ANSIBLE_CALLBACK_WHITELIST"):
            ansible.environment.pop(name, None)

    def event(self, lines):
        self.ansible.write("plugins/plugin_config.ini", CONFIG % lines).chmod(0o600)
        return self

    def play(self, text, *arguments, **environment):
        """Runs a playbook; returns its outcome, and its events as the spool holds them."""
        result = self.ansible.play(text, *arguments, **environment)
        assert "internal error" not in result.stderr
        assert result.rc == 0, result.stdout + result.stderr
        wait_for(lambda: self.events_of("run_end"))
        return result

    def events(self):
        uri = "file:%s?mode=ro" % (self.folder / "spool" / "spool.db")
        with closing(sqlite3.connect(uri, uri=True)) as spool:
            rows = spool.execute("SELECT body FROM event ORDER BY id").fetchall()
        return [json.loads(body) for (body,) in rows]

    def events_of(self, name, host=None, task=None):
        return [
            event
            for event in self.events()
            if event["event"] == name
            and host in (None, (event["host"] or {}).get("name"))
            and task in (None, (event["task"] or {}).get("name"))
        ]

    def bytes_of_spool(self):
        files = [path for path in (self.folder / "spool").rglob("*") if path.is_file()]
        return b"".join(path.read_bytes() for path in files)


def not_sent(result):
    """The variables that the plugin warned about."""
    return sorted(set(re.findall(r"the\s+variable\s+(\S+)\s+is\s+not\s+sent", result.stderr)))


@pytest.fixture
def project(ansible):
    return Project(ansible)


PLAY = """
- hosts: web
  gather_facts: false
  vars: {team: "web-{{ 'team' }}", http_port: 8080, list: [1, "{{ team }}"], other: not listed}
  roles: [app]
  tasks:
    - name: first
      debug:
    - name: fact
      set_fact: {ci_fact: "changed on {{ inventory_hostname }}"}
      when: inventory_hostname == 'web1'
    - name: registered
      command: echo hello
      register: ci_said
    - name: last
      debug:
"""


def test_variables_of_all_kinds(project):
    project.event(
        "vars = deploy_id, team, list, http_port, rack, dc, version, level, ci_*, missing"
    )
    project.write("inventory/group_vars/all.yml", "dc: '{{ region }}-1'\nregion: eu\n")
    project.write("inventory/host_vars/web2.yml", "rack: r9\n")
    project.write("roles/app/defaults/main.yml", "level: '{{ http_port + 1 }}'\n")
    project.write("roles/app/vars/main.yml", "version: 1.2.3\n")
    result = project.play(PLAY, "-e", "deploy_id=D-17", "-e", '{"ci_build": {"number": 3}}')
    assert not_sent(result) == []
    of_run = {
        "deploy_id": "D-17",
        "ci_build": {"number": 3},
        "team": "web-team",
        "list": [1, "web-team"],
        "http_port": 8080,
        "version": "1.2.3",
    }
    for name in ("playbook_on_start", "playbook_on_play_start", "playbook_on_stats", "run_end"):
        [event] = project.events_of(name)
        told = event["vars"]
        assert str(told.pop("level")) == "8081"
        assert told == of_run
    for host, rack in (("web1", "r1"), ("web2", "r9")):
        [first] = project.events_of("runner_on_ok", host, "first")
        assert first["host"]["groups"] == ["prod", "web"]
        told = first["host"]["vars"]
        assert (told["rack"], told["dc"], told["team"]) == (rack, "eu-1", "web-team")
        assert set(told) == {*of_run, "level", "rack", "dc"}
        [last] = project.events_of("runner_on_ok", host, "last")
        told = last["host"]["vars"]
        assert told["ci_said"]["stdout"] == "hello"
        assert "invocation" not in told["ci_said"]
        assert told.get("ci_fact") == ("changed on web1" if host == "web1" else None)


SECRETS = """
- hosts: web
  gather_facts: false
  vars:
    plain: shown
    direct: "{{ inline }}"
    within: "postgres://app:{{ inline }}@db"
    hashed: "{{ inline | b64encode }}"
    nested: {deep: [{password: "{{ inline }}"}]}
    by_name: "{{ lookup('vars', 'inline') }}"
    by_part: "{{ lookup('vars', 'inl' ~ 'ine') }}"
    by_vars: "{{ vars['inl' ~ 'ine'] }}"
    by_hostvars: "{{ hostvars[inventory_hostname]['inl' ~ 'ine'] }}"
    by_file: "{{ file_user }}/{{ file_password }}"
    by_hash: "{{ file_password | hash('sha1') }}"
    by_rendering: "{{ lookup('template', 'all.j2') }}"
    by_reading: "{{ lookup('file', 'secret.txt') }}"
    by_unvault: "{{ lookup('unvault', 'secret.txt') }}"
    become: "{{ ansible_become_password }}"
    sudo_password: CANARY-become
    ansible_become_password: "{{ sudo_password }}"
    ansible_password: CANARY-connection
    ansible_ssh_pass: CANARY-ssh
    my_private_key: CANARY-key
    vault_token: CANARY-vault-name
    ansible_notify_password: CANARY-override
    ansible_notify_callback_url: "http://127.0.0.1:9/CANARY-url"
    users: "{{ accounts }}"
    of_hidden: "<{{ hidden.stdout }}>"
    of_loop: "{{ hidden_loop.results | map(attribute='stdout') | list }}"
    of_fact: "{{ [hidden_fact] }}"
  vars_files: [secrets.yml]
  vars_prompt: [{name: prompted, private: true, default: CANARY-prompt}]
  roles: [role]
  tasks:
    - {name: hides, command: echo CANARY-registered, register: hidden, no_log: true}
    - name: hides items
      command: "echo CANARY-loop-{{ item }}"
      loop: [1, 2]
      register: hidden_loop
      no_log: true
    - {name: hides a fact, set_fact: {hidden_fact: CANARY-fact}, no_log: true}
    - name: hides a fact of another name
      set_fact: {"{{ 'dynamic_' ~ 'fact' }}": CANARY-dynamic}
      no_log: true
    - {name: hides a file, include_vars: more.yml, no_log: true}
    - {name: an encrypted file, include_vars: included.yml}
    - name: shows
      set_fact: {shown_fact: shown}
    - name: fails
      block:
        - {name: failing, command: "echo CANARY-failure; false", no_log: true, register: failed_one}
      rescue:
        - {name: rescue, debug: }
    - {name: last, debug: }
- hosts: web
  gather_facts: false
  tasks:
    - {name: very last, debug: }
"""
INLINE = """
plain_list: [shown]
same_text: CANARY-file-password
inline: %s
accounts:
  - name: shown
    password: %s
"""


def encrypt(project, name, text):
    path = project.write(name, text)
    result = project.ansible.run("ansible-vault", "encrypt", path)
    assert result.rc == 0, result.stderr


def encrypted(project, text, indent):
    result = project.ansible.run("ansible-vault", "encrypt_string", text)
    assert result.rc == 0, result.stderr
    lines = result.stdout.strip().splitlines()
    return ("\n" + " " * indent).join(line.strip() for line in lines)


@pytest.mark.parametrize("wanted", ["names", "all"])
def test_no_secret_leaves(project, wanted):
    text = INLINE % (encrypted(project, "CANARY-inline", 2), encrypted(project, "CANARY-deep", 6))
    project.write("inventory/group_vars/web.yml", text)
    encrypt(
        project,
        "inventory/group_vars/all.yml",
        "file_user: CANARY-file-user\nfile_password: CANARY-file-password\nfile_pin: 98765\n",
    )
    encrypt(project, "inventory/host_vars/web1.yml", "own_secret: [CANARY-host]\n")
    encrypt(project, "roles/role/vars/main.yml", "role_secret: {a: CANARY-role}\n")
    encrypt(project, "roles/role/defaults/main.yml", "role_default: CANARY-default\n")
    encrypt(project, "secrets.yml", '{"json_secret": "CANARY-json"}\n')
    encrypt(project, "extra.yml", "extra_secret: CANARY-extra\n")
    encrypt(project, "included.yml", "included_secret: CANARY-included\n")
    encrypt(project, "files/secret.txt", "CANARY-lookup")
    encrypt(project, "secret.txt", "CANARY-lookup")
    project.write("more.yml", "more_secret: CANARY-more\n")
    project.write("templates/all.j2", "{{ file_user }} {{ inline }}")
    names = re.findall(r"^    (\w+): ", SECRETS.split("vars_files")[0], re.M)
    names += """same_text inline accounts file_user file_password file_pin own_secret role_secret
        role_default json_secret extra_secret included_secret more_secret prompted hidden
        hidden_loop hidden_fact dynamic_fact failed_one shown_fact plain_list
        ansible_failed_result ansible_failed_task hostvars vars ansible_env
        environment ansible_become_pass""".split()
    patterns = "*, ansible_*, vault*, inventory_*" if wanted == "all" else ", ".join(names)
    project.event("vars = %s\ngroups = true" % patterns)
    result = project.play(SECRETS, "-e", "@extra.yml", stdin="\n")
    assert result.rc == 0
    shown = {"plain": "shown", "plain_list": ["shown"]}
    for task in ("last", "very last"):
        [event] = project.events_of("runner_on_ok", "web1", task)
        told = event["host"]["vars"]
        assert told.get("shown_fact") == "shown"
        assert {name: told.get(name) for name in shown if task == "last"} == (
            shown if task == "last" else {}
        )
    assert {"file_pin", "same_text"}.isdisjoint(told)
    content = project.bytes_of_spool()
    found = set(re.findall(rb"CANARY-\w[\w-]*", content))
    found |= {hidden for hidden in (b"98765", b"Q0FOQVJZ") if hidden in content}
    assert found == set()
    assert "CANARY" not in result.stderr
    if wanted == "names":
        assert {"inline", "file_password", "hidden", "ansible_password"} <= set(not_sent(result))


COPIES = """
- hosts: web
  gather_facts: false
  vars:
    v_indirect: "{{ v_hidden }}"
  vars_files: [secrets.yml]
  tasks:
    - {name: reads, include_vars: {file: included.yml}}
    - {name: copies, set_fact: {v_included: "{{ iv_text }}", v_pin: "{{ iv_pin }}"}}
    - name: copies numbers
      set_fact:
        {v_number: "{{ fv_number }}", v_within: "n={{ fv_number }}", v_date: "{{ fv_date }}"}
    - {name: hides, set_fact: {v_hidden: CANARY-fact, v_code: q7x}, no_log: true}
    - {name: copies facts, set_fact: {v_copy: "copy {{ v_hidden }}", v_short: "{{ v_code }}"}}
    - {name: encodes, set_fact: {v_encoded: "{{ v_indirect | b64encode }}"}}
    - {name: copies a copy, set_fact: {"v_{{ 'second' }}": "{{ v_encoded }}"}}
    - name: prints
      shell: |
        echo '{"key": "CANARY-output", "number": 8675309123}'
      register: reg
      no_log: true
    - {name: copies output, set_fact: {v_output: "{{ reg.stdout }}"}}
    - {name: reads output, set_fact: {v_key: "<{{ (reg.stdout | from_json).key }}>"}}
    - name: copies items
      set_fact: {v_item: "{{ item }}"}
      loop: "{{ reg.stdout_lines }}"
      loop_control: {label: hidden}
    - name: some items
      shell: "echo {{ item }}"
      loop: [CANARY-item, open]
      register: some
      no_log: "{{ item != 'open' }}"
    - {name: copies an item, set_fact: {v_some: "{{ some.results[0].stdout }}"}}
    - {name: data, set_stats: {data: {first: CANARY-stats}}, no_log: true}
    - {name: written out, set_fact: {v_literal: "so CANARY-stats", v_output_key: CANARY-output}}
    - {name: fails, shell: "echo CANARY-failure; false", no_log: true, ignore_errors: true}
    - {name: as written, set_fact: {v_failed: [CANARY-failure]}}
    - name: stays
      set_fact: {v_plain: "{{ inventory_hostname }} of {{ no_value | default('none') }}"}
    - {name: last, debug: }
"""


@pytest.mark.parametrize("wanted", ["v_*", "names"])
def test_copies_of_secrets_stay(project, wanted):
    encrypt(project, "included.yml", "iv_text: CANARY-included\niv_pin: q7z9\n")
    encrypt(project, "secrets.yml", "fv_number: 424242424\nfv_date: 2031-07-29\n")
    names = set(re.findall(r"\bv_\w+(?=:)", COPIES)) | {"v_second"}
    project.event("vars = %s" % (", ".join(sorted(names)) if wanted == "names" else wanted))
    result = project.play(COPIES)
    for host in ("web1", "web2"):
        [last] = project.events_of("runner_on_ok", host, "last")
        assert last["host"]["vars"] == {"v_plain": "%s of none" % host}
    content = project.bytes_of_spool()
    hidden = [b"CANARY", b"424242424", b"2031-07", b"q7z9", b"q7x", b"8675309123", b"Q0FOQVJZ"]
    assert [text for text in hidden if text in content] == []
    assert not_sent(result) == (sorted(names - {"v_plain"}) if wanted == "names" else [])


PRIVATE = """
- hosts: web
  gather_facts: false
  vars:
    my_secret: CANARY-1
    API_Token: CANARY-2
    db: {host: shown, Password: CANARY-3, users: [{api_key: CANARY-4, smtp_pass: CANARY-5}]}
    dsn: "postgres://app:{{ db_password }}@db"
    compass: north
  tasks:
    - {name: last, debug: }
"""


def test_a_glob_means_no_secrets(project):
    names = "db_passwd x_passphrase db_pass apikey my_api_key ssh_private_key_file aws_credentials"
    names = names.split()
    extra = dict.fromkeys([*names, "db_password"], "CANARY-e")
    project.event("vars = *, *secret*, db_*, API*")
    project.play(PRIVATE, "-e", json.dumps(extra))
    [last] = project.events_of("runner_on_ok", "web1", "last")
    told = last["host"]["vars"]
    assert told["db"] == {"host": "shown", "users": [{}]}
    assert told["compass"] == "north"
    assert {*extra, "my_secret", "API_Token", "dsn"}.isdisjoint(told)
    assert b"CANARY" not in project.bytes_of_spool()


def test_a_full_name_means_the_variable(project):
    project.event("vars = my_secret, API_Token, db, dsn, db_password")
    result = project.play(PRIVATE, "-e", "db_password=listed")
    [last] = project.events_of("runner_on_ok", "web1", "last")
    told = last["host"]["vars"]
    assert (told["my_secret"], told["API_Token"]) == ("CANARY-1", "CANARY-2")
    assert told["db"]["Password"] == "CANARY-3"
    assert (told["dsn"], told["db_password"]) == ("postgres://app:listed@db", "listed")
    assert not_sent(result) == []


STATS = """
- hosts: web
  gather_facts: false
  tasks:
    - {name: run, set_stats: {data: {version: "1.2"}, aggregate: false, per_host: false}}
    - {name: sum, set_stats: {data: {count: 1, seen: ["{{ inventory_hostname }}"]}}}
    - {name: host, set_stats: {data: {rack: "{{ rack }}"}, per_host: true}}
    - name: loop
      set_stats: {data: {items: ["{{ item }}"]}, per_host: false}
      loop: [1, 2]
      run_once: true
    - name: hidden
      set_stats: {data: {token: CANARY-token, seen: [CANARY-seen]}}
      no_log: true
    - name: hidden items
      set_stats: {data: {kept: ["{{ item }}"]}}
      loop: [CANARY-item]
      no_log: true
      run_once: true
"""


@pytest.mark.parametrize("listed", ["", "vars = team"])
def test_custom_stats(project, listed):
    project.event(listed)
    project.play(STATS)
    [end] = project.events_of("run_end")
    end["custom_stats"]["seen"].sort()
    assert end["custom_stats"] == {
        "version": "1.2",
        "count": 2,
        "seen": ["web1", "web2"],
        "items": [1, 2],
    }
    assert end["custom_stats_per_host"] == {"web1": {"rack": "r1"}, "web2": {"rack": "r2"}}
    assert b"CANARY" not in project.bytes_of_spool()


ODD = """
- hosts: web
  gather_facts: false
  vars:
    day: 2026-11-28
    undefined: "{{ nowhere }}"
    failing: "{{ 'x' | int / 0 }}"
    unknown: "{{ 1 | no_such_filter }}"
    long: "{{ 'x' * 100000 }}"
    many: "{{ range(100000) | list }}"
    big_1: &big "{{ 'y' * 60000 }}"
    big_2: *big
    big_3: *big
    big_4: *big
    big_5: *big
    big_6: *big
    unsafe: !unsafe "{{ raw }}"
    deep: {ansible_password: CANARY-deep, name: shown}
    umlaut: "Grüße"
  tasks:
    - {name: last, debug: }
"""


def test_values_of_all_kinds(project):
    project.event(
        "vars = day, undefined, failing, unknown, long, many, big_*, unsafe, deep, umlaut"
    )
    result = project.play(ODD)
    for event in [
        *project.events_of("run_end"),
        project.events_of("runner_on_ok", "web1", "last")[0],
    ]:
        told = (event["host"] or event)["vars"]
        assert told["day"] == "2026-11-28"
        assert {"undefined", "failing", "unknown"}.isdisjoint(told)
        assert told["long"].endswith("... [cut: 100000 characters in all]")
        assert told["many"] == {"msg": "[left out: too large]"}
        assert [name for name in told if name[:3] == "big"] == ["big_1", "big_2", "big_3", "big_4"]
        assert told["unsafe"] == "{{ raw }}"
        assert told["deep"] == {"name": "shown"}
        assert told["umlaut"].startswith("Grüße")
    assert not_sent(result) == ["failing", "unknown"]


def test_a_play_that_changes_them(project):
    project.event("vars = team, stage, place")
    play = """
    - hosts: web
      gather_facts: false
      vars: {team: a, stage: build, place: "{{ city }}"}
      tasks:
        - {name: one, debug: }
        - {name: sets, set_fact: {city: Ulm}, run_once: true}
        - {name: two, debug: }
        - {name: task's own, debug: , vars: {team: of the task}}
    - hosts: web
      gather_facts: false
      vars: {team: b}
      tasks:
        - {name: three, debug: , vars: {team: of the task}}
    """
    project.play(play.replace("    - hosts", "- hosts").replace("\n      ", "\n  "))
    told = {
        task: project.events_of("runner_on_ok", "web2", task)[0]["host"]["vars"]
        for task in ("one", "two", "task's own", "three")
    }
    assert told["one"] == {"team": "a", "stage": "build"}
    assert told["two"] == told["task's own"] == {"team": "a", "stage": "build", "place": "Ulm"}
    assert told["three"] == {"team": "b"}
    plays = [event["vars"] for event in project.events_of("playbook_on_play_start")]
    assert plays == [{"team": "a", "stage": "build"}, {"team": "b"}]
    [end] = project.events_of("run_end")
    assert end["vars"] == {"team": "b", "stage": "build"}


def test_facts(project):
    project.event("vars = ansible_system, ansible_env")
    play = "- hosts: web1\n  tasks:\n    - {name: last, debug: }\n"
    project.play(play, ANSIBLE_INJECT_FACT_VARS="false")
    [event] = project.events_of("runner_on_ok", "web1", "last")
    assert event["host"]["vars"] == {"ansible_system": "Linux"}
