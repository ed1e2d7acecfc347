"""The power is cut at random: what is left is what was synced, as tests/disk/disk.c keeps it.

Everything is killed at once, the spool is replaced by the copies that were made when its files were
synced, and its log may end in half of a write. Then all that was answered as safe must be there.
"""

import random
import shutil
import subprocess
from pathlib import Path

from scene import Scene

SOURCE = Path(__file__).resolve().parents[1] / "disk" / "disk.c"


def run(binary, directory, seed, cuts):
    scene = Scene(binary, directory, seed)
    library, platter = scene.directory / "disk.so", scene.directory / "platter"
    compiler = ["cc", "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"]
    subprocess.run(compiler, check=True)
    platter.mkdir()
    scene.environment.update(
        LD_PRELOAD=str(library), DISK_FOLDER=str(scene.state), DISK_PLATTER=str(platter)
    )
    wrong = []
    for cut in range(cuts):
        write_until_cut(scene, cut)
        restore(scene, platter)
        scene.endpoint.faults = True
        wrong += scene.deliver_all() + scene.wrong_arrivals() + scene.wrong_numbers()
        if wrong:
            break
    last, repeated = scene.finish()
    figures = (cuts, len(scene.sent), len(scene.safe), repeated)
    return wrong + last, "%d power cuts, %d events sent, %d safe, %d came twice" % figures


def write_until_cut(scene, cut):
    """Two writers beside a `flush --watch`, until the power is cut."""
    seconds = scene.generator.uniform(0.02, 0.3)
    scene.write_beside_flush([("p%d-%d" % (cut, writer), 300, seconds) for writer in range(2)])


def restore(scene, platter):
    """The machine starts again with what was synced."""
    shutil.rmtree(scene.state, ignore_errors=True)
    scene.state.mkdir(mode=0o700, parents=True)
    for file in platter.iterdir():
        # What begins with a dot was not copied to its end; the shared memory is not on a disk.
        if not file.name.startswith(".") and not file.name.endswith("-shm"):
            shutil.copy2(file, scene.state / file.name)
    log = scene.state / "spool.db-wal"
    if log.exists() and scene.generator.random() < 0.5:
        with log.open("ab") as end:
            end.write(random.Random(scene.generator.random()).randbytes(3000))
