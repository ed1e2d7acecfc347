"""Prints as JSON what Ansible would load; `doctor` runs it with Ansible's own Python.

Nothing of the current directory is imported, and no plugin is.
"""

import sys

if sys.path and sys.path[0] in ("", "."):
    del sys.path[0]

import json
import os

try:
    import configparser
except ImportError:  # Python 2
    import ConfigParser as configparser
try:
    import sysconfig
except ImportError:
    sysconfig = None

NAME = "ansible_notify"
COLLECTION = "ansible_notify.notify.ansible_notify"


def main(project):
    from ansible import constants
    from ansible.plugins.loader import callback_loader
    from ansible.release import __version__

    def setting(*names):
        for name in names:
            value = getattr(constants, name, None)
            if value is not None:
                return value
        return None

    enabled = setting("CALLBACKS_ENABLED", "DEFAULT_CALLBACK_WHITELIST") or []
    file = constants.CONFIG_FILE
    beside = os.path.join(project, "callback_plugins")
    told = {
        "version": __version__,
        "python": sys.executable,
        "config_file": file,
        "enabled": [str(name) for name in enabled],
        "adhoc": bool(setting("DEFAULT_LOAD_CALLBACK_PLUGINS")),
        "options": options(file),
        "program": program(),
    }
    if os.path.isdir(beside):
        callback_loader.add_directory(beside)
    told["plugin"] = path_of(callback_loader, NAME)
    places = [str(place) for place in setting("COLLECTIONS_PATHS", "COLLECTIONS_PATH") or []]
    if setting("COLLECTIONS_SCAN_SYS_PATH") is not False:
        places += sys.path
    named = [name for name in told["enabled"] if name.endswith("." + NAME)]
    for name in named + [COLLECTION]:
        told["collection"] = in_collection(name, places)
        if told["collection"]:
            told["collection_name"] = name
            break
    sys.stdout.write("\n" + json.dumps(told) + "\n")


def path_of(loader, name):
    try:
        path = loader.find_plugin(name)
    except Exception:
        return None
    return path and os.path.abspath(path)


def in_collection(name, places):
    """Returns the file of a collection's plugin. Ansible's loader would import its package."""
    parts = name.split(".")
    if len(parts) != 3:
        return None
    below = os.path.join("ansible_collections", parts[0], parts[1], "plugins", "callback")
    for place in places:
        path = os.path.join(os.path.expanduser(place), below, NAME + ".py")
        if os.path.isfile(path):
            return os.path.abspath(path)
    return None


def options(file):
    """Returns the plugin's section of ansible.cfg."""
    parser = configparser.RawConfigParser()
    try:
        parser.read(file or [])
        return dict(parser.items("callback_" + NAME))
    except (configparser.Error, ValueError):
        return {}


def program():
    """Returns the program where pip puts it: beside this Python, or for the user."""
    places = [sysconfig and sysconfig.get_path("scripts"), os.path.dirname(sys.executable or "")]
    if sysconfig and "posix_user" in sysconfig.get_scheme_names():
        places.append(sysconfig.get_path("scripts", "posix_user"))
    for place in filter(None, places):
        candidate = os.path.join(place, "ansible-notify")
        if os.path.isabs(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return None


main(sys.argv[1])
