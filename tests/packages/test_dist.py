"""The files of a release, made of a wheel with the debug build, and those for other machines."""

import re
import tarfile

import dist
import pytest
import venvs
from conftest import BINARY, VERSION, make_wheel, run

NAMED = ("--output-filename", "Containerfile")
WORKFLOWS = [".github/workflows/ci.yml", ".github/workflows/release.yml", ".gitlab-ci.yml"]


def test_everything_is_made_of_one_wheel(tmp_path, releases):
    sums = [(place / dist.SUMS).read_text() for place in releases]
    assert re.sub(".*[.]whl\n", "", sums[0]) == re.sub(".*[.]whl\n", "", sums[1])
    names = [line.split("  ")[1] for line in sums[0].splitlines()]
    target = "x86_64-unknown-linux-gnu"
    assert names == [
        "ansible-notify-%s-1.x86_64.rpm" % VERSION,
        "ansible-notify-%s-%s.tar.gz" % (VERSION, target),
        "ansible-notify-%s.tar.gz" % VERSION,
        "ansible-notify_%s-1_amd64.deb" % VERSION,
        "ansible_notify-%s-py3-none-linux_x86_64.whl" % VERSION,
        "ansible_notify-notify-%s-linux-x86_64.tar.gz" % VERSION,
        "ansible_notify-notify-%s.tar.gz" % VERSION,
    ]
    place = releases[0]
    run("sha256sum", "--check", "SHA256SUMS", cwd=place)
    with tarfile.open(place / names[1]) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    folder = tmp_path / "unpacked" / ("ansible-notify-%s-%s" % (VERSION, target))
    said = run(folder / "ansible-notify", "--version").stdout
    assert said == "ansible-notify %s\n" % VERSION
    for file in ("share/man/man5/plugin_config.ini.5.gz", "LICENSE-MIT", "README.md"):
        assert (folder / file).is_file(), file
    with tarfile.open(place / names[2]) as archive:
        source = set(archive.getnames())
    folder = "ansible-notify-%s" % VERSION
    assert {"%s/Cargo.lock" % folder, "%s/src/main.rs" % folder} < source
    # `cargo binstall` looks for it there.
    wanted = re.search('^pkg-url = "(.*)"$', (venvs.ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    wanted = wanted.group(1).replace("{ version }", VERSION).replace("{ target }", target)
    assert wanted.split("/")[-1] == names[1]


def test_a_program_for_newer_systems_only_is_refused(tmp_path, binary):
    wheel = make_wheel(tmp_path / "dist", binary.read_bytes(), "manylinux_2_5_x86_64")
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


def test_the_examples_for_ci_are_sound(tools, tmp_path):
    """They are valid YAML, and call commands that exist."""
    text = (venvs.ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in text.split("```yaml\n")[1:]]
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        path = tmp_path / ("%d.yml" % number)
        path.write_text(block)
        run(tools / "python", "-c", "import sys, yaml; yaml.safe_load(open(sys.argv[1]))", path)
        commands = re.findall(r"- (?:run: )?ansible-notify (\w+) ", block)
        assert commands
        for command in commands:
            run(BINARY, command, "--help")
        assert re.search("pip install .*ansible-notify", block)


def test_the_execution_environment_is_sound(tmp_path, tools):
    definition = venvs.ROOT / "examples" / "execution-environment.yml"
    context = tmp_path / "context"
    run(tools / "ansible-builder", "create", "--file", definition, "--context", context, *NAMED)
    assert "ansible_notify.notify" in (context / "_build" / "requirements.yml").read_text()
    assert "ENV ANSIBLE_CALLBACKS_ENABLED" in (context / "Containerfile").read_text()
