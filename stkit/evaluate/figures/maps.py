"""Truth, forecast and error as maps, by lead time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from stkit.evaluate.figures.canvas import WIDE, Drawn, Format, Theme, draw, new_figure, stem_of
from stkit.evaluate.figures.colours import Scale
from stkit.evaluate.figures.panel import hide_ticks, is_wide, show
from stkit.evaluate.figures.shown import Shown
from stkit.evaluate.words import with_unit

_MOST_LEADS = 4
_ROWS = ("truth", "forecast", "error")
_MARGIN_INCHES = 0.9
_THINNEST_INCHES = 0.42
_BAR_INCHES = 0.1


def draw_maps(folder: Path, shown: Shown, variable: int) -> Drawn:
    """Draw the maps of one variable of one window into ``folder``."""
    name = shown.variables[variable].name
    stem = stem_of("maps", name, shown.number)
    draw(folder, stem, lambda theme, form: _figure(shown, variable, theme, form))
    unit = shown.variables[variable].units
    return Drawn(
        stem=stem,
        title=f"{name}, test window {shown.number}",
        alt=(
            f"Maps of {with_unit(name, unit)}: truth, forecast and forecast minus truth "
            f"at {', '.join(shown.lead_text(lead) for lead in shown_leads(len(shown.truth)))}."
        ),
        caption=(
            "Truth, forecast and error (forecast minus truth). Truth and forecast share one colour bar, "
            "and all lead times do; grey cells have no value."
        ),
    )


def shown_leads(leads: int, most: int = _MOST_LEADS) -> tuple[int, ...]:
    """Up to ``most`` lead times, the first and the last among them."""
    return tuple(int(i) for i in np.unique(np.linspace(0, leads - 1, min(leads, most)).round()))


def _figure(shown: Shown, variable: int, theme: Theme, form: Format) -> Figure:
    truth, forecast = shown.truth[:, variable], shown.forecast[:, variable]
    leads = shown_leads(len(truth))
    error = forecast - truth
    chosen = list(leads)
    field_scale = Scale.of_variable(shown.variables[variable], truth[chosen], forecast[chosen])
    error_scale = Scale.of_error(error[chosen])
    stacked = is_wide(shown.grid)
    figure, axes, bars = _stacked(shown, len(leads), form) if stacked else _side_by_side(shown, len(leads), form)
    inches = (form.width_inches - _MARGIN_INCHES) / (1 if stacked else 3)
    coast = shown.coast(variable)
    for row, lead in enumerate(leads):
        for column, field in enumerate((truth[lead], forecast[lead])):
            field_image = show(axes[row][column], field, shown.grid, field_scale, theme, inches=inches, coast=coast)
        error_image = show(axes[row][2], error[lead], shown.grid, error_scale, theme, inches=inches, coast=coast)
        for column, axis in enumerate(axes[row]):
            last = row == len(leads) - 1
            _words(axis, shown.lead_text(lead), row, column, stacked=stacked, last=last, form=form)
    unit, name = shown.variables[variable].units, shown.variables[variable].name
    for bar, image, words, scale in (
        (bars[0], field_image, name, field_scale),
        (bars[1], error_image, "error", error_scale),
    ):
        colours = figure.colorbar(image, cax=bar, orientation="horizontal", extend=scale.extend)
        colours.set_label(words if form.narrow and words == "error" else with_unit(words, unit))
        bar.tick_params(length=2.5, pad=2)
        if scale.levels:
            bar.xaxis.set_major_locator(FixedLocator(scale.levels[:: 2 if form.narrow else 1]))
            bar.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        else:
            bar.xaxis.set_major_locator(MaxNLocator(6 if form is WIDE else 3, symmetric=words == "error"))
    return figure


def _stacked(shown: Shown, leads: int, form: Format) -> tuple[Figure, list[list[Axes]], list[Axes]]:
    """Strips below each other: truth, forecast and error of the first lead time, then of the next."""
    strip = max((form.width_inches - _MARGIN_INCHES) * shown.grid.height / shown.grid.width, _THINNEST_INCHES)
    figure = new_figure(form.width_inches, leads * (3 * (strip + 0.08) + 0.28) + 0.2 + 0.75)
    heights = [*[strip] * (3 * leads), _BAR_INCHES]
    rows = figure.add_gridspec(3 * leads + 1, 3, height_ratios=heights, width_ratios=[10, 1, 10])
    strips: list[Axes] = []
    for row in range(3 * leads):
        strips.append(figure.add_subplot(rows[row, :], sharex=strips[0] if strips else None))
    bars = [figure.add_subplot(rows[-1, column]) for column in (0, 2)]
    return figure, [strips[3 * lead : 3 * lead + 3] for lead in range(leads)], bars


def _side_by_side(shown: Shown, leads: int, form: Format) -> tuple[Figure, list[list[Axes]], list[Axes]]:
    """A row for each lead time, with truth, forecast and error beside each other."""
    cell = (form.width_inches - _MARGIN_INCHES) / 3
    tall = min(cell * shown.grid.height / shown.grid.width, 1.6 * cell)
    figure = new_figure(form.width_inches, leads * (tall + 0.08) + 0.45 + 0.65)
    rows = figure.add_gridspec(leads + 1, 3, height_ratios=[*[tall] * leads, _BAR_INCHES])
    axes: list[list[Axes]] = []
    for row in range(leads):
        axes.append([])
        for column in range(3):
            first = axes[0][0] if axes[0] else None
            axes[row].append(figure.add_subplot(rows[row, column], sharex=first, sharey=first))
    return figure, axes, [figure.add_subplot(rows[-1, :2]), figure.add_subplot(rows[-1, 2])]


def _words(axis: Axes, lead: str, row: int, column: int, *, stacked: bool, last: bool, form: Format) -> None:
    """What stands beside a map."""
    if stacked:
        hide_ticks(axis, rows=not form.narrow, columns=last and column == 2)
        axis.set_ylabel(_ROWS[column], rotation=0, ha="right", va="center", labelpad=3)
        if column == 0:
            axis.set_title(lead, loc="left", fontweight="bold", pad=3)
        return
    hide_ticks(axis, rows=column == 0, columns=last)
    if row == 0:
        axis.set_title(_ROWS[column], fontweight="bold")
    if column == 0:
        words, _, time = lead.partition(" · ")
        # On a phone a row is too low for the time; the player has it.
        axis.set_ylabel(words if form.narrow or not time else f"{words}\n{time}")
