"""Where the plugin may lie, what switches it on and off, and that only one copy reports."""

import shutil

import pytest
import venvs
from conftest import PLUGINS

PLUGIN = PLUGINS / "ansible_notify.py"
COLLECTION = "ansible_notify.notify.ansible_notify"
PLAY = "- hosts: web1\n  gather_facts: false\n  tasks:\n    - debug: {msg: hello}\n"
VARIABLES = """
- hosts: web1
  gather_facts: false
  tasks:
    - debug: {msg: nobody hears of it}
- hosts: web1
  gather_facts: false
  vars: {ansible_notify_callback_url: "https://example.com/x"}
  tasks:
    - {name: breaks, command: "false", ignore_errors: true}
"""


@pytest.fixture
def bare(ansible):
    """Ansible without any setting about callbacks, and without a configuration."""
    for name in [name for name in ansible.environment if "CALLBACK" in name]:
        del ansible.environment[name]
    shutil.rmtree(ansible.directory / ".config")
    return ansible


def put_plugin(ansible, folder):
    """A copy of the plugin with its configuration."""
    place = ansible.directory / folder
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(PLUGIN, place)
    (place / "plugin_config.ini").touch()
    return place


def enable(ansible, names, **more):
    """The variables that enable callbacks, with the collection where Ansible finds it."""
    old = ansible.version < (2, 11)
    path = "ANSIBLE_COLLECTIONS_PATHS" if ansible.version < (2, 10) else "ANSIBLE_COLLECTIONS_PATH"
    variable = "ANSIBLE_CALLBACK_WHITELIST" if old else "ANSIBLE_CALLBACKS_ENABLED"
    more[path] = str(venvs.ROOT / "python")
    more[variable] = names
    return more


def check_once(result):
    """Exactly one program was told, and each event once."""
    assert result.rc == 0, result.stdout + result.stderr
    assert len(result.of("start")) == 1
    names = [event["event"] for event in result.events]
    assert names.count("playbook_on_start") == 1
    assert names.count("runner_on_ok") == 1
    numbers = [event["seq"] for event in result.of("event")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert result.warnings == []


def test_beside_the_playbook_it_is_on(bare):
    place = put_plugin(bare, "callback_plugins")
    result = bare.play(PLAY)
    check_once(result)
    assert result.of("start")[0]["argv"] == ["stream", "--project", str(place)]


def test_in_a_role_it_is_on(bare):
    put_plugin(bare, "roles/trial/callback_plugins")
    bare.write("roles/trial/tasks/main.yml", "- debug:\n")
    check_once(bare.play("- hosts: web1\n  gather_facts: false\n  roles: [trial]\n"))


def test_a_playbook_in_another_folder_needs_the_setting(bare):
    put_plugin(bare, "callback_plugins")
    playbook = bare.write("playbooks/site.yml", PLAY)
    assert bare.run("ansible-playbook", playbook).lines == []
    bare.write("ansible.cfg", "[defaults]\ncallback_plugins = ./callback_plugins\n")
    check_once(bare.run("ansible-playbook", playbook))


def test_for_the_user_it_is_on(bare):
    put_plugin(bare, "home/plugins/callback")
    put_plugin(bare, ".ansible/plugins/callback")
    check_once(bare.run("ansible-playbook", bare.write("elsewhere/site.yml", PLAY)))


def test_ad_hoc_needs_both_settings(bare):
    put_plugin(bare, "callback_plugins")
    ad_hoc = ("ansible", "web1", "-m", "debug")
    bare.write("ansible.cfg", "[defaults]\ncallback_plugins = ./callback_plugins\n")
    assert bare.run(*ad_hoc).lines == []
    with (bare.directory / "ansible.cfg").open("a") as settings:
        settings.write("bin_ansible_callbacks = true\n")
    check_once(bare.run(*ad_hoc))


@pytest.mark.parametrize(
    "names",
    [
        "ansible_notify",
        COLLECTION,
        "ansible_notify," + COLLECTION,
        COLLECTION + ",ansible_notify",
        "ansible_notify,ansible_notify",
    ],
)
def test_however_it_is_enabled_it_reports_once(bare, names):
    put_plugin(bare, "callback_plugins")
    check_once(bare.play(PLAY, **enable(bare, names)))


def test_the_collection_alone(bare):
    bare.write("plugin_config.ini", "")
    check_once(bare.play(PLAY, **enable(bare, COLLECTION)))
    assert bare.play(PLAY, **enable(bare, "callback")).of("start")[1:] == []


@pytest.mark.parametrize("way", ["link", "copy", "other version"])
def test_copies_under_other_names_report_once(bare, way):
    put_plugin(bare, "callback_plugins")
    other = bare.directory / "callback_plugins" / "another_name.py"
    if way == "link":
        other.symlink_to(PLUGIN)
    else:
        text = PLUGIN.read_text(encoding="utf-8")
        if way == "other version":
            text = text.replace("PROTOCOL = 1\n", "PROTOCOL = 1\nADDED = 2\n")
        other.write_text(text, encoding="utf-8")
    check_once(bare.play(PLAY))


def test_a_copy_that_knows_of_no_other_reports(bare):
    """One from before there could be several: it would report in any case."""
    put_plugin(bare, "callback_plugins")
    text = PLUGIN.read_text(encoding="utf-8")
    text = text.replace("_ansible_notify_copies", "_of_its_own").replace("COPIES", "OWN")
    text = text.replace("return RUN.is_watched or not has_older_copy()", "return True")
    for name in ("a_before.py", "z_behind.py"):
        older = bare.write("callback_plugins/" + name, text)
        check_once(bare.play(PLAY))
        older.unlink()
        (bare.directory / "lines").unlink()


def test_the_configuration_beside_any_copy_counts(bare):
    """The copy that reports need not be the one that it lies beside."""
    put_plugin(bare, "a/callbacks")
    (bare.directory / "a/callbacks/plugin_config.ini").unlink()
    (bare.directory / "a/callbacks/ansible_notify.py").rename(
        bare.directory / "a/callbacks/a_first.py"
    )
    place = put_plugin(bare, "b/callbacks")
    both = "%s:%s" % (bare.directory / "a/callbacks", place)
    result = bare.play(PLAY, ANSIBLE_CALLBACK_PLUGINS=both)
    check_once(result)
    assert result.of("start")[0]["argv"][2] == str(place)


def test_console_with_two_copies(bare):
    """Each of its commands loads all copies again."""
    place = put_plugin(bare, "callback_plugins")
    shutil.copy(PLUGIN, place / "another_name.py")
    settings = {
        "ANSIBLE_CALLBACK_PLUGINS": str(place),
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
    }
    commands = "debug msg=one\ndebug msg=two\nexit\n"
    result = bare.run("ansible-console", "web1", stdin=commands, **settings)
    told = [event["result"]["msg"] for event in result.events_of("runner_on_ok")]
    assert told == ["one", "two"]


SWITCHES = {
    "variable": {"ANSIBLE_NOTIFY_ENABLED": "0"},
    "no": {"ANSIBLE_NOTIFY_ENABLED": "no"},
    "ini": {},
}


@pytest.mark.parametrize("switch", SWITCHES)
def test_it_is_switched_off(bare, switch):
    put_plugin(bare, "callback_plugins")
    if switch == "ini":
        bare.write("ansible.cfg", "[callback_ansible_notify]\nenabled = false\n")
    result = bare.play(PLAY, **SWITCHES[switch])
    assert (result.rc, result.lines, result.warnings) == (0, [], [])


def test_an_extra_variable_switches_it_off(bare):
    put_plugin(bare, "callback_plugins")
    result = bare.play(PLAY, "-e", "ansible_notify_enabled=false")
    assert (result.rc, result.lines, result.warnings) == (0, [], [])
    check_once(bare.play(PLAY, "-e", "ansible_notify_enabled=yes"))


@pytest.mark.parametrize(("value", "warnings"), [("", 0), ("1", 0), ("perhaps", 1)])
def test_it_stays_on(bare, value, warnings):
    put_plugin(bare, "callback_plugins")
    result = bare.play(PLAY, ANSIBLE_NOTIFY_ENABLED=value)
    assert len(result.of("start")) == 1
    assert len(result.warnings) == warnings


def test_without_a_configuration_nothing_happens(bare):
    place = put_plugin(bare, "callback_plugins")
    (place / "plugin_config.ini").unlink()
    result = bare.play(PLAY, ANSIBLE_NOTIFY_BINARY="/nowhere", ANSIBLE_NOTIFY_CONFIG="")
    assert (result.rc, result.lines, result.warnings) == (0, [], [])


CONFIGURATIONS = {
    "beside the playbook": "plugin_config.ini",
    "of the user": ".config/ansible-notify/plugin_config.ini",
    "of the user elsewhere": "xdg/ansible-notify/plugin_config.ini",
}


@pytest.mark.parametrize("level", CONFIGURATIONS)
def test_a_configuration_on_any_level_is_enough(bare, level):
    place = put_plugin(bare, "callback_plugins")
    (place / "plugin_config.ini").unlink()
    bare.write(CONFIGURATIONS[level], "")
    user_level = {"XDG_CONFIG_HOME": str(bare.directory / "xdg")} if "else" in level else {}
    check_once(bare.play(PLAY, **user_level))


@pytest.mark.parametrize("change", ["pop('HOME')", "update(HOME='')"])
def test_without_home_the_password_database_has_one(ansible, change):
    shown = ansible.python(
        """
        import os, pwd
        os.environ.%s
        print(plugin.home() == pwd.getpwuid(os.getuid()).pw_dir)
        """
        % change
    )
    assert shown == "True\n"


@pytest.mark.parametrize("way", ["environment", "extra", "play"])
def test_a_variable_that_names_an_endpoint_is_enough(bare, way):
    place = put_plugin(bare, "callback_plugins")
    (place / "plugin_config.ini").unlink()
    play, arguments, environment = PLAY, (), {}
    if way == "environment":
        environment = {"ANSIBLE_NOTIFY_CALLBACK_URL": "https://example.com"}
    elif way == "extra":
        arguments = ("-e", "callback_url=https://example.com")
    else:
        variable = "  vars: {ansible_notify_callback_url: 'https://example.com'}\n"
        play = PLAY.replace("  gather", variable + "  gather")
    check_once(bare.play(play, *arguments, **environment))


def test_a_later_play_may_name_the_first_endpoint(bare):
    """What came before was for nobody; the end of the run is for that endpoint."""
    place = put_plugin(bare, "callback_plugins")
    (place / "plugin_config.ini").unlink()
    result = bare.play(VARIABLES)
    assert result.rc == 0
    [hello] = result.of("hello")
    assert hello["overrides"]["callback_url"] == "https://example.com/x"
    assert hello["resumed"]["began"] > 0
    events = [event["event"] for event in result.events]
    assert events[0] == "playbook_on_play_start"
    assert events.count("runner_on_ok") == 0
    assert events.count("runner_on_failed") == 1
    assert result.of("event")[0]["seq"] == hello["resumed"]["after"] + 1
