"""Damage at random places of the spool and its log, one after the other.

Each time the next processes end soon, and every event that was answered for arrives, is dead with a
reason, or is said to be lost.
"""

import json
import re
import shutil
import subprocess

from scene import Scene

EVENTS = 120
# What one command may take; nothing here has to be waited for.
SECONDS = 30
SAID = re.compile(
    r"pending deliveries were recovered(?:; (\d+|at least|it is unknown|the damaged part))?"
)


def run(binary, directory, seed, damages):
    scene = Scene(binary, directory, seed, faults=False, drain="0")
    wrong, said, lost = [], 0, 0
    pristine = prepare(scene)
    for number in range(damages):
        shutil.rmtree(scene.state)
        shutil.copytree(pristine, scene.state)
        what = damage(scene)
        found, is_said, is_lost = survive(scene)
        wrong += ["damage %d, %s: %s" % (number, what, text) for text in found]
        said, lost = said + is_said, lost + is_lost
        if len(wrong) > 20:
            break
    figures = (damages, said, lost, EVENTS)
    text = "%d damages, %d said, %d deliveries lost with a word, of %d each"
    return wrong, text % figures


def prepare(scene):
    """A spool as a killed process leaves it: half of what waits is in the file, half in its log."""
    url = scene.config.read_text()
    scene.config.write_text(re.sub(r"127.0.0.1:\d+", "127.0.0.1:9", url))
    for name, ends in (("f", True), ("l", False)):
        process = scene.start("stream", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        lines = scene.records(name, EVENTS // 2)
        process.stdin.write(("\n".join(lines) + "\n").encode())
        process.stdin.flush()
        if ends:
            process.stdin.close()
            process.stdout.read()
        else:
            while '{"safe":%d}' % (EVENTS // 2) not in process.stdout.readline().decode():
                pass
            process.kill()
        process.wait()
    scene.config.write_text(url)
    pristine = scene.directory / "pristine"
    shutil.copytree(scene.state, pristine)
    return pristine


def damage(scene):
    """Changes one file at a random place. What was done."""
    choose = scene.generator
    path = scene.state / choose.choice(["spool.db", "spool.db-wal"])
    content = bytearray(path.read_bytes())
    start = choose.randrange(len(content))
    kind = choose.choice(["bit", "byte", "zeros", "random", "cut", "moved"])
    length = min(choose.choice([16, 512, 4096]), len(content) - start)
    if kind == "bit":
        content[start] ^= 1 << choose.randrange(8)
    elif kind == "byte":
        content[start] = choose.randrange(256)
    elif kind == "zeros":
        content[start : start + length] = bytes(length)
    elif kind == "random":
        content[start : start + length] = choose.randbytes(length)
    elif kind == "cut":
        del content[start:]
    else:
        other = choose.randrange(len(content) - length + 1)
        content[start : start + length] = content[other : other + length]
    path.write_bytes(content)
    return "%s of %d bytes at %d of %s" % (kind, length, start, path.name)


def survive(scene):
    """What is wrong after a damage, whether it was said, and how much was said to be lost."""
    scene.endpoint.arrived.clear()
    wrong, heard = [], ""
    for arguments in (["status"], ["flush"], ["flush"], ["history"], ["status", "--json"]):
        ended, output, errors = command(scene, *arguments)
        heard += errors
        if ended is None:
            return ["%s hangs" % arguments[0]], False, 0
        if ended < 0 or "panicked" in errors:
            wrong.append("%s ended with %d: %s" % (arguments[0], ended, errors))
    said = SAID.search(heard)
    words = ("damaged", "counts", "cannot be read")
    is_said = any(word in heard for word in words)
    texts = {body["text"] for _, body in scene.endpoint.arrived}
    missing = EVENTS - len(texts & set(scene.sent.values()))
    rows = json.loads(output or "[]")
    dead = sum(row["dead"] for row in rows)
    left = sum(row["waiting"] for row in rows)
    gone = missing - dead - left
    number = said and said[1] or ""
    told = int(number) if number.isdigit() else 0
    unknown = bool(number) and not told
    # A text that is another one now has arrived all the same.
    changed = len(scene.endpoint.arrived) - (EVENTS - missing)
    if gone - changed > told and not unknown:
        wrong.append("%d are lost, %d said: %s" % (gone - changed, told, heard))
    if left and ": skipping " not in heard:
        wrong.append("%d wait for ever: %s" % (left, heard))
    return wrong, is_said, max(told, 0)


def command(scene, *arguments):
    process = scene.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        output, errors = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None, "", ""
    return process.returncode, output.decode(errors="replace"), errors.decode(errors="replace")
