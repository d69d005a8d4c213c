"""Maps of the verdicts, the season and the memory; the correlations against the lag."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from stkit.advise.advice import Advice
from stkit.advise.stationarity import VERDICTS
from stkit.data.source import Axis, Grid
from stkit.evaluate.figures.canvas import DARK, LIGHT, WIDE, Drawn, Format, Theme, draw, new_figure, png, style
from stkit.evaluate.figures.colours import Scale
from stkit.evaluate.figures.panel import hide_ticks, is_wide, show
from stkit.evaluate.words import lead_axis, percent

_COLOURS = {
    LIGHT.name: ("#0072b2", "#e69f00", "#cc3311", "#e8ecf0"),
    DARK.name: ("#3d94cf", "#f0b840", "#f0683c", "#29323d"),
}
"""Stationary, trend, difference, unclear: the last one steps back."""
_BAR_INCHES, _MARGIN_INCHES = 0.1, 0.9


def draw_maps(folder: Path, advice: Advice) -> Drawn:
    """Draw the maps into ``folder``."""
    draw(folder, "advice-maps", lambda theme, form: _maps(advice, theme, form))
    shares = ", ".join(f"{name} {percent(share)}" for name, share in advice.findings.shares.items())
    return Drawn(
        stem="advice-maps",
        title="Where",
        alt=f"Maps of the verdict ({shares}), of the season's share of the variance and of the memory.",
        caption=(
            "The verdict on each tested cell, the season's share of its variance, and the steps in which its "
            "correlation falls to 1/e. Grey: land, or not tested. A colour stands for the block around a tested cell."
        ),
    )


def draw_lags(folder: Path, advice: Advice) -> Drawn:
    """Draw the correlations into ``folder``."""
    draw(folder, "advice-lags", lambda theme, form: _lags(advice, theme, form))
    return Drawn(
        stem="advice-lags",
        title="Memory",
        alt="Correlation and partial correlation of the anomalies against the lag: mean and middle half of the cells.",
        caption=(
            "Correlation of the anomalies with those some steps before: mean of the cells, shaded their middle half. "
            "The partial one leaves out what the steps between carry; between the thin lines it is no more than chance."
        ),
    )


def maps_png(advice: Advice) -> bytes:
    """The maps as one picture."""
    with style(LIGHT, WIDE):
        return png(_maps(advice, LIGHT, WIDE))


def _maps(advice: Advice, theme: Theme, form: Format) -> Figure:
    memory = advice.memory
    lasting = np.where(np.isnan(memory.folding), memory.lags + 1.0, memory.folding)
    verdict, season, folding = (
        _blocks(advice, values) for values in (advice.findings.verdict, advice.split.share, lasting)
    )
    grid = _block_grid(advice)
    stacked = is_wide(grid) or form.narrow
    inches = (form.width_inches - _MARGIN_INCHES) / (1 if stacked else 3)
    tall = float(np.clip(inches * grid.height / grid.width, 0.5, 1.4 * inches))
    figure = new_figure(form.width_inches, 3 * (tall + 0.75) + 0.3 if stacked else tall + 1.35)
    shape = (6, 1) if stacked else (2, 3)
    heights = [tall, _BAR_INCHES] * (3 if stacked else 1)
    places = figure.add_gridspec(*shape, height_ratios=heights)
    axes = [figure.add_subplot(places[2 * i, 0] if stacked else places[0, i]) for i in range(3)]
    bars = [figure.add_subplot(places[2 * i + 1, 0] if stacked else places[1, i]) for i in range(3)]
    colours = ListedColormap(_COLOURS[theme.name])
    show(axes[0], verdict, grid, Scale(-0.5, 3.5, "neither", colours=colours), theme, inches=inches)
    bars[0].set_axis_off()
    patches = [Patch(color=colour, label=name) for colour, name in zip(_COLOURS[theme.name], VERDICTS, strict=True)]
    columns = 4 if stacked and not form.narrow else 2
    bars[0].legend(
        handles=patches,
        loc="upper center",
        ncols=columns,
        fontsize=form.font_points - 1.5,
        handlelength=1,
        columnspacing=1,
        borderaxespad=0,
    )
    unit = advice.sample.source.step_name
    most = min(float(np.percentile(lasting, 97)), float(memory.lags))
    for axis, bar, values, scale, words in (
        (axes[1], bars[1], season, Scale(0.0, 1.0, "neither"), "share of the variance"),
        (axes[2], bars[2], folding, Scale(0.0, most, "max"), lead_axis(unit).replace("lead time", "time")),
    ):
        image = show(axis, values, grid, scale, theme, inches=inches)
        colour_bar = figure.colorbar(image, cax=bar, orientation="horizontal", extend=scale.extend)
        colour_bar.set_label(words)
        bar.tick_params(length=2.5, pad=2)
        bar.xaxis.set_major_locator(MaxNLocator(4))
    for place, (axis, title) in enumerate(zip(axes, ("verdict", "season", "memory: correlation at 1/e"), strict=True)):
        hide_ticks(axis, rows=stacked or place == 0, columns=True)
        axis.set_title(title, loc="left", fontweight="bold")
    return figure


def _blocks(advice: Advice, values: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
    """The values on the coarse grid of blocks, NaN where none was tested."""
    sample = advice.sample
    height, width = (-(-count // sample.block) for count in sample.source.grid.shape)
    out = np.full((height, width), np.nan)
    out[sample.rows // sample.block, sample.columns // sample.block] = values
    return out


def _block_grid(advice: Advice) -> Grid:
    grid, block = advice.sample.source.grid, advice.sample.block
    height, width = (-(-count // block) for count in grid.shape)
    return Grid(height, width, _block_axis(grid.y, height, block), _block_axis(grid.x, width, block))


def _block_axis(axis: Axis, count: int, block: int) -> Axis:
    """The middle of each block; the last one as if it were whole, so that all have one size."""
    if axis.values is None or len(axis.values) < 2:
        return axis if axis.values is None or block == 1 else Axis(axis.name)
    spacing = float(axis.values[-1] - axis.values[0]) / (len(axis.values) - 1)
    middles = axis.values[0] + spacing * (block * np.arange(count) + (block - 1) / 2)
    return Axis(axis.name, middles, axis.units, axis.standard_name)


def _lags(advice: Advice, theme: Theme, form: Format) -> Figure:
    memory, steps = advice.memory, advice.sample.steps
    figure = new_figure(form.width_inches, 4.6 if form.narrow else 2.6)
    axes: Sequence[Axes] = figure.subplots(2, 1) if form.narrow else figure.subplots(1, 2, sharey=True)
    lags = np.arange(1, memory.lags + 1)
    for axis, values, title, colour in (
        (axes[0], memory.correlation, "correlation", theme.series[0]),
        (axes[1], memory.partial, "partial correlation", theme.series[1]),
    ):
        low, high = np.percentile(values, (25, 75), axis=1)
        axis.fill_between(lags, low, high, color=colour, alpha=0.22, linewidth=0)
        axis.plot(lags, values.mean(axis=1), color=colour, marker="o", markersize=3, linewidth=1.6)
        axis.axhline(0, color=theme.muted, linewidth=0.8)
        axis.set_title(title, loc="left", fontweight="bold")
        axis.set_xlabel(lead_axis(advice.sample.source.step_name).replace("lead time", "lag"))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y")
        axis.set_axisbelow(True)
    for bound in (-1.96, 1.96):
        axes[1].axhline(bound / np.sqrt(steps), color=theme.muted, linewidth=0.8, linestyle=":")
    axes[0].axhline(np.exp(-1), color=theme.muted, linewidth=0.8, linestyle="--")
    axes[0].text(lags[-1], np.exp(-1), "1/e", color=theme.muted, ha="right", va="bottom", fontsize=form.font_points - 1)
    return figure
