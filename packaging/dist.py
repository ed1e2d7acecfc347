#!/usr/bin/env python3
"""Makes all files of a release from its wheel, whose program is in each of them.

    python3 packaging/dist.py ANSIBLE_GALAXY NFPM DIRECTORY

The directory has the wheel. Fails if the program needs a newer glibc than the wheel says, or has a
path of this machine in it.
"""

import argparse
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

import collection
import packages
from versions import ROOT, epoch, manifest

DOCUMENTS = ("README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE")
SUMS = "SHA256SUMS"


def unpack(wheel, place):
    """Takes the program out of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [
            name for name in archive.namelist() if name.endswith(".data/scripts/ansible-notify")
        ]
        program = place / "ansible-notify"
        program.write_bytes(archive.read(name))
    program.chmod(0o755)
    return program


def check(wheel, program):
    """Fails if the program is not what the name of the wheel says, or not for everyone."""
    said = re.search(r"manylinux_(\d+)_(\d+)", wheel.name)
    needed = tuple(map(int, packages.glibc_of(program).split(".")))
    if said and needed > tuple(map(int, said.groups())):
        raise SystemExit("%s: the program needs glibc %d.%d" % (wheel.name, *needed[:2]))
    content = program.read_bytes()
    for place in (ROOT, Path.home()):
        if str(place).encode() + b"/" in content:
            raise SystemExit("%s: the program has the path %s in it" % (wheel.name, place))


def pack(program, directory):
    """Writes the tarball with the program, its manual pages, completions and licences."""
    target = "%s-unknown-linux-gnu" % os.uname().machine
    name = "ansible-notify-%s-%s" % (manifest("version"), target)
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / name
        packages.stage(program, Path(scratch) / "stage")
        shutil.copytree(Path(scratch) / "stage" / "usr" / "share", tree / "share")
        shutil.copy(program, tree)
        for document in DOCUMENTS:
            shutil.copy(ROOT / document, tree)
        shutil.copy(ROOT / "callback_plugins" / "COPYING", tree / "share" / "ansible-notify")
        with (
            gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=epoch()) as stream,
            tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive,
        ):
            for path in [tree, *sorted(tree.rglob("*"))]:
                member = archive.gettarinfo(path, str(path.relative_to(scratch)))
                collection.neutral(member)
                with open(path, "rb") if member.isfile() else io.BytesIO() as content:
                    archive.addfile(member, content if member.isfile() else None)
    tarball = directory / ("%s.tar.gz" % name)
    tarball.write_bytes(packed.getvalue())


def pack_source(directory):
    """Writes the tarball with the files of the commit that is checked out."""
    name = "ansible-notify-%s" % manifest("version")
    archive = ["git", "-C", ROOT, "archive", "--format=tar", "--prefix=%s/" % name, "HEAD"]
    made = subprocess.run(archive, capture_output=True, check=False)
    if made.returncode:
        raise SystemExit(made.stderr.decode())
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=epoch()) as stream:
        stream.write(made.stdout)
    (directory / ("%s.tar.gz" % name)).write_bytes(packed.getvalue())


def sum_up(directory):
    """Writes the sums of all files."""
    files = sorted(path for path in directory.iterdir() if path.name != SUMS)
    sums = [(hashlib.sha256(path.read_bytes()).hexdigest(), path.name) for path in files]
    text = "".join("%s  %s\n" % entry for entry in sums)
    (directory / SUMS).write_text(text, encoding="ascii")
    return text


def build(galaxy, nfpm, directory):
    """Makes all files next to the wheel, and returns their sums."""
    [wheel] = directory.glob("*.whl")
    with tempfile.TemporaryDirectory() as scratch:
        program = unpack(wheel, Path(scratch))
        check(wheel, program)
        pack(program, directory)
        pack_source(directory)
        packages.build(nfpm, program, directory)
        collection.build(galaxy, directory)
        collection.build(galaxy, directory, program)
    return sum_up(directory)


def main():
    parser = argparse.ArgumentParser(description="Make the files of a release.")
    parser.add_argument("galaxy", help="ansible-galaxy")
    parser.add_argument("nfpm")
    parser.add_argument("directory", type=Path, help="where the wheel is")
    arguments = parser.parse_args()
    print(build(arguments.galaxy, arguments.nfpm, arguments.directory), end="")


if __name__ == "__main__":
    main()
