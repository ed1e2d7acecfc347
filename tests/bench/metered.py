#!/usr/bin/env python3
"""ansible-playbook, which notes its seconds in callbacks, and those of waiting for them at the end.

metered.py FILE [ARGUMENT...]
"""

import atexit
import sys
import time

from ansible.cli.playbook import main
from ansible.executor.task_queue_manager import TaskQueueManager

send_callback = TaskQueueManager.send_callback
seconds = {"callbacks": 0.0, "began": 0.0}


def metered(manager, name, *arguments, **options):
    if name == "v2_playbook_on_stats":
        # What is registered last runs first: this before what callbacks do at the end.
        atexit.register(lambda: seconds.update(began=time.perf_counter()))
    began = time.perf_counter()
    try:
        return send_callback(manager, name, *arguments, **options)
    finally:
        seconds["callbacks"] += time.perf_counter() - began


def say(path):
    with open(path, "w") as file:
        file.write("%f %f" % (seconds["callbacks"], time.perf_counter() - seconds["began"]))


# This runs after it.
atexit.register(say, sys.argv.pop(1))
TaskQueueManager.send_callback = metered
main()
