"""Brings a result of a wanted kind at once: such a play is made of little but its results."""

from ansible.plugins.action import ActionBase

LINE = "a line of a log, not too long\n"
DEVICE = {"name": "eth0", "active": True, "mtu": 1500, "speed": -1, "flags": ["up", "running"]}
PACKAGE = {"name": "libexample", "version": "1.2.3-4", "arch": "amd64", "source": "apt"}


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        kind = self._task.args["kind"]
        if kind == "output":
            return {"changed": True, "rc": 0, "stdout": LINE * 170, "stderr": "", "cmd": ["cat"]}
        if kind == "facts":
            devices = {"ansible_device_%d" % number: DEVICE for number in range(500)}
            return {"changed": False, "ansible_facts": devices}
        packages = {"package%d" % number: [PACKAGE] for number in range(5500)}
        return {"changed": False, "ansible_facts": {"packages": packages}}
