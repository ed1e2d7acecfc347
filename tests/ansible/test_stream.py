"""The `Stream` of both plugins under the same tests, driven by driver.py; peer.py is the binary."""

import ast
import os
import pathlib
import signal
import time

import pytest
from conftest import Outcome, wait_for
from waiting import PATIENCE

pytestmark = pytest.mark.newest

HERE = pathlib.Path(__file__).parent
SOURCES = ("callback_plugins/ansible_notify.py", "python/ansible_notify/stream.py")
TWENTY = "for _number in range(20): driver.report()"
# Reports until the binary has answered for something, however long it takes.
UNTIL_SAFE = """
import time
driver.report()
while not driver.stream.safe:
    driver.report()
    driver.look()
    time.sleep(0.001)
"""
# Far below the minute for which the binary does not move, however busy the machine is.
BOUND = 40


class Driven:
    """A plugin that reports what a test's code says."""

    def __init__(self, ansible, plugin):
        self.ansible = ansible
        self.plugin = plugin

    def start(self, code, **environment):
        command = ("python", HERE / "driver.py", self.plugin, code)
        return self.ansible.start(*command, **environment)

    def run(self, code, **environment):
        process = self.start(code, **environment)
        outcome = Outcome(process.wait(timeout=PATIENCE), self.ansible.directory)
        assert outcome.rc == 0, outcome.stderr
        assert "Traceback" not in outcome.stderr
        assert "internal error" not in outcome.stderr
        return outcome

    def file(self, content):
        path = self.ansible.directory / "said"
        path.write_bytes(content)
        return str(path)

    def numbers(self):
        """The numbers of the records that arrived; that of the end, which one of them has, too."""
        records = [line.get("event") or line.get("runner") for line in self.ansible.lines()]
        return [record["seq"] for record in records if record]

    def expect(self, count):
        """Everything arrived once, in its order."""
        last = count + (self.plugin == "runner")  # the status that ends the run is a record
        assert self.numbers() == list(range(1, last + 1))


@pytest.fixture(params=["callback", "runner"])
def driven(request, ansible):
    if request.param == "runner" and ansible.is_python2:
        pytest.skip("ansible-runner needs Python 3")
    return Driven(ansible, request.param)


def said(outcome):
    """The warnings in one line: Ansible breaks them where they are too long for the terminal."""
    return " ".join(outcome.stderr.split())


def test_all_arrives_in_order_and_nothing_is_said(driven):
    outcome = driven.run(TWENTY)
    driven.expect(20)
    assert outcome.stderr == ""
    [hello] = outcome.of("hello")
    assert "resumed" not in hello
    assert len(outcome.of("end")) == 1
    assert outcome.of("eof")[0]["ended"] is True


def test_no_more_is_kept_than_is_not_safe(driven):
    # All of it may be safe by then.
    driven.run(
        UNTIL_SAFE + "kept = [entry[0] for entry in driver.stream.unsafe]; "
        "assert kept[:1] in ([], [driver.stream.safe + 1])"
    )
    driven.run(
        UNTIL_SAFE + "size = sum(len(entry[1] if len(entry) == 2 else entry[3])"
        " for entry in driver.stream.unsafe); assert driver.stream.unsafe_size == size"
    )


@pytest.mark.parametrize("deaths", [1, 3])
def test_it_dies(driven, deaths):
    """It is started again, and told again what was not safe."""
    code = TWENTY.replace("20", "60")
    outcome = driven.run(code, PEER_DIE_AFTER="12", PEER_DEATHS=str(deaths))
    assert len(outcome.of("start")) == deaths + 1
    assert set(driven.numbers()) == set(range(1, max(driven.numbers()) + 1))
    assert max(driven.numbers()) >= 60
    first, *later = outcome.of("hello")
    assert "resumed" not in first
    assert all(hello["resumed"]["after"] > 0 for hello in later)
    # Of what was safe nothing is told again.
    for line, following in zip(outcome.lines, outcome.lines[1:]):
        if "resumed" in line.get("hello", {}):
            record = following.get("event") or following.get("runner")
            assert record["seq"] == line["hello"]["resumed"]["after"] + 1
    assert outcome.stderr == ""


@pytest.mark.parametrize(
    "death", [{"PEER_DIE_AFTER": "2", "PEER_DEATHS": "99"}, {"PEER_KILLED": "99"}]
)
def test_it_always_dies(driven, death):
    outcome = driven.run(TWENTY, **death)
    assert len(outcome.of("start")) == 4
    assert said(outcome).count("died 4 times; giving up") == 1


@pytest.mark.parametrize(
    ("binary", "reason"),
    [("/nowhere/binary", "No such file or directory"), ("/etc/passwd", "Permission denied")],
)
def test_it_is_missing(driven, binary, reason):
    """One line, and everything after that costs nothing."""
    code = TWENTY + "\nassert getattr(driver, 'run', None) is None or not driver.stream.unsafe"
    outcome = driven.run(code, ANSIBLE_NOTIFY_BINARY=binary)
    assert said(outcome).count("cannot run %s: %s" % (binary, reason)) == 1
    assert outcome.lines == []


@pytest.mark.parametrize("code", [78, 2, 0])
def test_it_ends_before_it_is_ready(driven, code):
    """With 78 it has said itself what is wrong; else there is one line. It is not started again."""
    outcome = driven.run(TWENTY, PEER_EXIT=str(code))
    assert len(outcome.of("start")) == 1
    assert "the configuration cannot be used" in outcome.stderr
    said_so = said(outcome).count("ended before it was ready (exit code %d)" % code)
    assert said_so == (0 if code == 78 else 1)


def test_it_stops_reading(driven):
    """No report waits; only the end does, for a bounded time."""
    began = time.monotonic()
    code = "for _number in range(100): driver.report(100000)"
    outcome = driven.run(code, PEER_NEVER_READ="1")
    assert time.monotonic() - began < BOUND
    assert said(outcome).count("does not respond; 10") == 1


def test_it_closes_its_pipes_and_stays(driven):
    """It hears nothing more, so another one is told what it did not take."""
    code = "import time\nfor _number in range(30): driver.report(); driver.look(); time.sleep(0.05)"
    outcome = driven.run(code, PEER_DEAF="1")
    assert len(outcome.of("start")) == 2
    driven.expect(30)
    assert outcome.stderr == ""


RUBBISH = [
    b"hello\n",
    b"\xff\xfe\x00\n\n\n",
    b'[]\n1\n"ready"\n"safe"\nnull\n{}\n[["ready"]]\n',
    b'{"safe":null}\n{"safe":[]}\n{"safe":"x"}\n{"safe":1e999}\n{"safe":NaN}\n{"safe":-5}\n',
    b'{"ready":null}\n{"ready":[]}\n{"ready":{"drain":"x"}}\n{"ready":{"drain":[]}}\n',
    b"[" * 200000 + b"\n",
    b'{"safe":' * 50000 + b"\n",
    b"x" * 3000000 + b"\n",
    b'{"later":{"protocol":9}}\n',
]


@pytest.mark.parametrize("rubbish", RUBBISH, ids=range(len(RUBBISH)))
def test_it_writes_rubbish(driven, rubbish):
    """What is no answer is passed over."""
    outcome = driven.run(UNTIL_SAFE, PEER_SAYS=driven.file(rubbish))
    assert len(outcome.of("start")) == 1
    assert driven.numbers() == list(range(1, len(driven.numbers()) + 1))
    assert outcome.stderr == ""


def test_it_writes_without_end(driven):
    """Nobody listens to it forever, nor keeps all that it says."""
    began = time.monotonic()
    code = TWENTY + (
        "\nfor _number in range(100): driver.look()\nassert len(driver.stream.heard) <= 65536"
    )
    outcome = driven.run(code, PEER_FLOODS="1")
    assert time.monotonic() - began < BOUND
    assert "does not respond" in said(outcome)


def test_an_answer_in_pieces(driven):
    """It counts when it is whole, as does the last one before a death."""
    code = """
stream = driver.stream
stream.unsafe.clear()
stream.take_answers(b'{"sa')
assert stream.safe == 0
stream.take_answers(b'fe":3}\\n{"safe":')
assert stream.safe == 3
import os
reading, writing = os.pipe()
os.write(writing, b'5}\\n')
os.close(writing)
stream.stdout = reading
stream.lose()
assert stream.safe == 5
stream.give_up(None)
"""
    driven.run("driver.report()\n" + code, PEER_SILENT="1")


@pytest.mark.parametrize(
    "words",
    [b"x" * 1000000 + b"\n", b"warning\n" * 50000, b"caf\xe9 without an end"],
    ids=["a-long-line", "many-lines", "no-end"],
)
def test_it_writes_much_to_standard_error(driven, words):
    """It is never held up by that: everything arrives, and people read what it says."""
    outcome = driven.run(TWENTY, PEER_WARNS=driven.file(words))
    driven.expect(20)
    assert "does not respond" not in outcome.stderr
    wait_for(lambda: "eof" in driven.ansible.lines()[-1])
    assert len(outcome.stderr) >= min(len(words), 60000)
    if words.endswith(b"without an end"):
        assert "caf\ufffd without an end" in outcome.stderr


def test_the_end_waits_until_all_is_taken(driven):
    """Much of it does not fit into the pipe when the process ends."""
    driven.run("for _number in range(60): driver.report(100000)")
    driven.expect(60)
    assert "end" in driven.ansible.lines()[-2]


def test_it_never_confirms(driven):
    """What it may have taken no further than into memory is not passed over in silence."""
    outcome = driven.run(TWENTY, PEER_NEVER_SAFE="1", PEER_SLOW_EXIT="60")
    count = len(driven.numbers())
    assert "does not respond; %d " % count in said(outcome)


@pytest.mark.parametrize("code", [65, 69, 74, 75])
def test_it_has_taken_everything(driven, code):
    """Whatever became of the deliveries, it is not started again."""
    outcome = driven.run(TWENTY, PEER_LAST_EXIT=str(code), PEER_NEVER_SAFE="1")
    assert len(outcome.of("start")) == 1
    assert outcome.stderr == ""


def test_after_it_is_given_up(driven):
    """Nothing is kept, nothing is started, and nothing is said again."""
    code = """
driver.report()
stream = driver.stream
stream.give_up("enough")
record = (1, None, None, b"line\\n") if hasattr(stream, "known") else (lambda _seq: b"line\\n",)
stream.send(*record)
assert not stream.unsafe and not stream.outbox and stream.starts == 1
assert stream.stdin is None and stream.stdout is None
"""
    outcome = driven.run(code, PEER_SILENT="1")
    assert said(outcome).count("enough") == 1
    assert len(outcome.stderr.splitlines()) == 1


FORK = """
import os, signal, time
driver.report()
child = os.fork()
if child == 0:
    {act}
    open("child", "w").close()
    time.sleep(60)
    os._exit(0)
while not os.path.exists("child"):
    time.sleep(0.01)
open("pid", "w").write(str(child))
driver.report()
"""


def test_a_child_holds_no_pipe(driven):
    """The binary sees the end of its parent, though the child lives on."""
    if driven.ansible.is_python2:
        pytest.skip("before Python 3.7 nothing can close the pipe in workers")
    driven.run(FORK.format(act="pass"))
    child = int((driven.ansible.directory / "pid").read_text())
    try:
        wait_for(lambda: "eof" in driven.ansible.lines()[-1])
        driven.expect(2)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_child_does_not_use_it(driven):
    """Neither with what a child reports, nor with its end, which is not that of the run."""
    outcome = driven.run(
        FORK.format(act="driver.report_in_child(); open('child', 'w'); os._exit(0)")
    )
    driven.expect(2)
    assert len(outcome.of("start")) == len(outcome.of("end")) == 1


def test_a_child_reads_nothing(driven):
    """Another thread may fork before the pipes are ready: a child that read would wait for ever."""
    if driven.ansible.is_python2:
        pytest.skip("before Python 3.7 nothing can close the pipe in workers")
    code = """
import os
driver.report()
ends = [getattr(driver.stream, name, None) for name in ("stdout", "stderr")]
for end in filter(None, ends):
    os.set_blocking(end, True)
child = os.fork()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
for end in filter(None, ends):
    os.set_blocking(end, False)
driver.report()
"""
    driven.run(code)
    driven.expect(2)


def test_an_interrupt_while_it_waits(driven):
    """Ctrl-C ends the wait at the end, without a word."""
    process = driven.start(TWENTY, PEER_NEVER_SAFE="1", PEER_SLOW_EXIT="60")
    wait_for(lambda: any("eof" in line for line in driven.ansible.lines()))
    process.send_signal(signal.SIGINT)
    process.wait(timeout=BOUND)
    outcome = Outcome(process.returncode, driven.ansible.directory)
    assert outcome.stderr == ""
    driven.expect(20)


def test_two_threads(driven):
    """They report in turn; each number is told once, and all arrive."""
    code = """
import threading
turn = threading.Lock()
def act():
    for _number in range(200):
        with turn:
            driver.report()
threads = [threading.Thread(target=act) for _number in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    outcome = driven.run(code)
    driven.expect(400)
    assert outcome.stderr == ""


# What is the same in both, to the letter
SHARED = """
    write flush listen take_answers lose recover give_up close_stdin read close numbers_of
""".split()


def functions(path):
    """The text of each method of `Stream`, and of each function of the file."""
    text = (HERE.parent.parent / path).read_text(encoding="utf-8")
    tree = ast.parse(text)
    [stream] = [node for node in tree.body if getattr(node, "name", None) == "Stream"]
    nodes = [node for node in stream.body + tree.body if isinstance(node, ast.FunctionDef)]
    return {node.name: ast.get_source_segment(text, node) for node in nodes}


def test_the_plugins_share_these_functions():
    """Neither can import the other: a change to one of them belongs into both files."""
    callback, runner = map(functions, SOURCES)
    for name in SHARED:
        assert callback[name] == runner[name], name
