#!/usr/bin/env python3
"""Builds the Ansible collection: the same bytes from the same files, with or without the program.

    python3 packaging/collection.py ANSIBLE_GALAXY DIRECTORY [--binary PROGRAM]

Prints the path of the tarball. Its times are SOURCE_DATE_EPOCH, or that of the last commit.
"""

import argparse
import gzip
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from links import address, relink
from versions import ROOT, epoch

SOURCE = ROOT / "packaging" / "collection"
PLUGIN = ROOT / "callback_plugins" / "ansible_notify.py"
LICENSES = ("callback_plugins/COPYING", "LICENSE-MIT", "LICENSE-APACHE")
# As the plugin calls the machine that it runs on
MACHINE = "%s-%s" % (os.uname().sysname.lower(), os.uname().machine)
# For people who configure the plugin; the rest is about the program's source.
PAGES = (
    "ansible-runner.md",
    "coming-from.md",
    "configuration.md",
    "delivery.md",
    "expressions.md",
    "notifiers",
    "protocol.md",
    "recipes.md",
    "run.md",
    "timing.md",
)


def make_tree(place, binary=None, machine=MACHINE):
    """Writes the files of the collection into a new directory."""
    shutil.copytree(SOURCE, place, ignore=shutil.ignore_patterns(".keep", "fragments"))
    (place / "plugins" / "callback").mkdir(parents=True)
    shutil.copy(PLUGIN, place / "plugins" / "callback")
    for name in LICENSES:
        shutil.copy(ROOT / name, place)
    for name in PAGES:
        copy_page(ROOT / "docs" / name, place / "docs" / name)
    if binary:
        program = place / "bin" / machine / "ansible-notify"
        program.parent.mkdir(parents=True)
        shutil.copy(binary, program)
        program.chmod(0o755)


def copy_page(source, target):
    """Copies a page, or a folder of them, with absolute links to everything that is left out."""
    if source.is_dir():
        for page in sorted(source.iterdir()):
            copy_page(page, target / page.name)
        return

    def place(linked):
        kept = any(linked.is_relative_to(ROOT / "docs" / name) for name in PAGES)
        return None if kept else address(linked)

    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(relink(source, place), encoding="utf-8")


def neutral(member):
    """Removes owner and time of the machine from a member of a tarball."""
    member.mtime, member.uid, member.gid, member.uname, member.gname = epoch(), 0, 0, "", ""
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644


def repack(tarball):
    """Returns the tarball without anything of the machine and the time that it was built on."""
    packed = io.BytesIO()
    with (
        tarfile.open(tarball) as old,
        gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=epoch()) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as new,
    ):
        # ansible-galaxy wants its two lists first.
        lists = ("MANIFEST.json", "FILES.json")
        for member in sorted(old, key=lambda member: (member.name not in lists, member.name)):
            neutral(member)
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    return packed.getvalue()


def build(galaxy, directory, binary=None, machine=MACHINE):
    """Builds the tarball into the directory, and returns its path."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "ansible_notify" / "notify"
        make_tree(tree, binary, machine)
        command = [galaxy, "collection", "build", "--output-path", scratch, tree]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        [built] = Path(scratch).glob("*.tar.gz")
        content = repack(built)
    name = built.name
    if binary:
        name = "%s-%s.tar.gz" % (name[: -len(".tar.gz")], machine)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(content)
    return directory / name


def main():
    parser = argparse.ArgumentParser(description="Build the Ansible collection.")
    parser.add_argument("galaxy", help="ansible-galaxy")
    parser.add_argument("directory", type=Path, help="where the tarball goes")
    parser.add_argument("--binary", type=Path, help="program to put into the collection")
    arguments = parser.parse_args()
    print(build(arguments.galaxy, arguments.directory, arguments.binary))


if __name__ == "__main__":
    main()
