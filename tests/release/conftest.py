"""The files of `make dist` in fresh environments and systems, as strangers install them.

pytest tests/release        needs Debian and root; the roots of the systems are kept in target/roots

What is left of a system's root after a test is compared with what was there before.
"""

import os
import subprocess
import sys

import pytest
import venvs
from counting import endpoint  # noqa: F401
from waiting import PATIENCE

sys.path.insert(0, str(venvs.ROOT / "packaging"))

from versions import manifest  # noqa: E402

DIST = venvs.ROOT / "dist"
ROOTS = venvs.ROOT / "target" / "roots"
VERSION = manifest("version")
PLAY = "- hosts: localhost\n  gather_facts: false\n  tasks:\n    - debug: {msg: hello}\n"
# In a root of its own, of which nothing but the files in `upper` outlives it
ENTER = """
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mount --bind /dev "$2/root/dev"
mount -t proc proc "$2/root/proc"
mount -t tmpfs tmpfs "$2/root/tmp"
mkdir "$2/root/tmp/dist"
mount --bind "$3" "$2/root/tmp/dist"
path=/usr/sbin:/usr/bin:/sbin:/bin
exec chroot "$2/root" /usr/bin/env -i PATH=$path HOME=/root LC_ALL=C.UTF-8 sh -euxc "$4"
"""


def run(*command, **options):
    """The output of a process; it is in the message if the process fails."""
    process = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
        **options,
    )
    assert process.returncode == 0, process.stdout
    return process.stdout


def file(pattern):
    """The only file of the release that fits the pattern."""
    [path] = DIST.glob(pattern % VERSION if "%s" in pattern else pattern)
    return path


def files(place):
    """Everything below a directory but directories."""
    found = (path for path in place.rglob("*") if path.is_symlink() or not path.is_dir())
    return {str(path.relative_to(place)) for path in found}


def make_root(name, *arguments, install=()):
    """The directory with a system of Debian, which is made once."""
    place = ROOTS / name
    if not (place / "complete").exists():
        ROOTS.mkdir(parents=True, exist_ok=True)
        run("rm", "-rf", place)
        run("debootstrap", "--variant=minbase", *arguments, place)
        if install:
            apt = ["chroot", place, "apt-get", "-qq", "--no-install-recommends", "install"]
            run(*apt, *install, env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"))
        (place / "complete").touch()
    return place


class System:
    """A fresh system for one test."""

    def __init__(self, root, place):
        self.root, self.place = root, place
        for name in ("upper", "work", "root"):
            (place / name).mkdir()

    def run(self, script):
        """The output of a script in it; the release is in /tmp/dist."""
        enter = ["unshare", "--mount", "sh", "-eu", "-c", ENTER, "enter"]
        return run(*enter, self.root, self.place, DIST, script)

    def left(self):
        """The files that were written and are still there."""
        return files(self.place / "upper")


@pytest.fixture
def system(tmp_path):
    """A function that starts a system from a root."""

    def start(root):
        place = tmp_path / "system"
        place.mkdir()
        return System(root, place)

    return start


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home directory, and no settings of Ansible or the program from outside."""
    for name in [name for name in os.environ if name.startswith("ANSIBLE_")]:
        monkeypatch.delenv(name)
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    # pip asks rustc for its version, and rustup writes to a home of its own.
    monkeypatch.setenv("RUSTUP_HOME", str(tmp_path / "rustup"))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.chdir(place)
    return place
