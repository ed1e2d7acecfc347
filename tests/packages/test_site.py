"""The site of the documentation: it has each page, its links lead somewhere, it loads nothing."""

import re

import pages
import pytest
import venvs
from conftest import BINARY, run

PICTURE = venvs.ROOT / "docs" / "pictures" / "demo.svg"
LOADED = re.compile(
    "<(?:script|img|iframe)[^>]* src=.?https?:|<link[^>]* rel=.?stylesheet[^>]* href=.?https?:"
)


@pytest.fixture(scope="session")
def environment():
    return venvs.ensure("docs") / "bin"


def test_each_page_is_in_it_and_loads_nothing(environment, tmp_path):
    site = pages.build(environment / "mkdocs", tmp_path / "built")
    sources = [path for path in pages.DOCS.rglob("*.md") if path.name != "README.md"]
    assert sources
    for source in sources:
        assert (site / pages.place_of(source).with_suffix(".html")).is_file(), source
    for name in ("index.html", "notifiers/index.html", "event.schema.json", "pictures/demo.svg"):
        assert (site / name).is_file(), name
    for page in site.rglob("*.html"):
        assert not LOADED.search(page.read_text(encoding="utf-8")), page


@pytest.mark.parametrize("link", ["timing.md#no-such-heading", "no-such-page.md"])
def test_a_link_that_leads_nowhere_is_a_mistake(environment, tmp_path, monkeypatch, link):
    written = pages.page
    broken = {"run.md": "\n[broken](%s)\n" % link}
    monkeypatch.setattr(pages, "page", lambda path: written(path) + broken.get(path.name, ""))
    with pytest.raises(SystemExit, match=link.split("#")[-1]):
        pages.build(environment / "mkdocs", tmp_path / "built")


def test_the_picture_is_of_the_program(environment, tmp_path):
    """It loads nothing, and is drawn again from what the program prints now."""
    picture = PICTURE.read_text(encoding="utf-8")
    assert not re.search("(?:src|href)=|url\\(.?http", picture)
    again = tmp_path / "demo.svg"
    run(environment / "python", venvs.ROOT / "packaging" / "picture.py", BINARY, again)
    words = [re.findall(">([^<]+)</text>", text) for text in (picture, again.read_text())]
    # The order of what arrives, and how long the end takes, are those of the moment.
    shown, now = [sorted(re.sub(r"\d+[.]\d", "1.0", word) for word in each) for each in words]
    assert shown == now
    assert any("all&#160;delivered" in word for word in shown)
