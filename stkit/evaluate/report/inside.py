"""The part "Seeing inside" of a report: what ``stkit diagnose`` found, if anybody has looked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from stkit.errors import UsageError
from stkit.evaluate.figures.canvas import Drawn
from stkit.evaluate.report.html import Markup, figure, join, paragraph, section, text
from stkit.run.directory import RunDirectory

_HEADINGS = {
    "gates": "Forget gates",
    "gradients": "Gradient flow",
    "recall": "RECALL",
    "attention": "Attention",
    "stationarity": "Stationarity",
    "decoupling": "Decoupling",
}
_ONE_RUN = (
    "This is one run: another seed gives other numbers. What is seen here describes the model; it does not say that "
    "the model forecasts well or badly because of it. An ablation over several seeds does."
)


def inside(run: RunDirectory) -> Markup | None:
    """The section; None if nobody has looked.

    Raises:
        UsageError: ``diagnosis.json`` or a figure of it cannot be read.
    """
    if not run.diagnosis.exists():
        return None
    try:
        found = json.loads(run.diagnosis.read_text(encoding="utf-8"))
        return _section(run, found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(
            f"{run.diagnosis}: cannot be read ({error}); `stkit diagnose {run.path}` makes it again"
        ) from error


def _section(run: RunDirectory, found: Mapping[str, Any]) -> Markup:
    known = {one.name for one in fields(Drawn)}
    drawn = [Drawn(**{name: entry[name] for name in known & entry.keys()}) for entry in found["figures"]]
    texts: dict[str, list[str]] = {}
    for finding in found["findings"]:
        texts.setdefault(finding["about"], []).append(finding["text"])
    pieces = [paragraph(f"{found['looked_at']}. {_ONE_RUN}", "note")]
    for about, heading in _HEADINGS.items():
        figures = [figure(run.figures, one) for one in drawn if _about(one) == about]
        if texts.get(about) or figures:
            listed = join(Markup(f"<li>{text(_unbroken(words))}</li>") for words in texts.get(about, ()))
            pieces += [Markup(f"<h3>{text(heading)}</h3>\n<ul>\n{listed}\n</ul>"), *figures]
    return section("Seeing inside", *pieces)


def _unbroken(words: str) -> str:
    """A number keeps its percent sign on its line."""
    return words.replace(" %", "\u00a0%")


def _about(drawn: Drawn) -> str:
    """``diagnosis-recall_map`` is about ``recall``."""
    return drawn.stem.split("-")[1].partition("_")[0]
