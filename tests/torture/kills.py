"""kill -9 at random: three writers at once beside a `flush --watch`, all of them killed."""

import subprocess
import threading

from scene import CONCURRENCY, Scene


def run(binary, directory, seed, kills):
    scene = Scene(binary, directory, seed)
    done = 0
    while done < kills:
        flush = scene.start("flush", "--watch", stdout=subprocess.DEVNULL)
        writers = [
            threading.Thread(
                target=scene.writer,
                args=(
                    "k%d-%d" % (done, writer),
                    scene.generator.randint(1, 400),
                    scene.generator.uniform(0.002, 0.25),
                ),
            )
            for writer in range(3)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        flush.kill()
        flush.wait()
        done += 4
    wrong, repeated = scene.finish()
    if repeated > CONCURRENCY * done:
        wrong.append("%d came twice after %d kills" % (repeated, done))
    figures = (done, len(scene.sent), len(scene.safe), repeated)
    return wrong, "%d kills, %d events sent, %d safe, %d came twice" % figures
