"""Finds the program `ansible-notify`, and holds the plugin for ansible-runner."""

import os
import sys
import sysconfig

NAME = "ansible-notify"
VERSION = "0.1.0"


def find_binary():
    """Returns the program: configured, installed with this package, or from PATH."""
    chosen = os.environ.get("ANSIBLE_NOTIFY_BINARY")
    if chosen:
        return os.path.expanduser(chosen)
    user_scheme = "%s_user" % os.name
    folders = [sysconfig.get_path("scripts"), os.path.dirname(sys.executable or "")]
    if user_scheme in sysconfig.get_scheme_names():
        folders.append(sysconfig.get_path("scripts", scheme=user_scheme))
    for folder in filter(None, folders):
        candidate = os.path.join(folder, NAME)
        if os.path.isabs(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return NAME
