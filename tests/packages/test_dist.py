"""The files of a release, made of a wheel with the debug build, and those for other machines."""

import base64
import hashlib
import json
import re
import tarfile
import zipfile

import dist
import pytest
import venvs
import wheels
from conftest import BINARY, INFO, VERSION, make_wheel, program_for_arm, run
from versions import manifest

NAMED = ("--output-filename", "Containerfile")
WORKFLOWS = [".github/workflows/ci.yml", ".github/workflows/release.yml", ".gitlab-ci.yml"]


def test_everything_is_made_of_the_wheels(releases):
    first, second = [(place / dist.SUMS).read_text() for place in releases]
    assert first == second
    names = [line.split("  ")[1] for line in first.splitlines()]
    assert names == [
        "ansible-notify-%s-1.aarch64.rpm" % VERSION,
        "ansible-notify-%s-1.x86_64.rpm" % VERSION,
        "ansible-notify-%s-aarch64-unknown-linux-gnu.tar.gz" % VERSION,
        "ansible-notify-%s-x86_64-unknown-linux-gnu.tar.gz" % VERSION,
        "ansible-notify-%s.cdx.json" % VERSION,
        "ansible-notify-%s.tar.gz" % VERSION,
        "ansible-notify_%s-1_amd64.deb" % VERSION,
        "ansible-notify_%s-1_arm64.deb" % VERSION,
        "ansible_notify-%s-py3-none-linux_aarch64.whl" % VERSION,
        "ansible_notify-%s-py3-none-linux_x86_64.whl" % VERSION,
        "ansible_notify-notify-%s-linux-aarch64.tar.gz" % VERSION,
        "ansible_notify-notify-%s-linux-x86_64.tar.gz" % VERSION,
        "ansible_notify-notify-%s.tar.gz" % VERSION,
    ]
    run("sha256sum", "--check", "SHA256SUMS", cwd=releases[0])


def test_tarballs_have_the_program_or_its_source(tmp_path, release):
    name = "ansible-notify-%s-x86_64-unknown-linux-gnu" % VERSION
    with tarfile.open(release(name + ".tar.gz")) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / name
    said = run(folder / "ansible-notify", "--version").stdout
    assert said == "ansible-notify %s\n" % VERSION
    for file in ("share/man/man5/plugin_config.ini.5.gz", "LICENSE-MIT", "README.md"):
        assert (folder / file).is_file(), file
    with tarfile.open(release("ansible-notify-%s.tar.gz" % VERSION)) as archive:
        source = set(archive.getnames())
    folder = "ansible-notify-%s" % VERSION
    assert {"%s/Cargo.lock" % folder, "%s/src/main.rs" % folder} < source
    # `cargo binstall` looks for it there.
    target = "x86_64-unknown-linux-gnu"
    wanted = re.search('^pkg-url = "(.*)"$', (venvs.ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    wanted = wanted.group(1).replace("{ version }", VERSION).replace("{ target }", target)
    assert wanted.split("/")[-1] == name + ".tar.gz"


def test_programs_are_for_the_machine_that_the_name_says(tmp_path, release):
    content = program_for_arm()
    deb = release("*_arm64.deb")
    run("dpkg-deb", "--extract", deb, tmp_path)
    assert (tmp_path / "usr/bin/ansible-notify").read_bytes() == content
    assert run("dpkg-deb", "--field", deb, "Architecture").stdout == "arm64\n"
    query = ["rpm", "--query", "--package", "--queryformat", "%{ARCH}"]
    assert run(*query, release("*.aarch64.rpm")).stdout == "aarch64"
    for pattern, member in (
        ("ansible-notify-*-aarch64-unknown-linux-gnu.tar.gz", "%s/ansible-notify"),
        ("ansible_notify-notify-*-linux-aarch64.tar.gz", "bin/linux-aarch64/ansible-notify"),
    ):
        path = release(pattern)
        with tarfile.open(path) as archive:
            packed = archive.extractfile(member.replace("%s", path.name[: -len(".tar.gz")]))
            assert packed.read() == content, pattern


def test_the_wheel_reads_well_on_pypi(release, tools):
    """Links and pictures of its description have addresses of files that exist."""
    wheel = release("*x86_64.whl")
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(INFO + "/METADATA").decode().split("\n\n", 1)[1]
    found = re.findall(r"(!?)\[[^]]*\]\(([^)]+)\)", text)
    own = "%s/" % manifest("repository")
    assert {mark for mark, _ in found} == {"", "!"}
    for mark, link in found:
        assert link.startswith("https://"), link
        if link.startswith(own):
            kind, branch, path = link[len(own) :].split("#")[0].split("/", 2)
            assert (kind, branch) == ("raw" if mark else "blob", "main"), link
            assert (venvs.ROOT / path).is_file(), link
    run(tools / "twine", "check", "--strict", wheel)


def test_the_wheel_has_sums_and_an_sbom_without_this_machine(release):
    with zipfile.ZipFile(release("*x86_64.whl")) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    bill = files["%s/sboms/%s" % (INFO, wheels.SBOM)]
    assert bill == release("*.cdx.json").read_bytes()
    assert json.loads(bill) == {
        "metadata": {
            "timestamp": "2025-11-28T00:00:00Z",
            "component": {"bom-ref": "path+file:///build#ansible-notify@%s" % VERSION},
        }
    }
    record = files.pop(INFO + "/RECORD").decode().splitlines()
    assert record.pop() == INFO + "/RECORD,,"
    for line in record:
        name, digest, size = line.split(",")
        content = files.pop(name)
        assert size == str(len(content))
        sum_of = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()
        assert digest == "sha256=" + sum_of.rstrip("=")
    assert not files


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("manylinux_2_5_x86_64.manylinux1_x86_64", "the program needs glibc 2"),
        ("musllinux_1_2_x86_64", "the program is not static"),
    ],
)
def test_a_program_for_fewer_systems_is_refused(tmp_path, binary, tag, reason):
    wheel = make_wheel(tmp_path / "dist", binary.read_bytes(), tag)
    with pytest.raises(SystemExit, match=reason):
        dist.check(wheel, wheel.unpack(tmp_path / "unpacked"))


def test_a_program_with_paths_of_its_builder_is_refused(tmp_path):
    """The debug build has them."""
    wheel = make_wheel(tmp_path / "dist", BINARY.read_bytes())
    with pytest.raises(SystemExit, match="the program has the path"):
        dist.check(wheel, wheel.unpack(tmp_path / "unpacked"))


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


@pytest.mark.parametrize(
    ("tags", "target", "glibc"),
    [
        ("manylinux_2_17_x86_64.manylinux2014_x86_64", "x86_64-unknown-linux-gnu", (2, 17)),
        ("manylinux2014_aarch64.manylinux_2_17_aarch64", "aarch64-unknown-linux-gnu", (2, 17)),
        ("musllinux_1_2_x86_64", "x86_64-unknown-linux-musl", None),
        ("linux_x86_64", "x86_64-unknown-linux-gnu", None),
    ],
)
def test_a_wheel_is_known_by_its_name(tmp_path, tags, target, glibc):
    wheel = wheels.Wheel(tmp_path / ("ansible_notify-0.1.0-py3-none-%s.whl" % tags))
    assert (wheel.target, wheel.glibc) == (target, glibc)
