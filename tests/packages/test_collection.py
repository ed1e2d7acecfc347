"""The collection: built, checked as Galaxy does it, installed, and used."""

import os
import re
import shutil
import tarfile

import collection
import pytest
import venvs
from conftest import TIME, VERSION, run

PLUGIN = "ansible_notify.notify.ansible_notify"
PLAY = "- hosts: localhost\n  gather_facts: false\n  tasks:\n    - debug: {msg: hello}\n"
LINT = """\
profile: production
offline: true
"""
IMPORTER = """
[galaxy-importer]
LOG_LEVEL_MAIN = INFO
RUN_ANSIBLE_DOC = True
RUN_ANSIBLE_LINT = True
RUN_ANSIBLE_TEST = False
"""


@pytest.fixture
def plain(release):
    """The collection without the program."""
    return release("ansible_notify-notify-%s.tar.gz" % VERSION)


def names(tarball):
    with tarfile.open(tarball) as content:
        return set(content.getnames())


def test_it_has_what_users_and_galaxy_need(plain):
    found = names(plain)
    assert {
        "MANIFEST.json",
        "README.md",
        "CHANGELOG.md",
        "COPYING",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "changelogs/changelog.yaml",
        "docs/configuration.md",
        "docs/notifiers/slack.md",
        "meta/runtime.yml",
        "meta/execution-environment.yml",
        "meta/ee-requirements.txt",
        "plugins/callback/ansible_notify.py",
    } <= found
    assert not any(name.startswith(("bin", "tests")) or ".git" in name for name in found)


def test_links_lead_somewhere(tmp_path):
    """What a page links to is in the collection, or has an address."""
    tree = tmp_path / "notify"
    collection.make_tree(tree)
    pages = list(tree.glob("docs/**/*.md"))
    assert pages
    for page in pages:
        for link in page.read_text(encoding="utf-8").split("](")[1:]:
            target = link.split(")")[0].split("#")[0]
            if target and not target.startswith(("http://", "https://")):
                assert (page.parent / target).exists(), "%s: %s" % (page.name, target)


def test_the_same_files_give_the_same_bytes(galaxy, monkeypatch, tmp_path):
    """No matter who builds it, and when."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", TIME)
    program = tmp_path / "ansible-notify"
    program.write_bytes(b"program")

    def build(place):
        return [collection.build(galaxy, tmp_path / place, inside) for inside in (None, program)]

    first = build("first")
    for path in (collection.PLUGIN, program):
        os.utime(path)
    before = os.umask(0o077)
    try:
        second = build("second")
    finally:
        os.umask(before)
    for one, other in zip(first, second):
        assert one.name == other.name
        assert one.read_bytes() == other.read_bytes()


def install(ansible, tarball):
    """Installs the collection below the home directory, from the file alone."""
    run(ansible / "ansible-galaxy", "collection", "install", "--offline", tarball)


def play(ansible, home, endpoint, path):
    """Runs a playbook with the plugin enabled by its full name."""
    (home / "plugin_config.ini").write_text("[inputs]\ncallback_url = %s\n" % endpoint.url)
    (home / "site.yml").write_text(PLAY)
    environment = dict(os.environ, PATH=path, ANSIBLE_CALLBACKS_ENABLED=PLUGIN)
    return run(ansible / "ansible-playbook", "site.yml", env=environment).stdout


def test_it_works_with_the_program_on_path(ansible, home, plain, binary, endpoint):
    install(ansible, plain)
    shown = run(ansible / "ansible-doc", "-t", "callback", PLUGIN).stdout
    assert "ANSIBLE_NOTIFY_BINARY" in shown
    said = play(ansible, home, endpoint, "%s:/usr/bin:/bin" % binary.parent)
    assert "ansible-notify: 1 event, 1 delivery: delivered" in said
    assert "WARNING]: ansible_notify" not in said
    assert endpoint.requests == 1


def test_it_works_with_the_program_inside(ansible, home, release, endpoint):
    machine = "linux-%s" % os.uname().machine
    tarball = release("ansible_notify-notify-*-%s.tar.gz" % machine)
    assert "bin/%s/ansible-notify" % machine in names(tarball)
    install(ansible, tarball)
    said = play(ansible, home, endpoint, "/usr/bin:/bin")
    assert "ansible-notify: 1 event, 1 delivery: delivered" in said
    assert endpoint.requests == 1


def test_without_the_program_it_says_how_to_get_it(ansible, home, plain, endpoint):
    install(ansible, plain)
    said = " ".join(play(ansible, home, endpoint, "/usr/bin:/bin").split())
    assert said.count("[WARNING]: ansible_notify") == 1
    assert "Install it (`pip install ansible-notify`)" in said
    assert endpoint.requests == 0


def test_the_one_of_the_python_package_has_a_version(ansible, home):
    """Only `galaxy.yml` says it: there is no manifest, as nothing installed it."""
    environment = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(venvs.ROOT / "python"))
    said = run(ansible / "ansible-galaxy", "collection", "list", env=environment).stdout
    assert re.search(r"^ansible_notify\.notify +%s *$" % VERSION, said, re.MULTILINE)


def test_galaxy_would_take_it(home, tools, plain):
    config = home / "importer.cfg"
    config.write_text(IMPORTER)
    environment = dict(
        os.environ,
        GALAXY_IMPORTER_CONFIG=str(config),
        PATH="%s:%s" % (tools, os.environ["PATH"]),
    )
    said = run(tools / "python", "-m", "galaxy_importer.main", plain, env=environment).stdout
    assert "Loading callback ansible_notify" in said
    assert "Importer processing completed successfully" in said
    for word in ("WARNING", "ERROR"):
        assert word not in said, said


def test_ansible_lint_has_no_complaint(home, tools):
    tree = home / "ansible_collections" / "ansible_notify" / "notify"
    collection.make_tree(tree)
    (tree / ".ansible-lint").write_text(LINT)
    environment = dict(os.environ, PATH="%s:%s" % (tools, os.environ["PATH"]))
    said = run(tools / "ansible-lint", "--offline", "--nocolor", cwd=tree, env=environment).stdout
    assert "Passed: 0 failure(s), 0 warning(s)" in said


def test_the_changelog_is_that_of_its_data(home, tools):
    tree = home / "ansible_collections" / "ansible_notify" / "notify"
    shutil.copytree(collection.SOURCE, tree)
    written = (tree / "CHANGELOG.md").read_bytes()
    environment = dict(os.environ, PATH="%s:%s" % (tools, os.environ["PATH"]))
    for action in ("lint", "generate"):
        run(tools / "antsibull-changelog", action, cwd=tree, env=environment)
    assert (tree / "CHANGELOG.md").read_bytes() == written


def test_an_execution_environment_gets_the_program(home, tools):
    tree = home / "ansible_collections" / "ansible_notify" / "notify"
    collection.make_tree(tree)
    said = run(tools / "ansible-builder", "introspect", home).stdout
    assert "ansible-notify>=" in said
