"""Sixteen playbooks at once on one spool, one after the other each: no lock fails, and how long the
slowest event waited until it was safe."""

import json
import subprocess
import threading
import time

from scene import Scene

WRITERS = 16
EVENTS = 20
# A playbook makes no more than so many events a second.
PACE = 1 / 200


def run(binary, directory, seed, starts):
    scene = Scene(binary, directory, seed, faults=False, drain="30s")
    waits, said, lock = [], set(), threading.Lock()

    def play(writer):
        for number in range(starts // WRITERS):
            name = "c%d-%d" % (writer, number)
            with lock:
                lines = scene.records(name, EVENTS)
            answers, latencies, stderr = stream(scene, lines)
            with lock:
                scene.note(name, answers)
                waits.extend(latencies)
                lines = stderr.splitlines()
                said.update(line for line in lines if " dead" in line or " deliver" not in line)

    threads = [threading.Thread(target=play, args=(writer,)) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wrong, repeated = scene.finish()
    wrong += sorted(said)
    if len(scene.safe) != len(scene.sent):
        wrong.append("only %d of %d events are safe" % (len(scene.safe), len(scene.sent)))
    if repeated:
        wrong.append("%d came twice" % repeated)
    waits.sort()
    middle, late, worst = (waits[int(len(waits) * part)] for part in (0.5, 0.99, 0.999999))
    figures = (starts, WRITERS, len(scene.sent), middle * 1e3, late * 1e3, worst * 1e3)
    text = (
        "%d starts, %d at once, %d events; safe after %.1f ms (p50), %.1f ms (p99), %.1f ms (worst)"
    )
    return wrong, text % figures


def stream(scene, lines):
    """Feeds one `stream` as a playbook does. Its answers, how long events waited, what it said."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = scene.start("stream", **pipes)
    written, latencies, answers = {}, [], []

    def listen():
        safe = 0
        for line in process.stdout:
            now = time.monotonic()
            answers.append(line)
            last = json.loads(line).get("safe", safe)
            latencies.extend(
                now - written[seq] for seq in range(safe + 1, last + 1) if seq in written
            )
            safe = last

    listener = threading.Thread(target=listen)
    listener.start()
    process.stdin.write((lines[0] + "\n").encode())
    for seq, line in enumerate(lines[1:], 1):
        written[seq] = time.monotonic()
        process.stdin.write((line + "\n").encode())
        process.stdin.flush()
        time.sleep(PACE)
    process.stdin.write(b'{"end":{}}\n')
    process.stdin.close()
    listener.join()
    stderr = process.stderr.read().decode()
    process.wait()
    return b"".join(answers), latencies, stderr
