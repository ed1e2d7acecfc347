"""Where the results go: to standard output, and into their parts of docs/benchmarks.md."""

import contextlib
import io
import re
import sys


class Report:
    def __init__(self, docs=None):
        self.docs = docs

    @contextlib.contextmanager
    def section(self, name):
        """What is printed meanwhile is the part `name` of the report."""
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            yield
        text = text.getvalue().strip()
        print("<!-- %s -->\n%s\n" % (name, text), flush=True)
        if self.docs:
            self.put(name, text)

    def put(self, name, text):
        """Replaces what stands between `<!-- name -->` and `<!-- end -->`."""
        page = self.docs / "benchmarks.md"
        part = re.compile(r"(<!-- %s -->\n).*?(<!-- end -->)" % re.escape(name), re.DOTALL)
        changed, places = part.subn(
            lambda found: found[1] + text + "\n" + found[2], page.read_text()
        )
        if places != 1:
            print("%s has no part <!-- %s -->" % (page, name), file=sys.stderr)
        page.write_text(changed)

    def plot(self, name, svg):
        """Keeps a plot, where results are written at all."""
        if self.docs:
            folder = self.docs / "benchmarks"
            folder.mkdir(exist_ok=True)
            (folder / (name + ".svg")).write_text(svg)
