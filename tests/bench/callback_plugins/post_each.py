"""The way that it is usually done: one blocking requests.post for each result."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = """
    name: post_each
    type: notification
    short_description: posts each result with requests
    description: [Posts each result, and waits for the answer.]
"""

import os

import requests
from ansible.plugins.callback import CallbackBase
from requests.auth import HTTPBasicAuth


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "post_each"
    CALLBACK_NEEDS_ENABLED = True

    def post(self, state, result):
        body = {
            "state": state,
            "task_name": result._task.get_name(),
            "task_output": result._result.get("msg"),
        }
        requests.post(os.environ["BENCH_URL"], json=body, auth=HTTPBasicAuth("bench", "bench"))

    def v2_runner_on_ok(self, result):
        self.post("success", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.post("failed", result)
