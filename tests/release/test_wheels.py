"""The wheel in each version of Python that is here, with the Ansible that pip finds for it."""

import os
import time

import pytest
import venvs
from conftest import DIST, PLAY, VERSION, files, run

PYTHONS = [version for version in ["3.%d" % n for n in range(8, 15)] if venvs.find_python(version)]
PLUGIN = "ansible_notify.notify.ansible_notify"


@pytest.mark.parametrize("version", PYTHONS)
def test_it_is_installed_used_and_removed(version, home, tmp_path, endpoint, capsys):
    place = tmp_path / "environment"
    run(venvs.find_python(version), "-m", "venv", place)
    pip = [place / "bin" / "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "install", "ansible-core")
    before = files(place)
    start = time.monotonic()
    # Of the wheels for all systems, the one that fits.
    run(*pip, "install", "--no-index", "--find-links", DIST, "ansible-notify")
    (home / "site.yml").write_text(PLAY)
    (home / "plugin_config.ini").write_text("[inputs]\ncallback_url = %s\n" % endpoint.url)
    environment = dict(os.environ, PATH="/usr/bin:/bin", ANSIBLE_CALLBACKS_ENABLED=PLUGIN)
    said = run(place / "bin" / "ansible-playbook", "site.yml", env=environment)
    seconds = time.monotonic() - start
    assert "ansible-notify: 1 event, 1 delivery: delivered" in said
    assert endpoint.requests == 1
    with capsys.disabled():
        ansible = run(place / "bin" / "ansible", "--version").splitlines()[0]
        print("\nPython %s, %s: first event after %.1f s" % (version, ansible, seconds))
    said = run(place / "bin" / "ansible-notify", "--version")
    assert said == "ansible-notify %s\n" % VERSION
    run(*pip, "uninstall", "--yes", "ansible-notify")
    assert files(place) == before
    own = ("site.yml", "plugin_config.ini", ".local/state/ansible-notify/")
    others = (".ansible/", ".cache/pip/")
    assert {name for name in files(home) if not name.startswith(own + others)} == set()
