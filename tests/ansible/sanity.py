#!/usr/bin/env python3
"""Runs ansible-test's sanity checks over the plugin in its collection.

    python3 tests/ansible/sanity.py            with 2.16 and the newest version
    python3 tests/ansible/sanity.py 2.19

Also compiles it with the versions of Python that are here. Exits with 1 if there is a finding.
"""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import venvs

sys.path.insert(0, str(venvs.ROOT / "packaging"))
import collection  # noqa: E402 - it is there only now

TESTS = ["validate-modules", "ansible-doc", "import", "compile", "pep8", "pylint"]
PLUGIN = "plugins/callback/ansible_notify.py"
# In Python 3, a version before and after each change of the language that matters to it
PYTHONS = ["2.7", "3.5", "3.6", "3.8", "3.12", "3.13", "3.14"]
WORK = venvs.ROOT / "target" / "sanity"
NO_PIP = 'at "(.*/bin/python)" does not have pip'


def make_collection(version):
    """Makes a tree of the form that ansible-test takes, known to git; each version has its own."""
    tree = WORK / version / "ansible_collections" / "ansible_notify" / "notify"
    shutil.rmtree(tree, ignore_errors=True)
    collection.make_tree(tree)
    for command in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *command], cwd=tree, check=True)
    return tree


def ansible_test(place, tree, test):
    environment = dict(os.environ, HOME=str(WORK), PATH=f"{place / 'bin'}:{os.environ['PATH']}")
    version = subprocess.check_output(
        [place / "bin/python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True
    ).strip()
    command = [place / "bin/ansible-test", "sanity", "--test", test, "--python", version, PLUGIN]
    return subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, check=False
    )


def make_venv(place, python):
    """Makes an environment that ansible-test wants; it would download pip in a way of its own."""
    directory = python.parent.parent
    # As in …/sanity.pylint/3.11/0a1b2c3d
    label = directory.parent.parent.name
    (requirements,) = place.glob(f"lib/python*/site-packages/ansible_test/_data/**/{label}.txt")
    shutil.rmtree(directory, ignore_errors=True)
    venvs.run(place / "bin/python", "-m", "venv", directory)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    # Pinned versions may be without a wheel for this Python, then newer ones do.
    venvs.run(*pip, "-r", requirements)
    (directory / "meta.install.json").write_text("[]")
    (directory / "meta.yaml.json").write_text('{"yaml": true, "cloader": true}')
    (directory / "marker.txt").touch()


def check(place, tree, test):
    """Runs one test; says whether there was no finding."""
    result = ansible_test(place, tree, test)
    while wanted := re.search(NO_PIP, result.stdout + result.stderr):
        make_venv(place, venvs.Path(wanted.group(1)))
        result = ansible_test(place, tree, test)
    if result.returncode:
        print(result.stdout, result.stderr, sep="\n")
    return result.returncode == 0


def check_version(version):
    """Runs all tests with one version of Ansible; says whether there was no finding."""
    place = venvs.ensure(version)
    tree = make_collection(version)
    found = []
    for test in TESTS if place else []:
        found.append(check(place, tree, test))
        print(version, test, "passed" if found[-1] else "FAILED", flush=True)
    return all(found)


def compiles(version):
    """Says whether a version of Python can read the plugin, if there is one here."""
    python = venvs.find_python(version)
    program = "import sys; compile(open(sys.argv[1]).read(), sys.argv[1], 'exec')"
    passed = python is None or not subprocess.call([python, "-c", program, collection.PLUGIN])
    if python:
        print("Python", version, "passed" if passed else "FAILED", flush=True)
    return passed


def main(versions):
    passed = [compiles(version) for version in PYTHONS]
    with ThreadPoolExecutor() as threads:
        passed += threads.map(check_version, venvs.resolve(versions or ["2.16", "newest"]))
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
