#!/usr/bin/env python3
"""Makes all files of a release from its wheels, one for each system, whose programs are in them.

    python3 packaging/dist.py ANSIBLE_GALAXY NFPM DIRECTORY

The directory has the wheels. Fails if a program needs a newer glibc than its wheel says, or has a
path of this machine in it.
"""

import argparse
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import collection
import packages
from versions import ROOT, epoch, manifest
from wheels import Wheel

DOCUMENTS = ("README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE")
SUMS = "SHA256SUMS"


def check(wheel, program):
    """Fails if the program is not what the name of the wheel says, or not for everyone."""
    needed = packages.glibc_of(program)
    if wheel.is_static and needed:
        raise SystemExit("%s: the program is not static" % wheel.path.name)
    if wheel.glibc and needed > wheel.glibc:
        raise SystemExit("%s: the program needs glibc %d.%d" % (wheel.path.name, *needed[:2]))
    content = program.read_bytes()
    for place in (ROOT, Path.home(), os.environ.get("CARGO_HOME", ROOT)):
        if str(place).encode() + b"/" in content:
            raise SystemExit("%s: the program has the path %s in it" % (wheel.path.name, place))


def pack(program, native, target, directory):
    """Writes the tarball with the program, its manual pages, completions and licences."""
    name = "ansible-notify-%s-%s" % (manifest("version"), target)
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / name
        packages.stage(native, Path(scratch) / "stage")
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
    """Makes all files next to the wheels, and returns their sums."""
    wheels = [Wheel(path) for path in sorted(directory.glob("*.whl"))]
    with tempfile.TemporaryDirectory() as scratch:
        programs = {}
        for wheel in wheels:
            bill = wheel.finish()
            programs[wheel] = wheel.unpack(Path(scratch) / wheel.target)
            check(wheel, programs[wheel])
        # Writes the manual pages and completions for all of them
        native = next(programs[wheel] for wheel in wheels if wheel.machine == packages.MACHINE)
        for wheel, program in programs.items():
            pack(program, native, wheel.target, directory)
            if not wheel.is_static:
                packages.build(nfpm, program, directory, wheel.machine, native)
                collection.build(galaxy, directory, program, "linux-%s" % wheel.machine)
    (directory / ("ansible-notify-%s.cdx.json" % manifest("version"))).write_bytes(bill)
    pack_source(directory)
    collection.build(galaxy, directory)
    return sum_up(directory)


def main():
    parser = argparse.ArgumentParser(description="Make the files of a release.")
    parser.add_argument("galaxy", help="ansible-galaxy")
    parser.add_argument("nfpm")
    parser.add_argument("directory", type=Path, help="where the wheels are")
    arguments = parser.parse_args()
    print(build(arguments.galaxy, arguments.nfpm, arguments.directory), end="")


if __name__ == "__main__":
    main()
