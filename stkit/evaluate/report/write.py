"""Write ``report.html`` and ``CARD.md`` of a run."""

from __future__ import annotations

from pathlib import Path

from stkit.evaluate.figures.curves import draw_curves
from stkit.evaluate.figures.lines import draw_loss, draw_scores
from stkit.evaluate.report.card import card
from stkit.evaluate.report.page import page
from stkit.evaluate.report.record import read, read_index
from stkit.run.directory import RunDirectory
from stkit.run.files import write_text


def write_report(run: RunDirectory) -> Path:
    """Write the report and the model card from what the run directory holds; the data are not needed.

    What was scored only, such as an ensemble, has no card. Charts of scores and loss are drawn anew; the maps and
    animations are those that the evaluation drew.

    Returns:
        Where the report is.

    Raises:
        UsageError: a file of the run cannot be read.
        RunFailed: the disk is full.
    """
    record = read(run)
    drawn = []
    if record.scores is not None:
        drawn += [draw_scores(run.figures, record.scores, name) for name in record.scores.variables]
        for name, variable in record.scores.variables.items():
            curves = [draw_curves(run.figures, record.scores, name, metric) for metric in variable.curves]
            drawn += [one for one in curves if one is not None]
    drawn += read_index(run.figures)
    loss = draw_loss(run.figures, record.metrics, record.about.get("best_step"))
    if loss is not None:
        drawn.append(loss)
    write_text(run.report, page(record, drawn))
    if record.own:
        write_text(run.card, card(record))
    return run.report
