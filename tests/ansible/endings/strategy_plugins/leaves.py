"""Strategies that end in ways of their own: `-e how=exit`."""

import os
import sys

from ansible.errors import AnsibleError
from ansible.plugins.strategy.linear import StrategyModule as Linear


class StrategyModule(Linear):
    def run(self, iterator, play_context):
        how = self._variable_manager.extra_vars["how"]
        super().run(iterator, play_context)
        if how == "exit":
            sys.exit(3)
        if how == "raise":
            raise SystemExit(5)
        if how == "say":
            sys.exit("enough of it")
        if how == "vanish":
            os._exit(7)
        if how == "error":
            raise AnsibleError("the strategy gives up")
        if how == "interrupt":
            raise KeyboardInterrupt()
        raise RuntimeError("the strategy is broken")
