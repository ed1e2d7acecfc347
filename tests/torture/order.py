"""One request in ten is refused: each host's events arrive in order. Else none comes twice."""

import subprocess

from scene import Scene, feed


def run(binary, directory, seed, count):
    wrong = []
    for faults in (True, False):
        place = directory / ("faults" if faults else "none")
        scene = Scene(binary, place, seed, faults, drain="600s")
        process = scene.start("stream", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        lines = scene.records("o", count, hosts=max(10, count // 200), most=20)
        # The answers fit into the pipe; nobody needs them before the end.
        feed(process.stdin, [*lines, '{"end":{}}'])
        scene.note("o", process.stdout.read())
        process.wait()
        last, repeated = scene.finish()
        wrong += last + out_of_order(scene)
        if len(scene.safe) != count + 1:
            wrong.append("only %d are safe" % len(scene.safe))
        if repeated:
            wrong.append("%d came twice" % repeated)
    return wrong, "%d events in order with one request in ten refused, none twice" % count


def out_of_order(scene):
    last, found = {}, []
    for event, body in scene.endpoint.arrived:
        name, _, number = event.rpartition("-")
        if name != "o" or event not in scene.sent:
            continue
        if int(number) <= last.get(body["host"], 0):
            found.append("%s came after %d" % (event, last[body["host"]]))
        last[body["host"]] = int(number)
    return found[:5]
