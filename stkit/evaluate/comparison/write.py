"""Draw the figures of a comparison and write its page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stkit.evaluate.comparison.figures import draw_forest, draw_leads
from stkit.evaluate.comparison.page import page
from stkit.evaluate.comparison.skill_figure import draw_skill
from stkit.evaluate.comparison.study import Study
from stkit.evaluate.report.html import Markup
from stkit.run.files import write_text


def write_page(
    study: Study,
    path: Path,
    figures: Path,
    *,
    title: str,
    summary: str,
    command: str,
    notes: Sequence[str] = (),
    sections: Sequence[Markup] = (),
) -> None:
    """Write the comparison as one HTML file.

    Args:
        study: what was compared.
        path: of the page.
        figures: a folder for the figures; they are in the page, too.
        title: of the page.
        summary: one line under it.
        command: the command line that made it.
        notes: what else a reader must know first.
        sections: what else there is to tell.

    Raises:
        DiskFull: so is the disk.
    """
    drawn = {}
    for variable in study.layout.variables:
        for make in (draw_forest, draw_leads, draw_skill):
            one = make(figures, study, variable.name)
            if one is not None:
                drawn[one.stem] = one
    made = page(study, figures, drawn, title=title, summary=summary, command=command, notes=notes, sections=sections)
    write_text(path, made)
