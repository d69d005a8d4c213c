"""Lines of scores against lead time, and of the loss over the steps."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from stkit.evaluate.figures.canvas import (
    Drawn,
    Format,
    Theme,
    draw,
    legend,
    new_figure,
    plain_numbers,
    stem_of,
)
from stkit.evaluate.scores import Ends, PerLead, Scores
from stkit.evaluate.verdict import spoken
from stkit.evaluate.words import lead_axis

_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
_PANEL_INCHES = 2.5
_FULL_RANGE_FACTOR = 20.0
_DODGE = 0.08
"""Lead times between the bars of two baselines."""
_MANY_LEADS = 12
_MOST_TICKS = 10
_SHADED = "; shaded and as bars: 95 % intervals"


class _Panel(NamedTuple):
    title: str
    lines: Mapping[str, PerLead]
    kind: Literal["error", "skill", "likeness"]
    intervals: Mapping[str, Sequence[Ends]]


def draw_scores(folder: Path, scores: Scores, variable: str) -> Drawn:
    """Draw the scores of one variable against lead time into ``folder``, with their intervals where there are any."""
    stem = stem_of("scores", variable)
    panels = _panels(scores, variable)
    draw(folder, stem, lambda theme, form: _scores_figure(scores, panels, theme, form))
    shown = any(ends is not None for panel in panels for row in panel.intervals.values() for ends in row)
    return Drawn(
        stem=stem,
        title=f"{variable} against lead time",
        alt=(
            f"Line charts of {', '.join(panel.title for panel in panels)} against lead time "
            f"for {', '.join(map(spoken, scores.forecasts))}."
        ),
        caption=(
            f"Scores against lead time, on the same cells for every forecast{_SHADED if shown else ''}. "
            "A skill below −1 is off the chart."
        ),
    )


def draw_loss(folder: Path, lines: Sequence[Mapping[str, Any]], best_step: int | None) -> Drawn | None:
    """Draw training and validation loss over the steps into ``folder``; None where there is no line to draw.

    Args:
        folder: where the figure goes.
        lines: the lines of ``metrics.jsonl``.
        best_step: the step whose weights were kept.
    """
    train, validation = (_series(lines, kind) for kind in ("train", "validation"))
    if not len(train[0]) and not len(validation[0]):
        return None
    draw(folder, "loss", lambda theme, form: _loss_figure(train, validation, best_step, theme, form))
    best = f" The best validation loss was at step {best_step}." if best_step is not None else ""
    return Drawn(
        stem="loss",
        title="Loss",
        alt=f"Line chart of the training and validation loss over {int(max(train[0].max(initial=0), 1))} steps.{best}",
        caption=(
            "Loss over optimiser steps, in the model's own units. "
            "The weights of the best validation loss are the ones that were tested."
        ),
    )


_ERRORS = ("rmse", "mse_per_frame", "mae", "mse")
_LIKENESSES = ("acc_centred", "acc_uncentred", "ssim_range1")


def _panels(scores: Scores, variable: str) -> list[_Panel]:
    """What is drawn: the first score, an error, the skill, and a score of likeness."""
    found = scores.variables[variable]
    known = [name for name in scores.metrics if any(value is not None for value in found.scores["model"][name])]
    first = known[:1]
    error = next(([name] for name in _ERRORS if name in known), [])
    likeness = next(([name] for name in _LIKENESSES if name in known), [])
    chosen = [_panel(scores, variable, name) for name in dict.fromkeys([*first, *error])]
    if found.skill:
        chosen.append(_Panel("skill of the model", found.skill, "skill", found.intervals.skill))
    return chosen + [_panel(scores, variable, name) for name in likeness if name not in first]


def _panel(scores: Scores, variable: str, name: str) -> _Panel:
    found, info = scores.variables[variable], scores.metrics[name]
    values = {forecast: found.scores[forecast][name] for forecast in scores.forecasts}
    kind: Literal["error", "likeness"] = "error" if name in _ERRORS else "likeness"
    return _Panel(info.title(found.units), values, kind, {"model": found.intervals.scores.get(name, ())})


def _scores_figure(scores: Scores, panels: Sequence[_Panel], theme: Theme, form: Format) -> Figure:
    across = 1 if form.narrow else len(panels)
    down = len(panels) if form.narrow else 1
    figure = new_figure(form.width_inches, down * _PANEL_INCHES + 0.6)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis, panel in zip(axes, panels, strict=True):
        for place, (name, row) in enumerate(panel.lines.items()):
            ends = panel.intervals.get(name, ())
            if panel.kind == "skill":
                # Side by side, so that bars do not hide each other.
                _line(axis, scores, name, row, theme, shift=_DODGE * (place - (len(panel.lines) - 1) / 2))
                _bars(axis, scores, name, row, ends, theme, _DODGE * (place - (len(panel.lines) - 1) / 2))
            else:
                _line(axis, scores, name, row, theme)
                _band(axis, scores, ends, theme)
        axis.set_title(panel.title, loc="left", fontweight="bold")
        axis.set_xlabel(lead_axis(scores.lead_unit))
        axis.xaxis.set_major_locator(FixedLocator(lead_ticks(scores.lead_steps)))
        margin = 0.25 if len(scores.lead_steps) < 5 else 0.5
        axis.set_xlim(scores.lead_steps[0] - margin, scores.lead_steps[-1] + margin)
        if panel.kind == "error":
            axis.set_ylim(bottom=0)
        if panel.kind == "skill":
            axis.axhline(0, color=theme.muted, linewidth=1.0, zorder=1)
            axis.set_ylim(*_skill_limits(panel))
        _tidy(axis)
    legend(figure, form, 2 if form.narrow else 5)
    return figure


def lead_ticks(leads: Sequence[int]) -> list[int]:
    """Whole lead times for an axis, evenly spaced, at most ten."""
    step = next(step for step in itertools.count(1) if len(leads) <= step * _MOST_TICKS)
    return [lead for lead in leads if lead % step == 0 or step == 1]


def _line(axis: Axes, scores: Scores, name: str, row: PerLead, theme: Theme, shift: float = 0.0) -> None:
    number = list(scores.forecasts).index(name)
    # A lead time without a score breaks the line.
    axis.plot(
        [lead + shift for lead in scores.lead_steps],
        [np.nan if value is None else value for value in row],
        color=theme.series[number % len(theme.series)],
        marker=_MARKERS[number % len(_MARKERS)],
        linestyle=_DASHES[number % len(_DASHES)],
        linewidth=2.2 if name == "model" else 1.4,
        markersize=(5 if name == "model" else 4) * (1 if len(scores.lead_steps) <= _MANY_LEADS else 0.6),
        zorder=3 if name == "model" else 2,
        label=spoken(name),
    )


def _band(axis: Axes, scores: Scores, ends: Sequence[Ends], theme: Theme) -> None:
    if ends:
        low, high = ([np.nan if one is None else one[side] for one in ends] for side in (0, 1))
        axis.fill_between(scores.lead_steps, low, high, color=theme.series[0], alpha=0.2, linewidth=0, zorder=1)


def _bars(
    axis: Axes, scores: Scores, name: str, row: PerLead, ends: Sequence[Ends], theme: Theme, shift: float
) -> None:
    colour = theme.series[list(scores.forecasts).index(name) % len(theme.series)]
    for lead, value, one in zip(scores.lead_steps, row, ends, strict=False):
        if value is not None and one is not None:
            axis.plot([lead + shift] * 2, one, color=colour, linewidth=1.4, alpha=0.8, zorder=2)


def _skill_limits(panel: _Panel) -> tuple[float, float]:
    """Room for the skill, with zero in sight; a skill far below zero is cut off at -1."""
    known = [v for row in panel.lines.values() for v in row if v is not None]
    known += [end for row in panel.intervals.values() for ends in row if ends is not None for end in ends]
    low, high = min([0.0, *known]), max([0.0, *known])
    low = max(low, -1.0)
    margin = 0.08 * max(high - low, 0.1)
    return low - margin, high + margin


def _loss_figure(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    best_step: int | None,
    theme: Theme,
    form: Format,
) -> Figure:
    figure = new_figure(form.width_inches, _PANEL_INCHES + 0.3)
    axis = figure.subplots()
    axis.plot(*train, color=theme.series[0], linewidth=1.2, label="training")
    axis.plot(
        *validation, color=theme.series[1], linewidth=2, marker="o", markersize=3.5, linestyle="--", label="validation"
    )
    at_best = validation[1][validation[0] == best_step] if best_step is not None else []
    if len(at_best):
        axis.axvline(float(best_step or 0), color=theme.muted, linewidth=1, linestyle=":", zorder=1)
        axis.plot(
            [float(best_step or 0)],
            [at_best[-1]],
            marker="*",
            markersize=13,
            color=theme.series[1],
            markeredgecolor=theme.paper,
            linestyle="none",
            label=f"best, step {best_step}",
            zorder=4,
        )
    everything = np.concatenate([train[1], validation[1]])
    positive = everything[everything > 0]
    if len(positive) == len(everything) and positive.max() > _FULL_RANGE_FACTOR * positive.min():
        axis.set_yscale("log")
        plain_numbers(axis.yaxis)
    axis.set_xlabel("optimiser step")
    axis.set_title("loss", loc="left", fontweight="bold")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6 if form.narrow else 9, steps=[1, 2, 5, 10]))
    _tidy(axis)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


def _series(lines: Sequence[Mapping[str, Any]], kind: str) -> tuple[np.ndarray, np.ndarray]:
    found = [line for line in lines if line.get("kind") == kind and isinstance(line.get("loss"), (int, float))]
    steps = np.array([line["step"] for line in found], dtype=np.float64)
    loss = np.array([line["loss"] for line in found], dtype=np.float64)
    return steps[np.isfinite(loss)], loss[np.isfinite(loss)]


def _tidy(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y")
    axis.set_axisbelow(True)
