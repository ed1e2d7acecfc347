"""`ansible-notify run` around real Ansible: nothing else changes, and each run is reported once."""

import os
import re
import shlex
import shutil
import signal
import subprocess
from contextlib import suppress

import pytest
from conftest import PLUGINS, heed_interrupts, wait_for
from test_endtoend import BINARY, Endpoint
from waiting import PATIENCE

CONFIG = """
[notifier:ends]
type = webhook
url = %s
on = started, success, error, canceled
username = svc-ansible
password = s3cret
[outputs:ends]
run = run_id
name = run_name
path = event.run.path
inventory = inventory
status = status
exit_code = exit_code
signal = signal
previous = previous
reason = reason
output = output
[delivery]
drain = 10s
"""
OK = "- hosts: localhost\n  gather_facts: false\n  tasks: [{name: speaks, debug: {msg: hello}}]\n"
FAILS = "- hosts: localhost\n  gather_facts: false\n  tasks: [{name: breaks, command: 'false'}]\n"
SLEEPS = (
    "- hosts: localhost\n  gather_facts: false\n"
    "  tasks: [{name: asleep, shell: 'touch asleep; exec sleep 60'}]\n"
)
SPEAKS = (
    "- hosts: localhost\n  gather_facts: false\n  tasks:\n"
    "    - {shell: 'touch asleep; while ! test -e go; do sleep 0.1; done'}\n"
    "    - {debug: {msg: hello}}\n    - {debug: {msg: hello}}\n"
)
KILLS = (
    "- hosts: localhost\n  gather_facts: false\n  tasks:\n"
    "    - {name: kills, shell: 'kill -9 $(cat controller)'}\n    - {shell: sleep 60}\n"
)
# A shell that has the process id of Ansible's controller in a file
CONTROLLER = 'echo $$ > controller; exec "$@"'


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    endpoint = Endpoint(tmp_path_factory.mktemp("endpoint"))
    yield endpoint
    endpoint.stop()


class Place:
    """A folder with playbooks, with or without the plugin."""

    def __init__(self, ansible, endpoint, name, has_plugin=True):
        self.ansible, self.endpoint = ansible, endpoint
        self.folder = ansible.directory / name
        self.folder.mkdir()
        self.seen = len(endpoint.bodies())
        plugins = self.folder / "callback_plugins"
        plugins.mkdir()
        if has_plugin:
            shutil.copy(PLUGINS / "ansible_notify.py", plugins)
        self.write("callback_plugins/plugin_config.ini", CONFIG % endpoint.url).chmod(0o600)
        for known, text in (("ok", OK), ("fails", FAILS), ("sleeps", SLEEPS), ("kills", KILLS)):
            self.write(known + ".yml", text)
        plugin_free = {
            key: value for key, value in ansible.environment.items() if "CALLBACK" not in key
        }
        self.environment = dict(
            plugin_free,
            ANSIBLE_NOTIFY_BINARY=str(BINARY),
            ANSIBLE_LOCALHOST_WARNING="0",
            ANSIBLE_RETRY_FILES_ENABLED="0",
            XDG_STATE_HOME=str(self.folder / "state"),
            TERM="xterm-256color",
        )

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def run(self, *command, **environment):
        """Runs a command in the wrapper; gives its exit code and its output."""
        done = subprocess.run(
            [BINARY, "run", *command],
            cwd=self.folder,
            env=dict(self.environment, **environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=heed_interrupts,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout.decode()

    def reported(self, count=2):
        """What was reported since the place was made: that many, and no more."""
        bodies = self.endpoint.wait_for(lambda all_: len(all_) >= self.seen + count)
        assert len(bodies) == self.seen + count, bodies[self.seen :]
        return bodies[self.seen :]

    def the_end(self):
        """The end of the one run: there is one start before it, of the same run."""
        start, end = self.reported()
        assert start["status"] == "running"
        assert start["run"] == end["run"]
        return end


# A YAML error in the words of ansible-core before 2.19, and of later ones
YAML = "(YAML parsing failed|Syntax Error while loading YAML): "
# Command, exit code and reason, where nothing calls a plugin
BEFORE = {
    "no such playbook": ("ansible-playbook nowhere.yml", 1, ".*nowhere.yml.* could not be found"),
    "syntax error": ("ansible-playbook syntax.yml", 4, YAML + r".*node content.*/syntax\.yml:2\)$"),
    "syntax error in a role": (
        "ansible-playbook roles.yml",
        4,
        YAML + r".*node content.*/roles/r/tasks/main\.yml:2\)$",
    ),
    "not a list": ("ansible-playbook scalar.yml", 4, r".* list of plays.*/scalar\.yml:1\)$"),
    "empty playbook": ("ansible-playbook empty.yml", 4, "Empty playbook, nothing to do"),
    "unknown key": ("ansible-playbook key.yml", 4, r"'taks' is not a valid .*/key\.yml:\d\)$"),
    "no such role": (
        "ansible-playbook role.yml",
        1,
        r"[tT]he role 'nowhere' was not found.*/role\.yml:2\)$",
    ),
    "no such import": (
        "ansible-playbook import.yml",
        1,
        r"Unable to retrieve .*/nowhere\.yml' on the Ansible Controller",
    ),
    "no such module": (
        "ansible-playbook module.yml",
        4,
        r"couldn't resolve module/action 'nowhere'.*/module\.yml:2\)$",
    ),
    "bad inventory": (
        "env ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED=1 ansible-playbook -i broken.ini ok.yml",
        1,
        "Completely failed to parse inventory source .*/broken.ini.*\\(Failed to parse .*values to",
    ),
    "no inventory": (
        "env ANSIBLE_INVENTORY_UNPARSED_FAILED=1 ansible-playbook -i plugin.yml ok.yml",
        1,
        "No inventory was parsed.*\\(Failed to parse .*unknown plugin 'nowhere'",
    ),
    "unknown option": ("ansible-playbook --nowhere ok.yml", 2, ".*unrecognized arguments.*"),
    "no argument": ("ansible-playbook", 2, ".*error.*"),
    "limit to nobody": ("ansible-playbook ok.yml --limit nowhere", 1, ".*limit.*"),
    "no such vault password file": (
        "ansible-playbook --vault-password-file nowhere ok.yml",
        1,
        ".*nowhere.* was not found",
    ),
    "no such extra vars": ("ansible-playbook -e @nowhere.yml ok.yml", 1, ".*nowhere.yml.*"),
    "broken extra vars": (
        "ansible-playbook -e @syntax.yml ok.yml",
        None,
        YAML + r".*/syntax\.yml:2\)$",
    ),
    "broken ansible.cfg": (
        "env ANSIBLE_CONFIG=broken.cfg ansible-playbook ok.yml",
        None,
        r".*Error reading config file \(.*broken.cfg\): .*no section headers",
    ),
    "git failure": (
        "ansible-pull -U ./nowhere.git -d checkout",
        None,
        r"localhost: .*fatal: .*'\./nowhere\.git' does not ",
    ),
    "python traceback": ("python -c 'import nowhere'", 1, "ModuleNotFoundError: .*"),
    "no such program": ("ansible-playbok ok.yml", 127, "cannot run `ansible-playbok`: No such .*"),
    "not executable": ("./ok.yml", 126, "cannot run `./ok.yml`: Permission denied"),
    "killed by the shell": ("bash -c 'kill -9 $$'", -9, "`bash` was ended by SIGKILL"),
    "script that gives up": ("bash -c 'exit 3'", 3, "`bash` ended with exit code 3"),
}


@pytest.mark.parametrize("name", BEFORE)
def test_a_run_that_never_begins(ansible, endpoint, name):
    command, code, reason = BEFORE[name]
    place = Place(ansible, endpoint, "place")
    place.write("syntax.yml", "- hosts: [\n")
    place.write("scalar.yml", "hosts\n")
    place.write("empty.yml", "")
    place.write("role.yml", "- hosts: localhost\n  roles: [nowhere]\n")
    place.write("import.yml", "- import_playbook: nowhere.yml\n")
    place.write("module.yml", "- hosts: localhost\n  tasks: [{nowhere: }]\n")
    place.write("key.yml", "- hosts: localhost\n  taks: []\n")
    place.write("roles.yml", "- hosts: localhost\n  roles: [r]\n")
    (place.folder / "roles" / "r" / "tasks").mkdir(parents=True)
    place.write("roles/r/tasks/main.yml", "- hosts: [\n")
    place.write("broken.ini", "[web\nx\n")
    place.write("plugin.yml", "plugin: nowhere\n")
    place.write("broken.cfg", "[defaults\nforks = x\n")
    rc, printed = place.run(*shlex.split(command))
    end = place.the_end()
    assert end["status"] == "error", (end, printed)
    assert rc == (code if code is not None else rc)
    assert rc != 0
    assert end["exit_code"] == (rc if rc >= 0 else 128 - rc)
    assert re.match(reason, end["reason"]), (end["reason"], printed)
    if code not in (126, 127, -9) and printed.strip() and "bash -c" not in command:
        assert end["output"]


def test_a_run_that_ends_before_its_first_play_names_the_place_too(ansible, endpoint):
    place = Place(ansible, endpoint, "place")
    place.write("syntax.yml", "- hosts: [\n")
    place.write(
        "site.yml", "- hosts: localhost\n  gather_facts: false\n  vars_files: [syntax.yml]\n"
    )
    place.run("ansible-playbook", "site.yml")
    end = place.the_end()
    assert re.match(YAML + r".*node content.*/syntax\.yml:2\)$", end["reason"]), end


@pytest.mark.newest
@pytest.mark.parametrize("option", ["--syntax-check", "--list-tasks", "--list-hosts", "--version"])
def test_a_command_that_runs_no_playbook(ansible, endpoint, option):
    place = Place(ansible, endpoint, "place")
    assert place.run("ansible-playbook", "fails.yml")[0] == 2
    place.reported()
    assert place.run("ansible-playbook", "fails.yml", option)[0] == 0
    start, end = place.reported(4)[2:]
    assert [start["status"], end["status"]] == ["running", "success"]
    assert end["name"] == "ansible-playbook %s fails.yml" % option
    assert end["path"] is None
    place.run("ansible-playbook", "fails.yml")
    assert place.reported(6)[5]["previous"] == "error"


@pytest.mark.newest
def test_a_wrapper_that_is_killed(ansible, endpoint):
    """Ansible goes on without a reader of its output, and fails."""
    place = Place(ansible, endpoint, "place")
    place.write("speaks.yml", SPEAKS)
    process = subprocess.Popen(
        [BINARY, "run", "ansible-playbook", "speaks.yml"],
        cwd=place.folder,
        env=place.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    wait_for((place.folder / "asleep").exists)
    process.kill()
    process.wait(timeout=PATIENCE)
    place.write("go", "")
    end = place.the_end()
    assert end["status"] == "error"
    assert end["reason"].startswith("`ansible-notify run` was killed"), end
    process.stdout.close()


@pytest.mark.newest
@pytest.mark.parametrize("has_plugin", [True, False])
@pytest.mark.parametrize(
    ("playbook", "rc", "status"), [("ok", 0, "success"), ("fails", 2, "error")]
)
def test_a_playbook_is_one_run(ansible, endpoint, playbook, rc, status, has_plugin):
    place = Place(ansible, endpoint, "place", has_plugin)
    code, printed = place.run("ansible-playbook", playbook + ".yml")
    assert code == rc, printed
    start, end = place.reported()
    assert [start["status"], end["status"]] == ["running", status]
    # Both sides name the same playbook and inventory, so incidents and threads are the same.
    for key in ("run", "name", "path", "inventory"):
        assert start[key] == end[key], key
    assert end["exit_code"] == rc
    assert "PLAY RECAP" in end["output"]
    assert printed.count("ansible-notify: ") == 1, printed


@pytest.mark.newest
def test_several_playbooks_of_one_command_line_are_one_run(ansible, endpoint):
    place = Place(ansible, endpoint, "place")
    assert place.run("ansible-playbook", "ok.yml", "fails.yml")[0] == 2
    assert place.the_end()["status"] == "error"


@pytest.mark.newest
def test_two_commands_in_a_script(ansible, endpoint):
    place = Place(ansible, endpoint, "place")
    script = "ansible-playbook ok.yml && ansible-playbook ok.yml && exit 4"
    assert place.run("bash", "-c", script)[0] == 4
    first, end, second, second_end, last = place.reported(5)
    assert [end["status"], second["status"], second_end["status"]] == [
        "success",
        "running",
        "success",
    ]
    assert second["run"] == second_end["run"] != first["run"] == end["run"] == last["run"]
    # What the plugin could not know is told as well.
    assert (last["status"], last["exit_code"]) == ("error", 4)


@pytest.mark.newest
def test_a_controller_that_is_killed(ansible, endpoint):
    place = Place(ansible, endpoint, "place")
    code, _ = place.run("sh", "-c", CONTROLLER, "sh", "ansible-playbook", "kills.yml")
    end = place.the_end()
    assert code == -9
    assert (end["status"], end["exit_code"], end["signal"]) == ("error", 137, "SIGKILL")
    assert "SIGKILL" in end["reason"]
    assert "kills" in end["output"]


@pytest.mark.newest
@pytest.mark.parametrize(
    ("number", "code", "status"),
    [
        (signal.SIGINT, 99, "canceled"),
        (signal.SIGTERM, -15, "canceled"),
        (signal.SIGHUP, -1, "canceled"),
    ],
)
@pytest.mark.parametrize("has_plugin", [True, False])
def test_a_signal_to_the_wrapper_alone(ansible, endpoint, number, code, status, has_plugin):
    place = Place(ansible, endpoint, "place", has_plugin)
    process = subprocess.Popen(
        [BINARY, "run", "ansible-playbook", "sleeps.yml"],
        cwd=place.folder,
        env=place.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )
    wait_for((place.folder / "asleep").exists)
    process.send_signal(number)
    assert process.wait(timeout=PATIENCE) == code
    end = place.the_end()
    assert end["status"] == status
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its task still sleeps


@pytest.mark.newest
def test_without_a_spool_it_is_one_run(ansible, endpoint):
    place = Place(ansible, endpoint, "place")
    place.write("file", "")
    code, printed = place.run(
        "ansible-playbook", "ok.yml", XDG_STATE_HOME=str(place.folder / "file")
    )
    assert code == 0, printed
    assert place.the_end()["status"] == "success"


def test_an_error_before_the_first_task_and_then_a_success_has_recovered(ansible, endpoint):
    place = Place(ansible, endpoint, "place")
    config = place.folder / "callback_plugins" / "plugin_config.ini"
    config.write_text(
        config.read_text().replace("on = started, success, error, canceled", "on = recovered")
    )
    playbook = place.folder / "site.yml"
    for text in (OK, "- hosts: localhost\n  roles: [nowhere]\n", OK, OK):
        playbook.write_text(text)
        place.run("ansible-playbook", "site.yml")
    assert place.reported(1)[0]["status"] == "success"
