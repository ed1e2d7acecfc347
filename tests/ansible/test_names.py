"""A result carries the name and the action of its task as its host, or its item, ran it."""

import json

PLAY = """
- hosts: web
  gather_facts: false
  vars:
    people: [{name: anna, password: CANARY-anna}, {name: bert, password: CANARY-bert}]
  tasks:
    - name: install {{ package }} on {{ inventory_hostname }}
      action: '{{ "debug" }} msg=hello'
    - name: always the same
      debug:
    - name: is skipped on {{ inventory_hostname }}
      debug:
      when: false
    - name: fails on {{ inventory_hostname }}
      command: "false"
      ignore_errors: true
    - name: loops over {{ item }} on {{ inventory_hostname }}
      debug:
      loop: [one, two]
    - name: counts {{ number }} {{ count }}
      debug:
      loop: [x, y]
      loop_control: {loop_var: number, index_var: count}
    - name: greets {{ item.name }}
      debug:
      loop: "{{ people }}"
      loop_control: {label: "{{ item.name }}"}
    - name: shows {{ item.password }}
      debug:
      loop: "{{ people }}"
      loop_control: {label: "{{ item.name }}"}
    - name: hides {{ item.password }}
      debug:
      loop: "{{ people }}"
      no_log: true
    - name: insists on {{ inventory_hostname }}
      command: "false"
      register: tried
      until: tried.rc == 0
      retries: 1
      delay: 0
      ignore_errors: true
    - name: is evaluated once {{ lookup('pipe', 'echo x >> ' + playbook_dir + '/evaluated') }}
      debug:
    - name: has {{ nothing }} on {{ inventory_hostname }}
      debug:
    - name: is handled on {{ inventory_hostname }}
      include_tasks: included.yml
    - include_role: {name: trial}
    - action: '{{ "ping" }}'
"""
INCLUDED = "- name: is included on {{ inventory_hostname }}\n  debug:\n"


def names(result):
    """What each result calls its task, and its action; in order for each host."""
    tasks = {task["id"]: task for task in result.of("task")}
    told = {"web1": [], "web2": []}
    for event in result.events:
        if "host" in event and "task" in event:
            task = tasks[event["task"]]
            name = event.get("task_name", task["name"])
            action = event.get("task_action", task["action"])
            told[event["host"]["name"]].append((event["event"], name, action.split(".")[-1]))
    return told


def expected(ansible, host, package):
    on = "on " + host
    both = {"anna", "bert"}
    items = [
        *[("runner_item_on_ok", f"loops over {item} {on}", "debug") for item in ("one", "two")],
        *[("runner_item_on_ok", f"counts {item}", "debug") for item in ("x 0", "y 1")],
        *[("runner_item_on_ok", f"greets {name}", "debug") for name in sorted(both)],
    ]
    return [
        ("runner_on_ok", f"install {package} {on}", "debug"),
        ("runner_on_ok", "always the same", "debug"),
        ("runner_on_skipped", f"is skipped {on}", "debug"),
        ("runner_on_failed", f"fails {on}", "command"),
        *items,
        ("runner_retry", f"insists {on}", "command"),
        ("runner_on_failed", f"insists {on}", "command"),
        ("runner_on_ok", f"is handled {on}", "include_tasks"),
        ("runner_on_ok", f"is included {on}", "debug"),
        ("runner_on_ok", "include_role : trial", "include_role"),
        ("runner_on_ok", "ping", "ping"),
    ]


def test_names(ansible):
    ansible.write("included.yml", INCLUDED)
    ansible.write("roles/trial/tasks/main.yml", "- debug:\n")
    ansible.write("inventory", (ansible.directory / "inventory").read_text())
    ansible.write("host_vars/web1.yml", "package: nginx\n")
    ansible.write("host_vars/web2.yml", "package: redis\n")
    result = ansible.play(PLAY)
    assert result.rc == 0, result.stdout
    told = names(result)
    for host, package in (("web1", "nginx"), ("web2", "redis")):
        wanted = expected(ansible, host, package)
        missing = [name for name in wanted if name not in told[host]]
        assert missing == [], told[host]
        other = "web1" if host == "web2" else "web2"
        assert [name for name in told[host] if "on " + other in name[1]] == []
    # Neither a label nor no_log is passed by in a name.
    assert "CANARY" not in json.dumps(result.lines)
    assert result.warnings == []
    # Each task is told once, and a name that does something is evaluated by Ansible alone.
    assert len(result.of("task")) == len({task["path"] for task in result.of("task")})
    plain = ansible.directory / "evaluated"
    with_plugin = plain.read_text()
    plain.unlink()
    ansible.play(PLAY, ANSIBLE_NOTIFY_ENABLED="0")
    assert with_plugin == plain.read_text()


def test_names_in_another_strategy(ansible):
    result = ansible.play(
        """
        - hosts: web
          strategy: free
          gather_facts: false
          tasks:
            - {name: "first on {{ inventory_hostname }}", debug: }
            - {name: "second on {{ inventory_hostname }}", command: "true"}
        """
    )
    for host, told in names(result).items():
        assert [name for _event, name, _action in told if name.startswith(("first", "second"))]
        assert all(name.endswith(host) for event, name, _ in told if event == "runner_on_ok"), told
