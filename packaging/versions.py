#!/usr/bin/env python3
"""Version, address and time that all packages share. As a program, it sets the next version:

python3 packaging/versions.py X.Y.Z
"""

import argparse
import datetime
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Zip has no earlier year.
EARLIEST = 315532800
VERSION = re.compile(r"\d+\.\d+\.\d+")
PLACES = {
    "Cargo.toml": '^version = "(.*)"$',
    "Cargo.lock": '^name = "ansible-notify"\nversion = "(.*)"$',
    "callback_plugins/ansible_notify.py": '^VERSION = "(.*)"$',
    "python/ansible_notify/__init__.py": '^VERSION = "(.*)"$',
    "packaging/collection/galaxy.yml": "^version: (.*)$",
    "packaging/collection/meta/ee-requirements.txt": "^ansible-notify>=(.*)$",
    "packaging/collection/README.md": r"ansible_notify-notify-(\d+\.\d+\.\d+)-linux",
}
UNRELEASED = "## Unreleased\n"


def manifest(key):
    """A text of [package] in Cargo.toml."""
    text = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    return re.search('^%s = "(.*)"$' % key, text, re.MULTILINE).group(1)


def epoch():
    """SOURCE_DATE_EPOCH, or the time of the last commit."""
    if "SOURCE_DATE_EPOCH" in os.environ:
        return int(os.environ["SOURCE_DATE_EPOCH"])
    git = ["git", "-C", ROOT, "log", "-1", "--format=%ct"]
    asked = subprocess.run(git, capture_output=True, text=True, check=False)
    return int(asked.stdout) if asked.returncode == 0 else EARLIEST


def set_version(root, version, date):
    """Writes the version everywhere below the directory, and a heading into the changelog."""
    if not VERSION.fullmatch(version):
        raise SystemExit("%s is not a version such as 1.2.3" % version)
    path = root / "CHANGELOG.md"
    text = path.read_text(encoding="utf-8")
    if "\n## %s - " % version in text:
        raise SystemExit("CHANGELOG.md: %s is in it already" % version)
    heading = "%s\n## %s - %s\n" % (UNRELEASED, version, date)
    path.write_text(text.replace(UNRELEASED, heading, 1), encoding="utf-8")
    for place, pattern in PLACES.items():
        path = root / place
        text = path.read_text(encoding="utf-8")
        found = re.search(pattern, text, re.MULTILINE)
        text = text[: found.start(1)] + version + text[found.end(1) :]
        path.write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description="Set the version of the next release.")
    parser.add_argument("version")
    arguments = parser.parse_args()
    today = datetime.datetime.now(datetime.timezone.utc).date()
    set_version(ROOT, arguments.version, today.isoformat())


if __name__ == "__main__":
    main()
