"""The frame of every page: one file with its style and its script, which needs no network."""

from __future__ import annotations

import base64
import hashlib
from importlib.metadata import version
from importlib.resources import files
from string import Template

from stkit.evaluate.report.html import Markup, text


def document(
    *,
    title: str,
    summary: str,
    verdict: Markup,
    worth: Markup,
    facts: Markup,
    sections: Markup,
    made_by: str = "",
    made_at: str = "",
) -> str:
    """A whole page.

    Args:
        title: of the page.
        summary: one line under it.
        verdict: what was found, as paragraphs.
        worth: what the finding is worth.
        facts: key figures.
        sections: everything else.
        made_by: version of stkit that made what is shown; null: the one that is running.
        made_at: when it was made.
    """
    here = files("stkit.evaluate.report")
    template, style, script = (
        (here / name).read_text(encoding="utf-8") for name in ("template.html", "style.css", "page.js")
    )
    made_by = made_by or version("stkit-torch")
    # Only this script may run, whatever a name or a value brings into the page.
    allowed = base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode()
    return Template(template).substitute(
        title=text(title),
        summary=text(summary),
        verdict=verdict,
        worth=worth,
        facts=facts,
        sections=sections,
        footer=text(f"Made by stkit {made_by}{f', {made_at}' if made_at else ''}. This page needs no network."),
        style=style,
        script=script,
        allowed=allowed,
        version=text(made_by),
    )
