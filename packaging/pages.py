#!/usr/bin/env python3
"""Builds the documentation as a site of static pages, and checks its links.

    python3 packaging/pages.py MKDOCS DIRECTORY

DIRECTORY gets the site, in `site`, and what it is made of. Fails if a link leads nowhere.
"""

import argparse
import json
import shutil
import subprocess
from pathlib import Path

from links import address, relink
from versions import ROOT

DOCS = ROOT / "docs"
FILES = {".md", ".svg", ".png", ".json"}
# Pages outside of docs/, by their name in the site.
OTHERS = {
    "README.md": "index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "SECURITY.md",
}


def place_of(path):
    """The path of a file of the repository in the site, or None if it is not there."""
    name = str(path.relative_to(ROOT))
    if name in OTHERS:
        return Path(OTHERS[name])
    is_page = path.is_relative_to(DOCS) and path.suffix in FILES
    return path.relative_to(DOCS) if is_page else None


def page(source):
    """The text of a page, with links as they are in the site."""
    up = Path(*[".."] * (len(place_of(source).parts) - 1))

    def in_site(target):
        place = place_of(target)
        return address(target) if place is None else up / place

    return relink(source, in_site)


def make_tree(tree):
    """Writes the pages and the configuration of the site into an empty directory."""
    sources = [path for path in sorted(DOCS.rglob("*")) if path.suffix in FILES]
    for source in [*sources, *(ROOT / name for name in OTHERS)]:
        target = tree / "pages" / place_of(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".md":
            target.write_text(page(source), encoding="utf-8")
        else:
            shutil.copy(source, target)
    config = (ROOT / "packaging" / "mkdocs.yml").read_text(encoding="utf-8")
    kinds = sorted(path.name for path in (DOCS / "notifiers").glob("*.md"))
    kinds.sort(key=lambda name: name != "README.md")
    kinds = json.dumps(["notifiers/%s" % name for name in kinds])
    (tree / "mkdocs.yml").write_text(config.replace("NOTIFIERS", kinds), encoding="utf-8")


def build(mkdocs, directory):
    """Builds the site, and returns its directory."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    make_tree(directory)
    command = [mkdocs, "build", "--strict", "--config-file", directory / "mkdocs.yml"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise SystemExit(made.stdout + made.stderr)
    return directory / "site"


def main():
    parser = argparse.ArgumentParser(description="Build the site of the documentation.")
    parser.add_argument("mkdocs")
    parser.add_argument("directory", type=Path, help="is emptied first")
    arguments = parser.parse_args()
    print(build(arguments.mkdocs, arguments.directory))


if __name__ == "__main__":
    main()
