"""What must not leave Ansible does not, and what a play's variables say arrives."""

import json

import pytest

NO_LOG = """
- hosts: web1
  gather_facts: false
  vars:
    secrets: [{name: a, value: CANARY-item}, {name: b, value: CANARY-second}]
  tasks:
    - name: result
      command: echo CANARY-stdout
      no_log: true
    - name: failure
      shell: echo CANARY-stderr >&2; exit 1
      no_log: true
      ignore_errors: true
    - name: loop
      debug: {msg: "{{ item.value }}"}
      loop: "{{ secrets }}"
      no_log: true
    - name: label
      debug: {msg: hello}
      loop: "{{ secrets }}"
      loop_control: {label: "{{ item.value }}"}
      no_log: true
    - name: some items
      debug: {msg: "{{ item.value }}"}
      loop: "{{ secrets }}"
      loop_control: {label: "{{ item.name }}"}
      no_log: "{{ item.name != 'c' }}"
    - name: retries
      shell: echo CANARY-retry; exit 1
      register: tried
      until: tried.rc == 0
      retries: 1
      delay: 0
      no_log: true
      ignore_errors: true
    - name: background
      shell: echo CANARY-async; sleep 1
      async: 10
      poll: 1
      no_log: true
    - name: difference
      copy: {content: "CANARY-diff\\n", dest: "{{ playbook_dir }}/secret"}
      no_log: true
    - name: skipped
      debug: {msg: CANARY-skipped}
      when: "'CANARY-when' == 'x'"
      no_log: true
    - name: module crashes
      command: {chdir: /nowhere/CANARY-crash, cmd: "true"}
      no_log: true
      ignore_errors: true
    - name: arguments
      set_fact: {token: CANARY-fact}
      no_log: true
    - name: environment and variables
      command: "true"
      environment: {TOKEN: CANARY-environment}
      vars: {token: CANARY-vars}
    - name: another host
      add_host: {name: other, ansible_password: CANARY-host}
    - name: includes
      include_tasks: included.yml
      vars: {token: CANARY-include}
    - name: includes for each
      include_tasks: included.yml
      loop: "{{ secrets }}"
      loop_control: {loop_var: secret}
      no_log: "{{ secrets | length > 1 }}"
    - name: in the open
      debug: {msg: shown}
      no_log: "{{ secrets | length > 9 }}"
    - block:
        - name: in a block
          command: echo CANARY-block
      no_log: true
"""


def test_no_log(ansible):
    ansible.write("included.yml", "- debug: {msg: hello}\n")
    result = ansible.play(NO_LOG, "--diff", "-e", "extra=CANARY-extra")
    assert result.rc == 0, result.stdout
    assert overrides(result) == {}
    found = [line for line in result.lines if "CANARY" in json.dumps(line)]
    assert found == []
    hidden = [event["result"] for event in result.events if "censored" in event.get("result", {})]
    assert len(hidden) >= 15
    assert set().union(*hidden) <= {"changed", "attempts", "retries", "censored"}
    assert result.warnings == []


@pytest.fixture
def vaulted(ansible):
    """A function that encrypts a text; the password is in the file `vault`."""
    ansible.write("vault", "a password")

    def encrypt(text):
        result = ansible.run("ansible-vault", "encrypt_string", "--vault-id", "vault", text)
        assert result.rc == 0, result.stderr
        return result.stdout.strip().replace("\n", "\n" + " " * 8)

    return encrypt


def overrides(result):
    told = {}
    for line in result.lines:
        # What the first play's files of variables say follows in a record of its own.
        told = line.get("hello", line).get("overrides", told)
        if "play" in line:
            break
    return {key: value for key, value in told.items() if key != "generation"}


def test_play_variables(ansible, vaulted):
    """They are templated, and decrypted where they are vaulted."""
    ansible.write("vars.yml", "ansible_notify_username: from a file\n")
    result = ansible.play(
        """
        - hosts: web1
          gather_facts: false
          vars_files: [vars.yml]
          vars:
            region: eu
            ansible_notify_callback_url: "https://{{ region }}.example.com"
            ansible_notify_password: %s
            ansible_notify_validate_certs: false
          tasks:
            - debug:
        """
        % vaulted("CANARY"),
        *("--vault-id", "vault"),
    )
    assert result.rc == 0, result.stderr
    assert overrides(result) == {
        "callback_url": "https://eu.example.com",
        "username": "from a file",
        "password": "CANARY",
        "validate_certs": False,
    }
    assert "CANARY" not in result.stdout + result.stderr
    assert "CANARY" not in json.dumps(result.of("start") + result.events)
    assert result.warnings == []


def test_extra_variables(ansible):
    play = "- hosts: web1\n  gather_facts: false\n  vars: {host: x}\n  tasks:\n    - debug:\n"
    result = ansible.play(
        play,
        *("-e", "ansible_notify_callback_url=https://{{host}}/ ansible_notify_validate_certs=no"),
        *("-e", "username=somebody callback_plain=x"),
    )
    assert overrides(result) == {"callback_url": "https://x/", "validate_certs": "no"}
    assert result.warnings == []


def test_plain_extra_variables(ansible):
    """They count together, and only when callback_url is among them."""
    play = "- hosts: web1\n  gather_facts: false\n  tasks:\n    - debug:\n"
    given = {"callback_url": "https://x/", "username": "me", "password": 1234}
    result = ansible.play(play, "-e", json.dumps(given))
    assert overrides(result) == {"callback_url": "https://x/", "username": "me", "password": "1234"}
    # In a play they are somebody's own.
    own = play.replace("  tasks", "  vars: {callback_url: https://y/, username: me}\n  tasks")
    (ansible.directory / "lines").unlink()
    assert overrides(ansible.play(own)) == {}


def test_later_plays(ansible):
    """Another play may say something else."""
    play = (
        "- hosts: web1\n  gather_facts: false\n"
        "  vars: {ansible_notify_callback_url: '%s'}\n  tasks:\n    - debug:\n"
    )
    result = ansible.play(play % "one" + play % "one" + play % "two" + play % "")
    names = [next(iter(line)) for line in result.lines]
    assert overrides(result) == {"callback_url": "one"}
    told = result.of("hello")[0]["overrides"]["generation"]
    assert result.of("overrides") == [
        {"callback_url": "two", "generation": told + 1},
        {"generation": told + 2},
    ]
    assert names.index("overrides") < names.index("play", names.index("overrides"))


def test_bad_variables(ansible, vaulted):
    """One warning for each, without its value, and the play goes on."""
    result = ansible.play(
        """
        - hosts: web1
          gather_facts: false
          vars:
            ansible_notify_callback_url: "https://CANARY/{{ nowhere }}"
            ansible_notify_username: [CANARY]
            ansible_notify_password: %s
          tasks:
            - debug:
        - hosts: web2
          gather_facts: false
          vars: {ansible_notify_callback_url: "https://CANARY/{{ nowhere }}"}
          tasks:
            - debug:
        """
        % vaulted("CANARY"),
    )
    assert overrides(result) == {}
    assert len(result.warnings) == 3
    assert all("ansible_notify_" in warning for warning in result.warnings)
    assert "CANARY" not in result.stdout + result.stderr
    assert result.reported() == result.called


def test_vaulted_results(ansible, vaulted):
    """A vaulted value in a result is redacted where Ansible has not decrypted it by itself."""
    ansible.write("secret.yml", "token: %s\n" % vaulted("CANARY"))
    result = ansible.play(
        """
        - hosts: web1
          gather_facts: false
          tasks:
            - include_vars: {file: secret.yml}
        """,
        *("--vault-id", "vault"),
    )
    assert result.rc == 0, result.stderr
    brought = result.events_of("runner_on_ok")[0]["result"]
    assert brought["ansible_facts"] == {"token": "<redacted>"}
    assert result.warnings == []


def test_nothing_secret_is_visible(ansible):
    """Neither arguments nor the environment of the binary hold what a play says."""
    result = ansible.play(
        "- hosts: web1\n  gather_facts: false\n"
        "  vars: {ansible_notify_password: CANARY}\n  tasks:\n    - debug:\n",
        ANSIBLE_NOTIFY_CONFIG="~/mine.ini",
        ANSIBLE_NOTIFY_QUIET="1",
    )
    start = result.of("start")[0]
    project = str(ansible.environment["ANSIBLE_CALLBACK_PLUGINS"].split(":")[0])
    config = str(ansible.directory / "mine.ini")
    assert start["argv"] == ["stream", "--project", project, "--config", config, "--quiet"]
    assert "CANARY" not in start["environment"]


def test_project(ansible):
    """The project's configuration may lie beside the playbook."""
    play = "- hosts: web1\n  gather_facts: false\n  tasks:\n    - debug:\n"
    ansible.write("plugin_config.ini", "")
    start = ansible.play(play).of("start")[0]
    assert start["argv"][2] == str(ansible.directory)
    ansible.write("callback_plugins/plugin_config.ini", "")
    start = ansible.play(play).of("start")[-1]
    assert start["argv"][2] == str(ansible.directory / "callback_plugins")
