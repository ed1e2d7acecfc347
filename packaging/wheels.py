"""The wheels that maturin builds: taken apart, and made the same wherever they are built.

maturin writes the path of the checkout, the time and a random number into the SBOM. The description
gets links that also work on PyPI.
"""

import base64
import datetime
import hashlib
import json
import re
import zipfile

from links import relink
from versions import ROOT, epoch

SBOM = "ansible-notify.cyclonedx.json"
PROGRAM = ".data/scripts/ansible-notify"
# As in PEP 600; maturin adds the older name of the same platform, in front or behind.
PLATFORM = re.compile(r"[-.](many|musl)?linux(?:_(\d+)_(\d+))?_(x86_64|aarch64)\.")


class Wheel:
    """A wheel, and the system that its name says."""

    def __init__(self, path):
        libc, *version, self.machine = PLATFORM.search(path.name).groups()
        self.path = path
        self.is_static = libc == "musl"
        self.glibc = tuple(map(int, version)) if libc == "many" else None
        self.target = "%s-unknown-linux-%s" % (self.machine, "musl" if self.is_static else "gnu")

    def unpack(self, place):
        """Writes the program of the wheel into a new directory, and returns its path."""
        with zipfile.ZipFile(self.path) as archive:
            [name] = [name for name in archive.namelist() if name.endswith(PROGRAM)]
            place.mkdir()
            program = place / "ansible-notify"
            program.write_bytes(archive.read(name))
        program.chmod(0o755)
        return program

    def finish(self):
        """Replaces what is not the same everywhere, and returns the SBOM."""
        with zipfile.ZipFile(self.path) as archive:
            modes = {member.filename: member.external_attr for member in archive.infolist()}
            files = {name: archive.read(name) for name in modes}
        [info] = {name.split("/")[0] for name in files if name.endswith(".dist-info/METADATA")}
        bill, metadata = "%s/sboms/%s" % (info, SBOM), "%s/METADATA" % info
        files[bill] = neutral_sbom(files[bill].decode()).encode()
        files[metadata] = described(files[metadata].decode()).encode()
        files["%s/RECORD" % info] = record(files, "%s/RECORD" % info).encode()
        moment = datetime.datetime.fromtimestamp(epoch(), datetime.timezone.utc)
        with zipfile.ZipFile(self.path, "w") as archive:
            for name, content in files.items():
                member = zipfile.ZipInfo(name, moment.timetuple()[:6])
                member.external_attr = modes[name]
                archive.writestr(member, content, zipfile.ZIP_DEFLATED)
        return files[bill]


def neutral_sbom(text):
    """The SBOM without what differs between two builds."""
    time = datetime.datetime.fromtimestamp(epoch(), datetime.timezone.utc)
    bill = json.loads(text.replace(str(ROOT), "/build"))
    bill.pop("serialNumber", None)
    bill["metadata"]["timestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps(bill, indent=2, ensure_ascii=False) + "\n"


def described(metadata):
    """The metadata with README.md as the description."""
    return "%s\n\n%s" % (metadata.split("\n\n")[0], relink(ROOT / "README.md"))


def record(files, own):
    """The list of the files of a wheel with their sums; it has its own name, without one."""
    lines = []
    for name, content in files.items():
        if name != own:
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            lines.append("%s,sha256=%s,%d\n" % (name, digest.decode(), len(content)))
    return "%s%s,,\n" % ("".join(lines), own)
