"""`runs` and `report` of real runs: what Ansible did is what they show."""

import json
import re
import subprocess
from html.parser import HTMLParser

import pytest
from test_endtoend import BINARY

pytestmark = pytest.mark.newest

SITE = """
- hosts: web
  gather_facts: false
  tasks:
    - name: write a file
      copy: {content: "new\\n", dest: "{{ playbook_dir }}/written-{{ inventory_hostname }}"}
    - name: <b>hidden</b>
      command: echo canary-hidden
      no_log: true
    - name: gives up
      command: sh -c 'echo "<script>alert(1)</script>" >&2; exit 3'
      when: inventory_hostname == "web2"
"""


@pytest.fixture
def played(ansible):
    config = "[inputs]\ncallback_url = http://127.0.0.1:9/\n[delivery]\ndrain = 0\n"
    path = ansible.directory / ".config" / "ansible-notify" / "plugin_config.ini"
    path.write_text(config)
    path.chmod(0o600)
    state = str(ansible.directory / "state")
    ansible.environment.update(ANSIBLE_NOTIFY_BINARY=str(BINARY), XDG_STATE_HOME=state)
    outcome = ansible.play(SITE, "--diff")
    assert outcome.rc == 2, outcome.stderr
    return ansible


def ask(ansible, *arguments):
    ended = subprocess.run(
        [BINARY, *arguments],
        cwd=ansible.directory,
        env=ansible.environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return ended.stdout


def test_a_real_run_is_listed_and_shown(played):
    [line] = ask(played, "runs", "--json").splitlines()
    run = json.loads(line)
    assert (run["state"], run["name"], run["exit_code"]) == ("failed", "site.yml", 2)
    assert (run["hosts"], run["tasks"], run["counts"]["failed"]) == (2, 3, 1)
    assert run["reason"].startswith("web2: gives up: ")
    assert run["notified"][0]["notifier"] == "callback"
    shown = ask(played, "runs", "last")
    assert shown.startswith("site.yml  failed\n")
    failed, changed = shown.index("\nfailed\n"), shown.index("\nchanged\n")
    assert failed < shown.index("web2  gives up", failed) < changed
    # Those that hid their result changed something, too.
    hosts = re.search(r"\nwrite a file +(\w+), (\w+)\n", shown[changed:])
    assert sorted(hosts.groups()) == ["web1", "web2"]
    assert "canary" not in shown
    assert json.loads(ask(played, "runs", run["id"][:8], "--json"))["id"] == run["id"]
    assert ask(played, "runs", "--state", "ok") == ""


class Page(HTMLParser):
    """What a page consists of, as a browser or a screen reader gets it."""

    VOID = ("meta",)

    def __init__(self, text):
        super().__init__()
        self.open = []
        self.tags = []
        self.headings = []
        self.heads = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        assert not [name for name in attrs if name.startswith("on") or name == "style"]
        self.tags.append((tag, attrs))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in ("h1", "h2", "h3"):
            self.headings.append(int(tag[1]))
        if tag == "th":
            self.heads.append(attrs.get("scope"))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def names(self):
        return [tag for tag, _ in self.tags]


def test_the_page_of_a_real_run_can_be_read_by_everyone(played):
    played_page = played.directory / "run.html"
    ask(played, "report", "-o", str(played_page))
    text = played_page.read_text(encoding="utf-8")
    page = Page(text)
    assert dict(page.tags)["html"] == {"lang": "en"}
    names = page.names()
    assert not {"script", "b", "img", "a", "link", "iframe", "form"} & set(names)
    assert names.count("h1") == 1
    steps = zip(page.headings, page.headings[1:], strict=False)
    assert all(after - before <= 1 for before, after in steps), page.headings
    assert names.count("table") == names.count("caption") >= 3
    assert set(page.heads) == {"col", "row"}
    for part in ["web2: gives up", "&lt;script&gt;", "+ new", "hidden&lt;"]:
        assert part in text, part
    assert "canary" not in text
    assert "://" not in text
