"""What Ansible calls is what is reported, in the same order."""

import os
import re

import pytest

MIXED = """
- name: everything
  hosts: all
  gather_facts: false
  vars:
    words: [one, two]
  tasks:
    - name: passes
      debug: {msg: hello}
    - name: unreachable
      command: "true"
      changed_when: true
    - name: fails and is ignored
      command: "false"
      ignore_errors: true
    - name: is skipped
      debug: {msg: never}
      when: false
    - name: loops
      command: "test {{ item }} != two"
      loop: "{{ words }}"
      ignore_errors: true
    - name: loops with a label
      debug: {msg: "{{ item }}"}
      loop: [{name: a, size: 1}, {name: b, size: 2}]
      loop_control: {label: "{{ item.name }}"}
      when: item.name == 'a'
    - name: retries
      command: "false"
      register: tried
      until: tried.rc == 0
      retries: 2
      delay: 0
      ignore_errors: true
    - name: runs in the background
      shell: sleep 10
      async: 60
      poll: 1
    - name: says nothing
      command: echo CANARY
      no_log: true
    - name: shows a difference
      copy: {content: "new\\n", dest: "{{ playbook_dir }}/{{ inventory_hostname }}"}
      notify: a handler
    - name: delegated
      command: "true"
      delegate_to: web2
      run_once: true
    - name: includes
      include_tasks: included.yml
    - block:
        - name: fails and is rescued
          command: "false"
      rescue:
        - name: rescues
          debug: {msg: rescued}
      always:
        - name: always
          debug: {msg: always}
    - import_role: {name: trial}
  handlers:
    - name: a handler
      command: "true"

- name: nobody
  hosts: "!all"
  tasks:
    - debug:

- name: in batches
  hosts: web
  serial: 1
  gather_facts: false
  tasks:
    - name: in each batch
      debug: {msg: hello}
    - name: fails for good
      command: "false"
      when: inventory_hostname == 'web2'
"""


@pytest.fixture(scope="module")
def mixed_runs():
    """The run of each version: it is made once, and looked at by several tests."""
    return {}


@pytest.fixture
def mixed(ansible, mixed_runs):
    if ansible.name not in mixed_runs:
        mixed_runs[ansible.name] = play_mixed(ansible)
    return mixed_runs[ansible.name]


def play_mixed(ansible):
    ansible.write("included.yml", "- name: was included\n  debug: {msg: included}\n")
    ansible.write("roles/trial/tasks/main.yml", "- name: in a role\n  debug: {msg: role}\n")
    return ansible.play(MIXED, "--diff", "--limit", "all", "--tags", "all")


def without_async_tasks(events):
    """These are called with a task of Ansible's own, and reported with the one that was written."""
    return [
        dict(event, task=None) if event["event"].startswith("runner_on_async") else event
        for event in events
    ]


def test_mixed_playbook(ansible, mixed):
    assert mixed.rc in (2, 4)
    assert without_async_tasks(mixed.reported()) == without_async_tasks(mixed.called)
    kinds = {event["event"] for event in mixed.events}
    expected = """
        playbook_on_start playbook_on_play_start playbook_on_task_start runner_on_ok
        runner_on_failed runner_on_skipped runner_on_unreachable runner_item_on_ok
        runner_item_on_failed runner_item_on_skipped runner_retry on_file_diff
        playbook_on_notify playbook_on_handler_task_start playbook_on_include
        playbook_on_no_hosts_matched playbook_on_stats
    """
    assert set(expected.split()) <= kinds
    assert mixed.warnings == []
    assert "CANARY" not in str(mixed.lines)


def test_records(ansible, mixed):
    """The parts of the protocol fit together."""
    assert list(mixed.lines[0]) == ["start"]
    assert list(mixed.lines[1]) == ["hello"]
    assert mixed.lines[-2:] == [{"end": {"reason": "exit", "code": mixed.rc}}, mixed.lines[-1]]
    numbers = [event["seq"] for event in mixed.of("event")]
    assert numbers == list(range(1, len(numbers) + 1))
    known = {"play": set(), "task": set()}
    for line in mixed.lines:
        for kind in known:
            if kind in line:
                assert line[kind]["id"] not in known[kind]
                known[kind].add(line[kind]["id"])
            named = line.get("event", {}).get(kind)
            assert named is None or named in known[kind]
    # A batch is a play of its own.
    assert [play["name"] for play in mixed.of("play")] == [
        "everything",
        "nobody",
        "in batches",
        "in batches",
    ]
    run = mixed.of("hello")[0]["run"]
    assert re.fullmatch("[0-9a-f]{8}-.*", run.pop("id"))
    assert run.pop("ansible_version").startswith(".".join(map(str, ansible.version)))
    assert run.pop("path").startswith("/")
    assert [os.path.basename(path) for path in run.pop("inventory")] == ["inventory"]
    assert run.pop("controller") == os.uname().nodename
    assert run == {
        "playbook": "site.yml",
        "check": False,
        "user": "root" if os.getuid() == 0 else run["user"],
        "limit": "all",
        "tags": ["all"],
        "skip_tags": [],
        "start_at_task": None,
    }


def test_tasks(mixed):
    tasks = {task["name"]: task for task in mixed.of("task")}
    assert tasks["a handler"]["handler"] is True
    assert tasks["passes"]["handler"] is False
    assert tasks["in a role"]["role"] == "trial"
    assert tasks["passes"]["role"] is None
    assert re.fullmatch(r".*/site.yml:\d+", tasks["passes"]["path"])
    assert tasks["passes"]["action"] == "debug"
    assert all(task["id"].isdigit() for task in tasks.values())


def test_results(ansible, mixed):
    def named(event, task, host="web1"):
        ids = [known["id"] for known in mixed.of("task") if known["name"] == task]
        found = [known for known in mixed.events_of(event, host) if known.get("task") in ids]
        assert found, (event, task)
        return found

    passed = named("runner_on_ok", "passes")[0]
    assert passed["host"] == {"name": "web1", "address": "10.0.0.1"}
    assert passed["result"]["msg"] == "hello"
    assert "changed" not in passed
    assert "ignored" not in passed
    ignored = named("runner_on_failed", "fails and is ignored")[0]
    assert ignored["ignored"] is True
    assert ignored["result"]["rc"] == 1
    assert not {"invocation", "stdout_lines"} & set(ignored["result"])
    assert named("runner_on_failed", "fails for good", "web2")[0].get("ignored") is None
    assert named("runner_item_on_ok", "loops")[0]["item"] == "one"
    assert named("runner_item_on_failed", "loops")[0]["item"] == "two"
    assert "results" not in named("runner_on_failed", "loops")[0]["result"]
    assert named("runner_item_on_ok", "loops with a label")[0]["item"] == "a"
    # Which attempt a retry belongs to is counted differently by the versions.
    assert all(event["result"]["attempts"] for event in named("runner_retry", "retries"))
    assert named("runner_on_failed", "retries")[0]["result"]["attempts"] == 2
    assert named("runner_on_ok", "runs in the background")[0]["duration"] > 1
    if ansible.version > (2, 10):
        assert named("runner_on_async_poll", "runs in the background")[0]["duration"] > 0
    silent = named("runner_on_ok", "says nothing")[0]
    assert set(silent["result"]) == {"changed", "censored"}
    assert silent["changed"] is True
    assert "new" in str(named("on_file_diff", "shows a difference")[0]["result"]["diff"])
    delegated = named("runner_on_ok", "delegated")[0]
    assert delegated["host"]["delegated_to"] == "web2"
    assert mixed.events_of("playbook_on_notify")[0]["result"] == {"handler": "a handler"}
    included = mixed.events_of("playbook_on_include")[0]["result"]
    assert included["file"].endswith("/included.yml")
    assert sorted(included["hosts"]) == ["web1", "web2"]
    stats = mixed.events_of("playbook_on_stats")[0]["result"]["stats"]
    assert stats["gone"]["unreachable"] == 1
    counts = "ok changed failures unreachable skipped rescued ignored"
    assert set(stats["web1"]) == set(counts.split())


@pytest.mark.parametrize("strategy", ["free", "host_pinned"])
def test_strategies(ansible, strategy):
    result = ansible.play(
        """
        - hosts: web
          strategy: %s
          gather_facts: false
          tasks:
            - {name: first, debug: {msg: one}}
            - {name: second, command: "true"}
        """
        % strategy,
    )
    assert result.rc == 0, result.stderr
    assert result.reported() == result.called
    assert [task["name"] for task in result.of("task")] == ["first", "second"]
    assert result.warnings == []


def test_many_forks(ansible):
    hosts = "".join("h%d ansible_connection=local\n" % number for number in range(40))
    ansible.write("many", hosts)
    result = ansible.play(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - debug: {msg: '{{ item }}'}\n"
        "      loop: [1, 2]\n",
        *("-i", "many", "-f", "50"),
    )
    assert result.reported() == result.called
    assert len(result.events_of("runner_item_on_ok")) == 80


def test_check_mode(ansible):
    play = "- hosts: web1\n  gather_facts: false\n  tasks:\n    - command: echo hello\n"
    result = ansible.play(play, "--check")
    assert result.of("hello")[0]["run"]["check"] is True
    assert result.reported() == result.called


def test_two_playbooks(ansible):
    play = "- hosts: web1\n  gather_facts: false\n  tasks:\n    - debug:\n"
    first, second = ansible.write("first.yml", play), ansible.write("second.yml", play)
    result = ansible.run("ansible-playbook", first, second)
    assert len(result.of("start")) == 1
    hello, run = result.of("hello")[0]["run"], result.of("run")[0]
    assert (hello["playbook"], run["playbook"]) == ("first.yml", "second.yml")
    assert hello["id"] == run["id"]
    assert hello["playbooks"] == run["playbooks"] == [str(first), str(second)]
    assert result.reported() == result.called
    assert len(result.events_of("playbook_on_stats")) == 2


def test_ad_hoc(ansible):
    result = ansible.run("ansible", "web", "-m", "debug", "-a", "msg=hello")
    assert result.rc == 0
    run = result.of("hello")[0]["run"]
    assert (run["playbook"], run["path"], run["tags"]) == (None, None, [])
    assert (run["module"], run["pattern"]) == ("debug", "web")
    assert result.of("run") == []
    assert result.reported() == result.called
    assert [event["result"]["msg"] for event in result.events_of("runner_on_ok")] == ["hello"] * 2
    assert result.warnings == []


def test_console(ansible):
    commands = "debug msg=one\ndebug msg=two\nexit\n"
    result = ansible.run("ansible-console", "web1", stdin=commands)
    assert result.reported() == result.called
    assert [event["result"]["msg"] for event in result.events_of("runner_on_ok")] == ["one", "two"]
    assert len(result.of("start")) == 1
    assert result.lines[-2] == {"end": {"reason": "exit", "code": 0}}


def test_nothing_happens(ansible):
    play = "- hosts: web1\n  tasks:\n    - debug:\n"
    assert ansible.play(play, "--syntax-check").lines == []
    assert ansible.play(play, "--list-tasks").lines == []


def test_prompt(ansible):
    result = ansible.play(
        """
        - hosts: web1
          gather_facts: false
          vars_prompt:
            - {name: colour, default: CANARY, private: false}
          tasks:
            - debug: {msg: hello}
        """,
        stdin="CANARY\n",
    )
    prompts = [event["result"] for event in result.events_of("playbook_on_vars_prompt")]
    if ansible.version > (2, 9):  # 2.9 does not prompt without a terminal
        assert prompts == [{"name": "colour"}]
    assert result.reported() == result.called
    assert "CANARY" not in str(result.lines)


MANY = """
#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule
AnsibleModule({"name": {}}).exit_json(results=["installed"])
"""


def test_what_a_module_calls_results(ansible):
    """They are the module's own in an item, and the items in the loop."""
    ansible.write("library/many.py", MANY.lstrip())
    play = "- hosts: web1\n  gather_facts: false\n  tasks:\n    - many: {name: '{{ item }}'}\n"
    result = ansible.play(play + "      loop: [a]\n    - many:\n")
    [item] = result.events_of("runner_item_on_ok")
    loop, plain = result.events_of("runner_on_ok")
    assert item["result"]["results"] == plain["result"]["results"] == ["installed"]
    assert "results" not in loop["result"]
