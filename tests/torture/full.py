"""A disk of 4 MiB that something else fills and empties.

Deliveries go on, what became of them is recorded, and nothing that was answered for is lost.
"""

import os
import subprocess

from scene import Scene, feed

SIZE = 4 << 20
EVENTS = 300


def run(binary, directory, seed, rounds):
    if os.geteuid() != 0:
        return [], "left out: to mount a disk of 4 MiB needs root"
    disk = directory / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=%d,mode=700" % SIZE, "spool", str(disk)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode != 0:
        return [], "left out: a disk of 4 MiB cannot be mounted here"
    try:
        return torture(binary, directory, disk, seed, rounds)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def torture(binary, directory, disk, seed, rounds):
    scene = Scene(binary, directory / "home", seed, faults=False, drain="500ms")
    scene.state.parent.mkdir(parents=True)
    scene.state.symlink_to(disk)
    scene.environment["XDG_STATE_HOME"] = str(disk)
    scene.state = disk / "ansible-notify"
    wrong, repeated = [], 0
    for number in range(rounds):
        accept(scene, number)
        fill(disk, scene.generator.choice([0, 1, 4096, 65536, 1 << 20]))
        before = len(scene.endpoint.arrived)
        for _ in range(3):
            scene.start("flush", stdout=subprocess.DEVNULL).wait(60)
        came = [event for event, _ in scene.endpoint.arrived[before:]]
        if len(came) != len(set(came)):
            repeated += len(came) - len(set(came))
            wrong.append("round %d: %d came twice on a full disk" % (number, repeated))
        (disk / "other").unlink()
        wrong += scene.deliver_all(60) + scene.wrong_arrivals() + scene.wrong_numbers()
        if wrong:
            break
    last, _ = scene.finish()
    figures = (rounds, len(scene.sent), len(scene.safe), len(scene.endpoint.arrived))
    text = "%d times a full disk, %d events sent, %d safe, %d arrived, none twice while it was full"
    return wrong + last, text % figures


def accept(scene, number):
    """Events that wait, while the disk gets full or not."""
    url = scene.config.read_text()
    scene.config.write_text(
        url.replace("callback_url = http://", "callback_url = http://x@127.0.0.1:9/")
    )
    process = scene.start("stream", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    name = "d%d" % number
    # Large ones, and so many that they may not all fit.
    count, most = scene.generator.choice([(EVENTS, 2000), (EVENTS, 20000), (30, 200)])
    feed(process.stdin, [*scene.records(name, count, most=most), '{"end":{}}'])
    scene.note(name, process.stdout.read())
    process.wait(60)
    scene.config.write_text(url)


def fill(disk, left):
    """Lets another program take all but some bytes of the disk."""
    with (disk / "other").open("wb", buffering=0) as other:
        try:
            while True:
                other.write(bytes(4096))
        except OSError:
            pass
        size = other.tell()
        other.truncate(max(0, size - left))
