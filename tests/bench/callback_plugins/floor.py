"""The least that a callback can do that tells something: one json.dumps and one write."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = """
    name: floor
    type: notification
    short_description: writes each result into a pipe
    description: [Writes each result as JSON into a pipe, which another process empties.]
"""

import json
import os
import subprocess

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "floor"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super(CallbackModule, self).__init__()
        with open(os.devnull, "w") as nothing:
            reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=nothing)
        self.reader, self.pipe = reader, reader.stdin.fileno()

    def v2_runner_on_ok(self, result):
        os.write(self.pipe, json.dumps(result._result).encode())

    def v2_runner_on_failed(self, result, ignore_errors=False):
        os.write(self.pipe, json.dumps(result._result).encode())
