#!/usr/bin/env python3
"""Builds the packages for Debian and RPM systems: the same bytes from the same files.

    python3 packaging/packages.py NFPM BINARY DIRECTORY

BINARY must run here: it writes its manual pages and completions. Prints the paths of the packages.
"""

import argparse
import datetime
import gzip
import os
import re
import string
import subprocess
import tempfile
from pathlib import Path

from versions import ROOT, epoch, manifest

FORMATS = ("deb", "rpm")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
MACHINE = os.uname().machine
NAME = "ansible-notify"
MAINTAINER = "The ansible-notify contributors <ansible-notify@users.noreply.github.com>"
DEBIAN = """%s (%s-1) unstable; urgency=medium

  * Release %s; see changelog.gz.

 -- %s  %s
"""
RELEASE = re.compile(r"^## \[?(\d+\.\d+\.\d+)\]? - (\d{4}-\d{2}-\d{2})$", re.MULTILINE)


def glibc_of(binary):
    """The lowest version of glibc with all symbols of the program; None if that is static."""
    read = ["readelf", "--version-info", "--wide", binary]
    said = subprocess.run(read, capture_output=True, text=True, check=True).stdout
    needed = {tuple(map(int, found.split("."))) for found in re.findall(r"GLIBC_([\d.]+)", said)}
    return max(needed, default=None)


def compress(path):
    """Replaces a file by its compressed form, as Debian wants it."""
    Path("%s.gz" % path).write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
    path.unlink()


def debian_changelog():
    """The releases of CHANGELOG.md in Debian's form."""
    entries = []
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for version, date in RELEASE.findall(text):
        day = datetime.date.fromisoformat(date).strftime("%a, %d %b %Y 00:00:00 +0000")
        entries.append(DEBIAN % (NAME, version, version, MAINTAINER, day))
    return "\n".join(entries)


def stage(binary, place):
    """Installs the program below the directory, and adds what only packages have."""
    made = place / "made"
    for target in ("completions", "install"):
        variables = ["BINARY=%s" % binary, "COMPLETIONS=%s" % made, "DESTDIR=%s" % place]
        command = ["make", "--silent", "-C", ROOT, target, "PREFIX=/usr", *variables]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for page in place.glob("usr/share/man/man*/*"):
        compress(page)
    (place / "changelog").write_bytes((ROOT / "CHANGELOG.md").read_bytes())
    (place / "changelog.Debian").write_text(debian_changelog(), encoding="utf-8")
    compress(place / "changelog")
    compress(place / "changelog.Debian")


def build(nfpm, binary, directory, machine=MACHINE, native=None):
    """Builds all packages into the directory, and returns their paths.

    For another machine, `native` is the program for this one.
    """
    directory.mkdir(parents=True, exist_ok=True)
    when = epoch()
    time = datetime.datetime.fromtimestamp(when, datetime.timezone.utc)
    paths = []
    with tempfile.TemporaryDirectory() as scratch:
        stage((native or binary).resolve(), Path(scratch))
        variables = {
            "STAGE": scratch,
            "PROGRAM": str(binary.resolve()),
            "VERSION": manifest("version"),
            "HOMEPAGE": manifest("homepage"),
            "GLIBC": ".".join(map(str, glibc_of(binary))),
            "ARCH": ARCHITECTURES[machine],
            "MTIME": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        template = string.Template((ROOT / "packaging/nfpm.yaml").read_text(encoding="utf-8"))
        config = Path(scratch) / "nfpm.yaml"
        config.write_text(template.substitute(variables), encoding="utf-8")
        for packager in FORMATS:
            command = [nfpm, "package", "--config", config, "--packager", packager]
            made = subprocess.run(
                [*command, "--target", directory.resolve()],
                cwd=ROOT,
                env=dict(os.environ, SOURCE_DATE_EPOCH=str(when)),
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode:
                raise SystemExit(made.stdout + made.stderr)
            [path] = re.findall("created package: (.*)", made.stdout)
            paths.append(Path(path))
    return paths


def main():
    parser = argparse.ArgumentParser(description="Build deb and rpm.")
    parser.add_argument("nfpm")
    parser.add_argument("binary", type=Path)
    parser.add_argument("directory", type=Path, help="where the packages go")
    arguments = parser.parse_args()
    for path in build(arguments.nfpm, arguments.binary, arguments.directory):
        print(path)


if __name__ == "__main__":
    main()
