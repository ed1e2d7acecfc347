"""What a release consists of, built here with the debug build of the program, and used as users do.

pytest tests/packages                    Ansible 2.16 and the newest version that a Python here runs
"""

import fcntl
import json
import os
import subprocess
import sys
import time
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import venvs
from counting import endpoint  # noqa: F401
from waiting import PATIENCE

sys.path.insert(0, str(venvs.ROOT / "packaging"))

import dist  # noqa: E402
import wheels  # noqa: E402
from versions import manifest  # noqa: E402

VERSION = manifest("version")
PROGRAM = "ansible_notify-%s.data/scripts/ansible-notify" % VERSION
INFO = "ansible_notify-%s.dist-info" % VERSION
METADATA = """\
Metadata-Version: 2.4
Name: ansible-notify
Version: %s
Description-Content-Type: text/markdown; charset=UTF-8; variant=GFM

See [the documentation](docs/README.md).
"""
WHEEL = "ansible_notify-%s-py3-none-%s.whl"
BINARY = venvs.ROOT / "target" / "debug" / "ansible-notify"
UNITS = venvs.ROOT / "examples" / "systemd"
TIME = "1764288000"


def run(*command, **options):
    """The finished process; its output is in the message if it fails."""
    options.setdefault("check", True)
    process = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        **{name: value for name, value in options.items() if name != "check"},
    )
    assert process.returncode == 0 or not options["check"], process.stdout
    return process


@pytest.fixture(scope="session")
def tools():
    """The environment with the tools that build and check packages."""
    return venvs.ensure("packages") / "bin"


@pytest.fixture(scope="session")
def galaxy():
    [newest] = venvs.resolve(["newest"])
    return venvs.ensure(newest) / "bin" / "ansible-galaxy"


def make_wheel(directory, content, tag="linux_x86_64"):
    """A wheel with a program, and with what maturin writes differently each time."""
    directory.mkdir(exist_ok=True)
    path = directory / (WHEEL % (VERSION, tag))
    origin = "path+file://%s#ansible-notify@%s" % (venvs.ROOT, VERSION)
    now = {"timestamp": str(time.time()), "component": {"bom-ref": origin}}
    bill = {"serialNumber": "urn:uuid:%s" % uuid.uuid4(), "metadata": now}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(PROGRAM, content)
        archive.writestr(INFO + "/METADATA", METADATA % VERSION)
        archive.writestr("%s/sboms/%s" % (INFO, wheels.SBOM), json.dumps(bill))
        archive.writestr(INFO + "/RECORD", "")
    return wheels.Wheel(path)


def program_for_arm():
    """A small program with the header of one for ARM: to be packed, not to be run."""
    content = Path("/bin/true").read_bytes()
    return content[:18] + b"\xb7\x00" + content[20:]


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A directory for all processes of this run of the tests."""
    run_of_tests = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    place = tmp_path_factory.getbasetemp().parent / ("packages-%s" % run_of_tests)
    place.mkdir(exist_ok=True)
    return place


def once(place, make):
    """Has the directory made by the first process that needs it; the others wait for it."""
    with open("%s.lock" % place, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            make(place)
            (place / "complete").touch()
    return place


@pytest.fixture(scope="session")
def binary(shared):
    """The program as in a release: without symbols, and without the paths of this machine."""

    def make(place):
        place.mkdir()
        program = place / "ansible-notify"
        run("strip", "-o", program, BINARY)
        content = program.read_bytes()
        for path in (venvs.ROOT, dist.Path.home()):
            content = content.replace(str(path).encode() + b"/", b"x" * (len(str(path)) + 1))
        program.write_bytes(content)

    return once(shared / "binary", make) / "ansible-notify"


@pytest.fixture(scope="session")
def releases(shared, galaxy, tools, binary):
    """Two directories with all files of a release, made at the same time of the same wheels."""

    def make(place):
        place.mkdir()
        places = [place / "first", place / "second"]
        for directory in places:
            make_wheel(directory, binary.read_bytes())
            make_wheel(directory, program_for_arm(), "linux_aarch64")
        with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor() as threads:
            patch.setenv("SOURCE_DATE_EPOCH", TIME)
            list(threads.map(lambda one: dist.build(galaxy, tools / "nfpm", one), places))

    place = once(shared / "releases", make)
    return [place / "first", place / "second"]


@pytest.fixture(scope="session")
def release(releases):
    """A function that returns the only file of a release that fits a pattern."""

    def file(pattern):
        [path] = releases[0].glob(pattern)
        return path

    return file


@pytest.fixture(scope="session", params=["2.16", "newest"])
def ansible(request):
    """The programs of one version of Ansible."""
    [version] = venvs.resolve([request.param])
    return venvs.ensure(version) / "bin"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home directory, and no settings of Ansible or the program from outside."""
    for name in [name for name in os.environ if name.startswith("ANSIBLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path
