"""The documentation's pages: what READMEs say is there, and links resolve.

Continuous integration builds all of it (``make docs``), where a link that
leads nowhere is an error; these tests need no Sphinx.
"""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
TARGET = re.compile(r"\]\(([^)\s#]+)[^)]*\)|\{download\}`[^<]*<([^>]+)>`")


@pytest.fixture(scope="module")
def pages():
    path = DOCS / "pages.py"
    spec = importlib.util.spec_from_file_location("pages", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_of_every_page_resolve(pages):
    texts = pages.all_pages()
    for page, text in texts.items():
        for match in TARGET.finditer(text):
            target = match[1] or match[2]
            there = target in texts or (pages.PAGES / target).resolve().exists()
            assert "://" in target or there, f"{page}: {target}"


def test_links_move_with_their_page(pages):
    text = "[a](recipes/ESC50) ![b](docs/images/prompts.png) [`c`](setup.py)"
    assert pages.move_links(text, ROOT / "README.md", pages.readmes()) == (
        "[a](recipe_esc50.md) ![b](../images/prompts.png) "
        "{download}`c <../../setup.py>`"
    )
    with pytest.raises(ValueError, match="no absent.md"):
        pages.move_links("[a](absent.md)", ROOT / "README.md", {})


def test_the_tutorial_is_a_page_with_its_code(pages):
    text = pages.all_pages()["tutorial.md"]
    assert text.startswith("# From a sound") and "```python\nimport" in text


def test_the_index_leads_to_readmes_and_tutorial(pages):
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(_pages/(\S+)\)", text))
    known = set(pages.readmes().values())
    assert linked <= known | {"api.md", "tutorial.md"}
    assert {p for p in known if p.startswith(("readme", "recipe_"))} < linked


def test_continuous_integration_builds_the_pages():
    assert "make --no-print-directory docs\n" in (ROOT / ".ci/run").read_text()
    configuration = (DOCS / "conf.py").read_text(encoding="utf-8")
    assert "xref_missing" not in configuration
