"""Everything of a release has the version of Cargo.toml."""

import re
import shutil

import pytest
import venvs
from versions import PLACES, manifest, set_version

VERSION = manifest("version")
# The newest entry of a changelog; those of the collection have the order that its tool gives them.
NEWEST = {
    "CHANGELOG.md": r"^## (\d+\.\d+\.\d+) - \d{4}-\d{2}-\d{2}$",
    "packaging/collection/CHANGELOG.md": r"^## v(\d+\\\.\d+\\\.\d+)$",
}


@pytest.mark.parametrize("place", [*PLACES, *NEWEST])
def test_there_is_one_version(place):
    text = (venvs.ROOT / place).read_text(encoding="utf-8")
    found = re.search({**PLACES, **NEWEST}[place], text, re.MULTILINE)
    assert found.group(1).replace("\\", "") == VERSION


def test_a_release_changes_the_version_and_nothing_else(tmp_path):
    for place in [*PLACES, "CHANGELOG.md"]:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(venvs.ROOT / place, tmp_path / place)
    set_version(tmp_path, "12.3.45", "2026-12-24")
    for place in PLACES:
        before, after = [(root / place).read_text() for root in (venvs.ROOT, tmp_path)]
        pairs = zip(before.splitlines(), after.splitlines())
        [(old, new)] = [pair for pair in pairs if pair[0] != pair[1]]
        assert new == old.replace(VERSION, "12.3.45")
    before, after = [(root / "CHANGELOG.md").read_text() for root in (venvs.ROOT, tmp_path)]
    unreleased = "## Unreleased\n"
    assert after == before.replace(unreleased, unreleased + "\n## 12.3.45 - 2026-12-24\n")


@pytest.mark.parametrize(
    ("version", "problem"),
    [("1.0", "1.0 is not a version such as 1.2.3"), (VERSION, "is in it already")],
)
def test_a_release_has_a_new_version(tmp_path, version, problem):
    shutil.copy(venvs.ROOT / "CHANGELOG.md", tmp_path)
    with pytest.raises(SystemExit, match=problem):
        set_version(tmp_path, version, "2026-12-24")


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
