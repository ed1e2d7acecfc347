"""Everything of a release has the version of Cargo.toml."""

import re

import pytest
import venvs
from versions import manifest

VERSION = manifest("version")
PLACES = {
    "Cargo.lock": '^name = "ansible-notify"\nversion = "(.*)"$',
    "callback_plugins/ansible_notify.py": '^VERSION = "(.*)"$',
    "python/ansible_notify/__init__.py": '^VERSION = "(.*)"$',
    "packaging/collection/galaxy.yml": "^version: (.*)$",
    "packaging/collection/meta/ee-requirements.txt": "^ansible-notify>=(.*)$",
    "packaging/collection/README.md": r"ansible_notify-notify-(\d+\.\d+\.\d+)-linux",
    "CHANGELOG.md": r"^## (\d+\.\d+\.\d+) - \d{4}-\d{2}-\d{2}$",
    "packaging/collection/changelogs/changelog.yaml": r"^  (\d+\.\d+\.\d+):$",
}


@pytest.mark.parametrize("place", PLACES)
def test_there_is_one_version(place):
    text = (venvs.ROOT / place).read_text(encoding="utf-8")
    found = re.findall(PLACES[place], text, re.MULTILINE)
    # Changelogs begin with the newest one.
    assert found[:1] == [VERSION]


def test_addresses_are_those_of_the_manifest():
    """Of the program, the collection and the Debian package."""
    address = manifest("repository")
    assert manifest("homepage") == address
    for place, key in (
        ("packaging/collection/galaxy.yml", "repository"),
        ("packaging/debian/copyright", "Source"),
    ):
        text = (venvs.ROOT / place).read_text(encoding="utf-8")
        assert "\n%s: %s\n" % (key, address) in text
