"""Thirty processes on one spool that are stopped and go on at random.

None takes longer than it may, and nothing that was accepted is lost.
"""

import signal
import subprocess
import threading
import time

from scene import Scene, feed

PROCESSES = 30
EVENTS = 40
# What a process may take from the time on when nobody is stopped any more.
BOUND = 30


def run(binary, directory, seed, stops):
    scene = Scene(binary, directory, seed, faults=False, drain="1s")
    done, wrong, rounds = 0, [], 0
    while done < stops and not wrong:
        done += one_round(scene, rounds, min(stops - done, 200), wrong)
        rounds += 1
    last, repeated = scene.finish()
    figures = (done, PROCESSES, rounds, len(scene.sent), len(scene.safe), repeated)
    text = "%d stops of %d processes in %d rounds, %d events sent, %d safe, %d came twice"
    return wrong + last, text % figures


def one_round(scene, number, stops, wrong):
    """Thirty processes at once; how often one of them was stopped."""
    processes, lock = [], threading.Lock()

    def write(index):
        name = "s%d-%d" % (number, index)
        with lock:
            lines = scene.records(name, EVENTS, most=200)
            process = scene.start("stream", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            processes.append(process)
        feed(process.stdin, [*lines, '{"end":{}}'])
        answers = process.stdout.read()
        with lock:
            scene.note(name, answers)
        # It closes its output a moment before it ends.
        process.wait()

    def ask(arguments):
        with lock:
            process = scene.start(*arguments, stdout=subprocess.DEVNULL)
            processes.append(process)
        process.wait()

    others = [["flush"], ["status"], ["history"], ["flush", "--due"], ["discard", "1000000000"]]
    threads = [threading.Thread(target=write, args=(index,)) for index in range(PROCESSES - 10)]
    threads += [threading.Thread(target=ask, args=(arguments,)) for arguments in others * 2]
    for thread in threads:
        thread.start()
    stopped = stop_at_random(scene, processes, lock, stops)
    deadline = time.monotonic() + BOUND
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    hanging = [process for process in processes if process.poll() is None]
    for process in hanging:
        wrong.append("%s does not end" % " ".join(map(str, process.args[1:])))
        process.kill()
    return stopped


def stop_at_random(scene, processes, lock, stops):
    """Stops some of the processes for a while, one after the other; they overlap. How often."""
    choose, stopped, sleeping = scene.generator, 0, []
    end = time.monotonic() + 20
    while stopped < stops and time.monotonic() < end:
        with lock:
            running = [process for process in processes if process.poll() is None]
        if not running:
            break
        process = choose.choice(running)
        process.send_signal(signal.SIGSTOP)
        sleeping.append((time.monotonic() + choose.uniform(0.01, 2.5), process))
        stopped += 1
        time.sleep(choose.uniform(0, 0.15))
        now = time.monotonic()
        for _due, process in [pair for pair in sleeping if pair[0] < now]:
            process.send_signal(signal.SIGCONT)
        sleeping = [pair for pair in sleeping if pair[0] >= now]
    for process in processes:
        process.send_signal(signal.SIGCONT)
    return stopped
