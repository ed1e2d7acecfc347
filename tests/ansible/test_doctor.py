"""`doctor` beside real versions of Ansible: which plugin they find, and what that starts."""

import json
import os
import shutil
import subprocess

import pytest
import venvs
from test_endtoend import BINARY

PLUGIN = venvs.ROOT / "callback_plugins" / "ansible_notify.py"
CONFIG = "[inputs]\ncallback_url = http://127.0.0.1:9/\nenabled = false\n"
COLLECTION = "ansible_collections/ansible_notify/notify/plugins/callback/ansible_notify.py"
NAME = "ansible_notify.notify.ansible_notify"


class Place:
    """A project, and a home of its own."""

    def __init__(self, ansible, directory):
        self.directory = directory / "project"
        self.directory.mkdir()
        self.environment = {
            "PATH": "%s:/usr/bin:/bin" % (ansible.place / "bin"),
            "HOME": str(directory / "fresh"),
            "LANG": "C.UTF-8",
            "ANSIBLE_NOTIFY_BINARY": str(BINARY),
        }
        (directory / "fresh").mkdir()

    def write(self, name, text):
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return path

    def install(self, name="callback_plugins/ansible_notify.py"):
        self.write(name, PLUGIN.read_text(encoding="utf-8"))
        self.write("callback_plugins/plugin_config.ini", CONFIG)

    def doctor(self, **environment):
        """Returns the exit code, and state and text of each check."""
        before = self.names()
        ended = subprocess.run(
            [BINARY, "doctor", "--json"],
            cwd=self.directory,
            env=dict(self.environment, **environment),
            stdout=subprocess.PIPE,
            check=False,
        )
        assert self.names() == before, "nothing is made"
        found = {}
        for one in json.loads(ended.stdout)["checks"]:
            said = "%s; %s" % (one["text"], one["advice"])
            found.setdefault(one["check"], (one["state"], said))
        return ended.returncode, found

    def names(self):
        top = self.directory.parent
        return sorted(str(path) for path in top.rglob("*"))


@pytest.fixture
def place(ansible, tmp_path):
    return Place(ansible, tmp_path)


def expect(found, check, state, part):
    assert found[check][0] == state, found
    assert part in found[check][1], found


def test_a_plugin_next_to_the_playbook_is_on_by_itself(ansible, place):
    place.install()
    code, found = place.doctor()
    assert code == 0, found
    expect(found, "ansible", "ok", str(ansible.place / "bin" / "ansible-playbook"))
    expect(found, "ansible", "ok", "%d.%d" % ansible.version[:2])
    expect(found, "ansible.cfg", "ok", "none in use")
    expect(found, "plugin", "ok", "on by default, next to the playbook")
    expect(found, "versions", "ok", "plugin and program are ")
    expect(found, "plugin's program", "ok", "(this one)")
    assert not (place.directory / "callback_plugins" / "__pycache__").exists()


def test_a_plugin_that_is_not_there_is_a_problem(place):
    place.write("plugin_config.ini", CONFIG)
    code, found = place.doctor()
    assert code == 78
    expect(
        found,
        "plugin",
        "problem",
        "does not find the plugin ansible_notify; run `ansible-notify init`",
    )


def test_a_folder_of_ansible_cfg_counts(place, tmp_path):
    place.write("ansible.cfg", "[defaults]\ncallback_plugins = %s\n" % (tmp_path / "shared"))
    shared = tmp_path / "shared"
    shared.mkdir()
    shutil.copy(PLUGIN, shared)
    (shared / "plugin_config.ini").write_text(CONFIG + "timeout = never\n")
    (shared / "plugin_config.ini").chmod(0o600)
    code, found = place.doctor()
    expect(found, "ansible.cfg", "ok", str(place.directory / "ansible.cfg"))
    expect(found, "plugin", "ok", str(shared / "ansible_notify.py"))
    # The configuration beside it is the one that counts.
    assert code == 78
    expect(found, "configuration", "problem", "%s:4: " % (shared / "plugin_config.ini"))


@pytest.mark.newest
@pytest.mark.parametrize("value", ["false", "no"])
def test_a_plugin_that_is_turned_off_is_a_problem(place, value):
    place.install()
    cfg = place.write("ansible.cfg", "[callback_ansible_notify]\nenabled = %s\n" % value)
    code, found = place.doctor()
    assert code == 78
    expect(
        found,
        "plugin",
        "problem",
        "`enabled = %s` in [callback_ansible_notify] of %s" % (value, cfg),
    )
    code, found = place.doctor(ANSIBLE_NOTIFY_ENABLED="true")
    assert code == 0, "the environment wins"
    code, found = place.doctor(ANSIBLE_NOTIFY_ENABLED="0")
    assert code == 78
    expect(found, "plugin", "problem", "turned off by ANSIBLE_NOTIFY_ENABLED=0")


def test_a_collection_must_be_enabled(place, ansible):
    place.install("collections/" + COLLECTION)
    key = "collections_path" if ansible.version >= (2, 10) else "collections_paths"
    cfg = "[defaults]\n%s = %s\n" % (key, place.directory / "collections")
    trace = place.directory / "trace"
    # Looking for it runs nothing of it.
    place.write(
        "collections/%s/__init__.py" % os.path.dirname(COLLECTION), "open(%r, 'w')\n" % str(trace)
    )
    place.write("ansible.cfg", cfg)
    code, found = place.doctor()
    assert code == 78
    expect(found, "plugin", "problem", "add `%s` to `callbacks_enabled`" % NAME)
    enabled = "callbacks_enabled" if ansible.version >= (2, 11) else "callback_whitelist"
    place.write("ansible.cfg", cfg + "%s = %s\n" % (enabled, NAME))
    code, found = place.doctor()
    expect(found, "plugin", "ok", "by `%s` in `callbacks_enabled`" % NAME)
    assert code == 0, found
    assert not trace.exists()


@pytest.mark.newest
def test_the_program_is_searched_as_the_plugin_does(place, tmp_path):
    place.install()
    del place.environment["ANSIBLE_NOTIFY_BINARY"]
    code, found = place.doctor()
    assert code == 78
    expect(found, "plugin's program", "problem", "finds no ansible-notify next to Ansible's Python")
    there = tmp_path / "there"
    there.mkdir()
    (there / "ansible-notify").symlink_to(BINARY)
    path = "%s:%s" % (place.environment["PATH"], there)
    code, found = place.doctor(PATH=path)
    assert code == 0, found
    expect(found, "plugin's program", "ok", "(this one)")
    code, found = place.doctor(ANSIBLE_NOTIFY_BINARY="~/nosuch")
    assert code == 78
    expect(
        found, "plugin's program", "problem", "fresh/nosuch, set by ANSIBLE_NOTIFY_BINARY, is not"
    )

    script = "#!/bin/sh\ntouch %s\necho ansible-notify 0.0.1\n" % (tmp_path / "ran")
    other = tmp_path / "other"
    other.write_text(script)
    other.chmod(0o700)
    place.write("ansible.cfg", "[callback_ansible_notify]\nbinary = %s\n" % other)
    code, found = place.doctor(PATH=path)
    assert code == 0, found
    expect(found, "plugin's program", "note", "a different program; run `doctor` with that program")
    assert not (tmp_path / "ran").exists(), "what an ansible.cfg names is not run"


@pytest.mark.newest
def test_another_version_of_the_plugin_is_named(place):
    place.install()
    text = PLUGIN.read_text(encoding="utf-8")
    place.write("callback_plugins/ansible_notify.py", text.replace("PROTOCOL = 1", "PROTOCOL = 7"))
    code, found = place.doctor()
    assert code == 78
    expect(
        found, "versions", "problem", "it speaks protocol 7, this program 1; `ansible-notify init"
    )


@pytest.mark.newest
def test_nothing_of_the_directory_is_run(place):
    place.install()
    trace = place.directory / "trace"
    for name in ["json.py", "ansible.py", "os.py", "sitecustomize.py", "configparser.py"]:
        place.write(name, "open(%r, 'a').write(%r)\n" % (str(trace), name))
    place.write(
        "callback_plugins/ansible_notify.py",
        PLUGIN.read_text(encoding="utf-8") + "\nopen(%r, 'a').write('plugin')\n" % str(trace),
    )
    code, found = place.doctor()
    expect(found, "ansible", "ok", "ansible-playbook")
    assert code == 0, found
    assert not trace.exists()


@pytest.mark.newest
def test_an_ansible_that_does_not_start_is_named(place, tmp_path):
    place.install()
    broken = tmp_path / "broken"
    broken.mkdir()
    script = broken / "ansible-playbook"
    script.write_text("#!/usr/bin/env python3\nimport nosuch\n")
    script.chmod(0o700)
    code, found = place.doctor(PATH="%s:/usr/bin:/bin" % broken)
    assert code == 1
    expect(found, "ansible", "problem", "its Python cannot load Ansible: ModuleNotFoundError: ")
