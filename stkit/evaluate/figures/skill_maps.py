"""Where the model beats the baseline that is hardest to beat: the skill of each cell, by lead time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator
from numpy.typing import NDArray

from stkit.data.source import FieldSource, Grid, SequenceSource
from stkit.evaluate.cell_errors import CellErrors
from stkit.evaluate.figures.canvas import Drawn, Format, Theme, draw, new_figure, stem_of
from stkit.evaluate.figures.coast import Line, coast
from stkit.evaluate.figures.colours import Scale
from stkit.evaluate.figures.panel import hide_ticks, is_wide, show
from stkit.evaluate.verdict import spoken
from stkit.evaluate.words import percent, steps_text

_MARGIN_INCHES = 0.9
_THINNEST_INCHES = 0.42
_BAR_INCHES = 0.1


def draw_skill_maps(folder: Path, cells: CellErrors, source: FieldSource | SequenceSource, variable: int) -> Drawn:
    """Draw the skill of one variable against the baseline with the smallest error into ``folder``.

    Args:
        folder: where the figures go.
        cells: errors of the cells, with at least one baseline.
        source: the data.
        variable: its number.
    """
    name = source.variables[variable].name
    baseline = cells.hardest(variable)
    assert baseline is not None
    skill = cells.skill(baseline)[:, variable]
    leads = [steps_text(lead + 1, source.step_name) for lead in cells.leads]
    lines = coast(source.grid, np.asarray((cells.count[:, variable] > 0).any(axis=0)))
    stem = stem_of("skill", name)
    draw(folder, stem, lambda theme, form: _figure(skill, leads, source.grid, lines, theme, form))
    windows = int(cells.count[:, variable].max(initial=0))
    return Drawn(
        stem=stem,
        title=f"Where {name} is forecast better than by {spoken(baseline)}",
        alt=f"Maps of the skill of {name} against {spoken(baseline)}: {'; '.join(_shares(skill, leads))}.",
        caption=(
            f"Skill of each cell against {spoken(baseline)}, the baseline with the smallest error: teal is better than "
            f"it, brown worse. Better in {'; '.join(_shares(skill, leads))}. "
            f"A cell has {windows} window{'s' if windows != 1 else ''} at most, so a cell by itself may be chance. "
            "Grey cells were not scored, or the baseline had no error there."
        ),
    )


def _shares(skill: NDArray[np.float64], leads: list[str]) -> list[str]:
    found = []
    for field, lead in zip(skill, leads, strict=True):
        known = field[np.isfinite(field)]
        share = percent(float((known > 0).mean())) if known.size else "none"
        found.append(f"{share} of the cells at {lead}")
    return found


def _figure(
    skill: NDArray[np.float64], leads: list[str], grid: Grid, lines: list[Line], theme: Theme, form: Format
) -> Figure:
    stacked = is_wide(grid)
    count = len(leads)
    inches = (form.width_inches - _MARGIN_INCHES) / (1 if stacked else count)
    tall = float(np.clip(inches * grid.height / grid.width, _THINNEST_INCHES, 1.6 * inches))
    if not stacked and count == 1:
        inches, tall = 0.6 * inches, min(tall, 0.6 * tall + 0.6)
    rows = count if stacked else 1
    figure = new_figure(form.width_inches, rows * (tall + 0.28) + 0.9)
    places = figure.add_gridspec(rows + 1, 1 if stacked else count, height_ratios=[*[tall] * rows, _BAR_INCHES])
    scale = Scale.of_skill(skill)
    axes: list[Axes] = []
    for number, (field, lead) in enumerate(zip(skill, leads, strict=True)):
        first = axes[0] if axes else None
        place = places[number, 0] if stacked else places[0, number]
        axis = figure.add_subplot(place, sharex=first, sharey=first)
        image = show(axis, field, grid, scale, theme, inches=inches, coast=lines)
        hide_ticks(axis, rows=stacked or number == 0, columns=not stacked or number == count - 1)
        axis.set_title(lead, loc="left", fontweight="bold", pad=3)
        axes.append(axis)
    bar = figure.add_subplot(places[-1, :])
    colours = figure.colorbar(image, cax=bar, orientation="horizontal", extend=scale.extend)
    colours.set_label("skill: 1 − MSE / MSE of the baseline")
    bar.tick_params(length=2.5, pad=2)
    bar.xaxis.set_major_locator(FixedLocator([-1, -0.5, 0, 0.5, 1]))
    return figure
