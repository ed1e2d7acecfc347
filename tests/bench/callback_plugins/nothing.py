"""A callback that does nothing: what Ansible itself needs to call one."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = """
    name: nothing
    type: notification
    short_description: does nothing
    description: [Does nothing with each result.]
"""

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "nothing"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_ok(self, result):
        pass

    def v2_runner_on_failed(self, result, ignore_errors=False):
        pass
