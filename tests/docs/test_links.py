"""Links inside the documentation lead somewhere, and nobody is sent to the other project of that name."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import PAGES, ROOT

LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and MyST make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower().replace("`", "")).strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in LINK.findall(text):
        path, _, anchor = target.partition("#")
        place = page if not path else (page.parent / path).resolve()
        assert place.exists(), f"{page.relative_to(ROOT)}: {target} is not there"
        if anchor and place.suffix == ".md":
            found = {slug(heading) for heading in HEADING.findall(place.read_text(encoding="utf-8"))}
            assert anchor in found, f"{page.relative_to(ROOT)}: no heading for {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_distribution_has_its_right_name(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"pip install +(-\S+ +)*['\"]?stkit(?!-|_)", text)
