"""The packages for Debian and RPM systems: what is in them, and installed into an empty root."""

import os

import packages
import pytest
from conftest import TIME, UNITS, run

# The root has no shell, so the script of the package runs outside.
FORCED = (
    "--force-depends",
    "--force-not-root",
    "--force-bad-path",
    "--force-script-chrootless",
    "--no-debsig",
)
VERSION = packages.manifest("version")
CONFIGURATION = "etc/ansible-notify/plugin_config.ini.example"
FILES = {
    "usr/bin/ansible-notify",
    "usr/share/ansible/plugins/callback/ansible_notify.py",
    CONFIGURATION,
    "usr/lib/systemd/user/ansible-notify-flush.service",
    "usr/lib/systemd/user/ansible-notify-flush.timer",
    "usr/lib/systemd/user/ansible-notify-watch.service",
    "usr/lib/systemd/system/ansible-notify-flush@.service",
    "usr/lib/systemd/system/ansible-notify-flush@.timer",
    "usr/lib/systemd/system/ansible-notify-watch@.service",
    "usr/share/man/man1/ansible-notify.1.gz",
    "usr/share/man/man1/ansible-notify-send.1.gz",
    "usr/share/man/man5/plugin_config.ini.5.gz",
    "usr/share/bash-completion/completions/ansible-notify",
    "usr/share/fish/vendor_completions.d/ansible-notify.fish",
}
DEB = FILES | {
    "usr/share/zsh/vendor-completions/_ansible-notify",
    "usr/share/doc/ansible-notify/copyright",
    "usr/share/doc/ansible-notify/changelog.Debian.gz",
}
RPM = FILES | {
    "usr/share/zsh/site-functions/_ansible-notify",
    "usr/share/licenses/ansible-notify/LICENSE-MIT",
    "usr/share/licenses/ansible-notify/LICENSE-APACHE",
    "usr/share/licenses/ansible-notify/COPYING",
}


@pytest.fixture
def older(tools, binary, tmp_path, monkeypatch):
    """The deb of another version."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", TIME)
    known = {"version": "0.0.9", "homepage": packages.manifest("homepage")}
    monkeypatch.setattr(packages, "manifest", known.get)
    monkeypatch.setattr(packages, "FORMATS", ["deb"])
    [deb] = packages.build(tools / "nfpm", binary, tmp_path / "older")
    return deb


@pytest.fixture
def built(release):
    return {"deb": release("*_amd64.deb"), "rpm": release("*.x86_64.rpm")}


@pytest.fixture
def root(tmp_path):
    """An empty root, and dpkg for it."""
    place = tmp_path / "root"
    for folder in ("info", "updates"):
        (place / "var/lib/dpkg" / folder).mkdir(parents=True)
    (place / "var/lib/dpkg/status").touch()
    (place / "var/lib/dpkg/available").touch()
    return place


def dpkg(root, *arguments):
    log = root / "dpkg.log"
    return run("dpkg", "--root", root, "--log", log, *FORCED, *arguments).stdout


def files(root):
    """Everything in the root but dpkg's own records."""
    found = (path.relative_to(root) for path in root.rglob("*") if not path.is_dir())
    return {str(path) for path in found if "dpkg" not in str(path)}


def test_deb_is_installed_upgraded_removed_and_purged(root, older, built):
    dpkg(root, "--install", older)
    assert files(root) >= DEB
    version = run(root / "usr/bin/ansible-notify", "--version").stdout
    assert version == "ansible-notify %s\n" % VERSION
    # What an administrator wrote stays, through an upgrade and a removal.
    changed = root / CONFIGURATION
    changed.write_text("mine")
    own = root / "etc/ansible-notify/plugin_config.ini"
    own.write_text("[inputs]\n")
    dpkg(root, "--force-confold", "--install", built["deb"])
    assert changed.read_text() == "mine"
    query = ["dpkg-query", "--admindir", root / "var/lib/dpkg", "--show", "ansible-notify"]
    assert run(*query).stdout.split()[1] == "%s-1" % VERSION
    compiled = root / "usr/share/ansible/plugins/callback/__pycache__/ansible_notify.cpython.pyc"
    compiled.parent.mkdir()
    compiled.touch()
    dpkg(root, "--remove", "ansible-notify")
    assert not compiled.parent.exists()
    assert files(root) == {CONFIGURATION, str(own.relative_to(root))}
    own.unlink()
    dpkg(root, "--purge", "ansible-notify")
    assert files(root) == set()
    assert not (root / "etc/ansible-notify").exists()


def test_deb_needs_the_glibc_of_its_program(built, binary):
    wanted = run("dpkg-deb", "--field", built["deb"], "Depends").stdout
    assert "libc6 (>= %d.%d)" % packages.glibc_of(binary) in wanted


def test_lintian_finds_no_error(built):
    said = run("lintian", "--fail-on", "error", "--allow-root", built["deb"], check=False)
    assert said.returncode == 0, said.stdout


def test_rpm_has_its_files(built):
    query = ["rpm", "--query", "--package", built["rpm"]]
    listed = {line.lstrip("/") for line in run(*query, "--list").stdout.splitlines()}
    assert listed >= RPM
    assert "/%s" % CONFIGURATION in run(*query, "--configfiles").stdout
    licenses = run(*query, "--licensefiles").stdout
    assert licenses.count("/usr/share/licenses/ansible-notify/") == 3
    assert "glibc >= " in run(*query, "--requires").stdout
    assert "__pycache__" in run(*query, "--scripts").stdout


def test_rpm_is_installed_and_erased(tmp_path, built):
    """Without what it needs, and without its script, as the root is empty."""
    rpm = ["rpm", "--root", tmp_path, "--nodeps", "--noscripts"]
    run(*rpm, "--install", "--ignoreos", built["rpm"])
    present = {name for name in RPM if (tmp_path / name).is_file()}
    assert present == RPM
    run(*rpm, "--erase", "ansible-notify")
    assert not {name for name in RPM if (tmp_path / name).exists()}


@pytest.mark.parametrize("of", ["user", "system"])
def test_units_are_sound(root, built, of):
    dpkg(root, "--install", built["deb"])
    units = list((root / "usr/lib/systemd" / of).iterdir())
    source = UNITS if of == "user" else UNITS / of
    assert {unit.name for unit in units} == {
        unit.name for unit in source.iterdir() if unit.is_file()
    }
    for unit in units:
        # systemd-analyze looks whether the program is there.
        program = "ExecStart=%s/usr/bin/" % root
        unit.write_text(unit.read_text().replace("ExecStart=/usr/bin/", program))
    environment = dict(os.environ, XDG_RUNTIME_DIR=str(root), HOME=str(root))
    verify = ["systemd-analyze", "--%s" % of, "--man=no", "verify", *units]
    assert run(*verify, env=environment).stdout == ""


@pytest.mark.parametrize(
    "unit", sorted((UNITS / "system").glob("*.service")), ids=lambda unit: unit.name
)
def test_units_of_the_system_can_do_little(unit):
    """Their exposure is below 3 of 10."""
    run("systemd-analyze", "security", "--offline=true", "--threshold=29", unit)


def test_manual_pages_are_found(root, built):
    dpkg(root, "--install", built["deb"])
    for page in ("ansible-notify", "ansible-notify-import-awx", "plugin_config.ini"):
        found = run("man", "--manpath", root / "usr/share/man", "--where", page).stdout
        assert page in found
