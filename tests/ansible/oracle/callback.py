"""A callback plugin that writes down what Ansible called: the measure for what was reported."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = """
name: oracle
type: notification
short_description: Writes down what Ansible called
description: For tests.
author: The ansible-notify contributors (@ansible-notify)
"""

import json
import os

from ansible.plugins.callback import CallbackBase


def note(method, host=None, task=None):
    called = {
        "event": method[len("v2_") :],
        "host": host.get_name() if host else None,
        "task": (task.name or task.action) if task else None,
    }
    with open(os.environ["ORACLE_LINES"], "a") as lines:
        lines.write(json.dumps(called) + "\n")


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "oracle"
    CALLBACK_NEEDS_ENABLED = True
    CALLBACK_NEEDS_WHITELIST = True


def add(method, host_and_task):
    def called(self, *args, **kwargs):
        note(method, *host_and_task(*args))

    setattr(CallbackModule, method, called)


def of_result(result):
    return result._host, result._task


def of_task(task, is_conditional=False):
    return None, task


def nothing(*args):
    return ()


RESULTS = """
    v2_runner_on_ok v2_runner_on_failed v2_runner_on_skipped v2_runner_on_unreachable
    v2_runner_on_async_poll v2_runner_on_async_ok v2_runner_on_async_failed v2_runner_retry
    v2_runner_item_on_ok v2_runner_item_on_failed v2_runner_item_on_skipped v2_on_file_diff
"""
TASKS = "v2_playbook_on_task_start v2_playbook_on_handler_task_start"
STEPS = """
    v2_playbook_on_play_start v2_playbook_on_no_hosts_matched v2_playbook_on_no_hosts_remaining
    v2_playbook_on_vars_prompt v2_playbook_on_stats
"""
for name in RESULTS.split():
    add(name, of_result)
for name in TASKS.split():
    add(name, of_task)
for name in STEPS.split():
    add(name, nothing)
add("v2_playbook_on_notify", lambda handler, host: (host,))
add("v2_playbook_on_include", lambda included: (None, included._task))


# Ansible 2.9 looks at the names of the arguments of this one.
def v2_playbook_on_start(self, playbook):
    note("v2_playbook_on_start")


CallbackModule.v2_playbook_on_start = v2_playbook_on_start
