"""The files of a release, made of a wheel with the debug build, and those for other machines."""

import re
import tarfile
import zipfile

import dist
import pytest
import venvs
from conftest import BINARY, TIME, run
from versions import manifest

VERSION = manifest("version")
PROGRAM = "ansible_notify-%s.data/scripts/ansible-notify" % VERSION
WHEEL = "ansible_notify-%s-py3-none-%s.whl"
NAMED = ("--output-filename", "Containerfile")
WORKFLOWS = [".github/workflows/ci.yml", ".github/workflows/release.yml", ".gitlab-ci.yml"]


def make_wheel(directory, content, tag="linux_x86_64"):
    """A wheel with nothing but a program."""
    directory.mkdir()
    wheel = directory / (WHEEL % (VERSION, tag))
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(PROGRAM, content)
    return wheel


@pytest.fixture(scope="session")
def clean(binary):
    """The program as it is without the paths of this machine."""
    content = binary.read_bytes()
    for place in (venvs.ROOT, dist.Path.home()):
        content = content.replace(str(place).encode() + b"/", b"x" * (len(str(place)) + 1))
    return content


def test_everything_is_made_of_one_wheel(tmp_path, tools, clean, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", TIME)
    [newest] = venvs.resolve(["newest"])
    galaxy = venvs.ensure(newest) / "bin" / "ansible-galaxy"
    sums = []
    for place in (tmp_path / "first", tmp_path / "second"):
        make_wheel(place, clean)
        sums.append(dist.build(galaxy, tools / "nfpm", place))
    assert re.sub(".*[.]whl\n", "", sums[0]) == re.sub(".*[.]whl\n", "", sums[1])
    names = [line.split("  ")[1] for line in sums[0].splitlines()]
    target = "x86_64-unknown-linux-gnu"
    assert names == [
        "ansible-notify-%s-1.x86_64.rpm" % VERSION,
        "ansible-notify-%s-%s.tar.gz" % (VERSION, target),
        "ansible-notify_%s-1_amd64.deb" % VERSION,
        "ansible_notify-%s-py3-none-linux_x86_64.whl" % VERSION,
        "ansible_notify-notify-%s-linux-x86_64.tar.gz" % VERSION,
        "ansible_notify-notify-%s.tar.gz" % VERSION,
    ]
    run("sha256sum", "--check", "SHA256SUMS", cwd=place)
    with tarfile.open(place / names[1]) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    folder = tmp_path / "unpacked" / ("ansible-notify-%s-%s" % (VERSION, target))
    said = run(folder / "ansible-notify", "--version").stdout
    assert said == "ansible-notify %s\n" % VERSION
    for file in ("share/man/man5/plugin_config.ini.5.gz", "LICENSE-MIT", "README.md"):
        assert (folder / file).is_file(), file
    # `cargo binstall` looks for it there.
    wanted = re.search('^pkg-url = "(.*)"$', (venvs.ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    wanted = wanted.group(1).replace("{ version }", VERSION).replace("{ target }", target)
    assert wanted.split("/")[-1] == names[1]


def test_a_program_for_newer_systems_only_is_refused(tmp_path, clean):
    wheel = make_wheel(tmp_path / "dist", clean, "manylinux_2_5_x86_64")
    with pytest.raises(SystemExit, match="the program needs glibc 2"):
        dist.check(wheel, dist.unpack(wheel, tmp_path))


def test_a_program_with_paths_of_its_builder_is_refused(tmp_path):
    """The debug build has them."""
    wheel = make_wheel(tmp_path / "dist", BINARY.read_bytes())
    with pytest.raises(SystemExit, match="the program has the path"):
        dist.check(wheel, dist.unpack(wheel, tmp_path))


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_workflows_run_targets_that_exist(tools, workflow):
    """They are valid YAML, and call nothing but what runs here, too."""
    path = venvs.ROOT / workflow
    run(tools / "python", "-c", "import sys, yaml; yaml.safe_load(open(sys.argv[1]))", path)
    makefile = (venvs.ROOT / "Makefile").read_text()
    text = path.read_text()
    called = re.findall(r"\bmake ([a-z-]+)$", text, re.MULTILINE)
    listed = re.search(r"(?:target|TARGET): \[(.*)\]", text)
    called += listed.group(1).split(", ") if listed else []
    assert called
    for target in called:
        assert re.search("^%s:" % target, makefile, re.MULTILINE), target


def test_the_execution_environment_is_sound(tmp_path, tools):
    definition = venvs.ROOT / "examples" / "execution-environment.yml"
    context = tmp_path / "context"
    run(tools / "ansible-builder", "create", "--file", definition, "--context", context, *NAMED)
    assert "ansible_notify.notify" in (context / "_build" / "requirements.yml").read_text()
    assert "ENV ANSIBLE_CALLBACKS_ENABLED" in (context / "Containerfile").read_text()
