"""kill -9 at random: three writers at once beside a `flush --watch`, all of them killed."""

from scene import CONCURRENCY, Scene


def run(binary, directory, seed, kills):
    scene = Scene(binary, directory, seed)
    done = 0
    while done < kills:
        writers = [
            (
                "k%d-%d" % (done, writer),
                scene.generator.randint(1, 400),
                scene.generator.uniform(0.002, 0.25),
            )
            for writer in range(3)
        ]
        scene.write_beside_flush(writers)
        done += 4
    wrong, repeated = scene.finish()
    if repeated > CONCURRENCY * done:
        wrong.append("%d came twice after %d kills" % (repeated, done))
    figures = (done, len(scene.sent), len(scene.safe), repeated)
    return wrong, "%d kills, %d events sent, %d safe, %d came twice" % figures
