"""Links of the pages, where the pages are without the rest of the repository."""

import re

from versions import ROOT, manifest

LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)\s]*)\)")
PICTURES = {".svg", ".png"}


def address(path):
    """The address of a file or folder of the repository; for a picture, that of its content."""
    kind = "tree" if path.is_dir() else "raw" if path.suffix in PICTURES else "blob"
    return "%s/%s/main/%s" % (manifest("repository"), kind, path.relative_to(ROOT))


def relink(source, place=address):
    """The text of a page with other links: `place` returns that to a file, None to keep it."""

    def linked(link):
        name, mark, anchor = link.group(1).partition("#")
        target = (source.parent / name).resolve()
        if not target.exists():
            raise SystemExit("%s: %s does not exist" % (source.relative_to(ROOT), name))
        found = place(target)
        return link.group(0) if found is None else "](%s%s%s)" % (found, mark, anchor)

    return LINK.sub(linked, source.read_text(encoding="utf-8"))
