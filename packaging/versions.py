"""Version, address and time that all packages share."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Zip has no earlier year.
EARLIEST = 315532800


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
