"""The plugin of ansible-runner where Python finds it, as pip would put it, entry point included."""

import shutil

import venvs


def install(packages):
    shutil.copytree(venvs.ROOT / "python" / "ansible_notify", packages / "ansible_notify")
    about = packages / "ansible_notify-0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ansible-notify\nVersion: 0\n")
    (about / "entry_points.txt").write_text(
        "[ansible_runner.plugins]\nansible_notify = ansible_notify.runner\n"
    )
    return packages
