"""The deb, the collection, the wheel and the tarballs on systems of several ages, and on ARM."""

import re
import tarfile

import pytest
from conftest import PLAY, VERSION, file, make_root, run
from venvs import ROOT

# Debian 11 has the glibc 2.31, Ansible 2.10 and Python 3.9; newer ones begin with what runs there.
PACKAGE = {"bullseye": "ansible", "bookworm": "ansible-core", "trixie": "ansible-core"}
PLAYBOOK = """
mkdir /tmp/play
cd /tmp/play
cat >site.yml <<'END'
%s
END
printf '[inputs]\\ncallback_url = %s\\n' >plugin_config.ini
"""
INSTALL_WHEEL = """
python3 -m venv --system-site-packages /tmp/environment
PATH=/tmp/environment/bin:$PATH
pip install --no-index --find-links /tmp/dist ansible-notify
"""
# By its name before and after ansible-core 2.11
ENABLE = """
export ANSIBLE_CALLBACK_WHITELIST=ansible_notify.notify.ansible_notify
export ANSIBLE_CALLBACKS_ENABLED=$ANSIBLE_CALLBACK_WHITELIST
"""
# Of the package manager, of Ansible, and of the program for its user
KEPT = ("var/lib/dpkg/", "var/log/", "root/.ansible/", "root/.local/state/ansible-notify/")


@pytest.fixture(params=PACKAGE)
def debian(request, system):
    suite = request.param
    packages = ["ca-certificates", "python3-venv", PACKAGE[suite]]
    return system(make_root(suite, suite, install=packages))


def left(system):
    """Files that remain of the program and its plugin; Python also compiles parts of Ansible."""
    names = {name for name in system.left() if not name.startswith(KEPT)}
    return {name for name in names if "notify" in name or not name.endswith(".pyc")}


def test_the_deb(debian, endpoint):
    said = debian.run(
        "dpkg --install /tmp/dist/ansible-notify_%s-1_amd64.deb\n" % VERSION
        + PLAYBOOK % (PLAY, endpoint.url)
        + "ANSIBLE_CALLBACK_WHITELIST=ansible_notify ansible-playbook site.yml\n"
        "ansible-notify --version\n"
        "dpkg --purge ansible-notify\n"
        "test ! -e /usr/bin/ansible-notify\n"
    )
    assert "ansible-notify: 1 event, 1 delivery: delivered" in said
    assert "\nansible-notify %s\n" % VERSION in said
    assert endpoint.requests == 1
    assert left(debian) == set()


def test_the_collection_with_the_program(debian, endpoint):
    tarball = "/tmp/dist/ansible_notify-notify-%s-linux-x86_64.tar.gz" % VERSION
    said = debian.run(
        "ansible-galaxy collection install -p /tmp/collections %s\n" % tarball
        + PLAYBOOK % (PLAY, endpoint.url)
        # The same setting before and after ansible-core 2.10
        + "export ANSIBLE_COLLECTIONS_PATHS=/tmp/collections\n"
        "export ANSIBLE_COLLECTIONS_PATH=/tmp/collections\n"
        + ENABLE
        + "ansible-playbook site.yml\n"
    )
    assert "ansible-notify: 1 event, 1 delivery: delivered" in said
    assert endpoint.requests == 1
    assert left(debian) == set()


def test_the_wheel_next_to_the_ansible_of_the_system(debian, endpoint):
    said = debian.run(
        INSTALL_WHEEL
        + PLAYBOOK % (PLAY, endpoint.url)
        + ENABLE
        + "/tmp/environment/bin/python /usr/bin/ansible-playbook site.yml\n"
        "pip uninstall --yes ansible-notify\n"
    )
    assert "ansible-notify: 1 event, 1 delivery: delivered" in said
    assert endpoint.requests == 1
    assert left(debian) == set()


def pasted(url):
    """The commands of the README's first minute, with its configuration for an endpoint."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = text.split("\n## Sixty seconds")[1].split("\n## ")[0]
    [(_, demo), (_, init), (_, config), (_, send)] = re.findall("```(sh|ini)\n(.*?)```", text, re.S)
    config = re.sub("(?<=callback_url = ).*", url, config)
    path = "callback_plugins/plugin_config.ini"
    write = "cat >%s <<'END'\n%sEND\nchmod 600 %s\n" % (path, config, path)
    return demo + init + write + send


def test_the_first_minute_of_the_readme(debian, endpoint):
    said = debian.run(
        INSTALL_WHEEL
        + "mkdir /tmp/play\ncd /tmp/play\ncat >site.yml <<'END'\n%sEND\n" % PLAY
        + pasted(endpoint.url)
    )
    assert "ansible-notify: 1 event, 1 delivery: delivered" in said
    # `test`, and the play
    assert endpoint.requests == 2
    assert left(debian) == set()


def unpack(target, place):
    """The program of a tarball."""
    name = "ansible-notify-%s-%s" % (VERSION, target)
    with tarfile.open(file(name + ".tar.gz")) as archive:
        archive.extractall(place, filter="data")
    return place / name / "ansible-notify"


def test_the_tarball(debian):
    name = "ansible-notify-%s-x86_64-unknown-linux-gnu" % VERSION
    said = debian.run(
        "tar -C /tmp -xzf /tmp/dist/%s.tar.gz\n/tmp/%s/ansible-notify demo\n" % (name, name)
    )
    assert "all delivered" in said
    assert left(debian) == set()


def test_the_static_program_needs_no_system(tmp_path):
    program = unpack("x86_64-unknown-linux-musl", tmp_path)
    root = program.parent
    (root / "tmp").mkdir()
    (root / "proc").mkdir()
    (root / "dev").mkdir()
    run("mknod", root / "dev" / "null", "c", "1", "3")
    # Like an empty container: it sees its own processes, and nothing else.
    own = ["unshare", "--mount", "--pid", "--fork", "--mount-proc=%s/proc" % root]
    said = run(*own, "/usr/sbin/chroot", root, "/ansible-notify", "demo", env={"HOME": "/"})
    assert "all delivered" in said


def test_the_program_for_arm(tmp_path):
    root = make_root("arm64", "--foreign", "--arch=arm64", "bullseye")
    program = unpack("aarch64-unknown-linux-gnu", tmp_path)
    said = run("qemu-aarch64-static", "-L", root, program, "demo")
    assert "all delivered" in said


def test_the_static_program_for_arm(tmp_path):
    program = unpack("aarch64-unknown-linux-musl", tmp_path)
    assert "all delivered" in run("qemu-aarch64-static", program, "demo")
