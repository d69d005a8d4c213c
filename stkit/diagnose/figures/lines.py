"""Line charts of a diagnosis: gates, gradients, RECALL's ages, the overlap of increments, stationarity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from stkit.diagnose.attention import memories_there
from stkit.diagnose.figures.axes import MARKERS, as_percent, lead_ticks, legend, line, panels, tidy
from stkit.diagnose.gates import CLAIM, memories
from stkit.diagnose.result import Diagnosis
from stkit.diagnose.stationarity import DIFFERENCE, HIDDEN, MADE, READ, of_white_noise
from stkit.evaluate.figures.canvas import Drawn, Format, Theme, draw
from stkit.evaluate.words import percent

KIND = "diagnosis"
_WIDE_RANGE, _LONG_RANGE = 30, 1000
"""Largest over smallest share from which the axis is logarithmic, and from which powers of ten are marks enough."""
_SIGNALS = {HIDDEN: "hidden state H", DIFFERENCE: "its difference", READ: READ, MADE: MADE}


def draw_gates(folder: Path, found: Diagnosis) -> Drawn | None:
    """Share of saturated forget gates by step, a panel for each memory; None where there are no gates."""
    if not found.gates:
        return None
    stem = f"{KIND}-gates"
    draw(folder, stem, lambda theme, form: _gates(found, theme, form))
    names = ", ".join(memories(found.gates))
    return Drawn(
        stem=stem,
        title="Saturated forget gates",
        alt=f"Line charts of the share of saturated forget gates against lead time, by layer, for {names}.",
        caption=(
            f"Share of each layer's forget gates below {found.bounds.below:g} or above {found.bounds.above:g}, over "
            f"channels, cells with a value and windows. A gate near 1 passes its memory on as it is, one near 0 drops "
            f"it. Lines near the top mean that the memory's rule hardly depends on the field; the dotted line is the "
            f"MIM paper's figure for PredRNN on radar maps ({percent(CLAIM)}), given there without bounds."
        ),
    )


def draw_gradients(folder: Path, found: Diagnosis) -> Drawn | None:
    """Norm of the gradient by input frame, a line for each run; None where there is none."""
    if not any(sum(flow.norms) > 0 for flow in found.gradients):
        return None
    stem = f"{KIND}-gradients"
    draw(folder, stem, lambda theme, form: _gradients(found, theme, form))
    several = len(found.gradients) > 1
    told = (
        "All runs are on the same windows. A highway or an attention that keeps early frames in reach lifts its line "
        "on the left; one seed of each does not prove it."
        if several
        else "A line that falls to the left by orders of magnitude means that the first frames count for nothing; a "
        "run beside it shows whether that is the data or the model."
    )
    return Drawn(
        stem=stem,
        title="Gradient flow",
        alt="Line chart of the norm of the gradient of the last frame's error with respect to each input frame.",
        caption=(
            "How strongly the squared error of the last forecast frame depends on each input frame: the norm of its "
            "gradient (as in PredRNN++), mean over windows, as a share of the sum over all input frames. On the dotted "
            f"line all frames count alike. {told}"
        ),
    )


def draw_ages(folder: Path, found: Diagnosis) -> Drawn | None:
    """Weights of RECALL by age, a panel for the first and the last lead time; None without RECALL."""
    if not found.ages:
        return None
    stem = f"{KIND}-recall"
    draw(folder, stem, lambda theme, form: _ages(found, theme, form))
    return Drawn(
        stem=stem,
        title="RECALL: weight by age",
        alt="Line charts of the weight that RECALL puts on memories of each age, by layer, at two lead times.",
        caption=(
            "Share of RECALL's weight on the memory of so many steps ago, mean over queries and windows. On the dotted "
            "line all memories count alike: RECALL then averages, and recalls nothing in particular."
        ),
    )


def draw_overlaps(folder: Path, found: Diagnosis) -> Drawn | None:
    """``|cos|`` of the increments of C and M by step; None where no cell hands them out."""
    if not found.overlaps:
        return None
    stem = f"{KIND}-decoupling"
    draw(folder, stem, lambda theme, form: _overlaps(found, theme, form))
    return Drawn(
        stem=stem,
        title="Overlap of the two memories",
        alt="Line chart of the absolute cosine between the increments of C and M against lead time, by layer.",
        caption=(
            "Whether C and M learn the same: |cos| between what a step adds to them, over the grid, mean over channels "
            "and windows. 0: nothing in common, 1: the same. PredRNN-V2's loss pushes it down; smooth fields overlap "
            "somewhat by chance."
        ),
    )


def draw_stationarity(folder: Path, found: Diagnosis) -> Drawn | None:
    """Trend share and lag-1 correlation of hidden states and their differences by layer; None where nothing varies."""
    if not found.drifts:
        return None
    stem = f"{KIND}-stationarity"
    draw(folder, stem, lambda theme, form: _stationarity(found, theme, form))
    mim = " D is what MIM-N makes; further left than what it reads is more stationary." if found.comparisons else ""
    return Drawn(
        stem=stem,
        title="Stationarity of what is carried",
        alt="Dot charts of the trend share and the lag-1 correlation of hidden states and their differences, by layer.",
        caption=(
            "First the share of the variance in time that a straight line explains, then the correlation of "
            f"neighbouring steps, over {found.drift_steps} steps of a window, all channels and cells pooled. The "
            f"dotted line is what values without any order in time would give. Far right of it is a drift.{mim} The "
            "first steps of a window start from empty memories, which drifts by itself."
        ),
    )


def _gates(found: Diagnosis, theme: Theme, form: Format) -> Figure:
    names = memories(found.gates)
    figure, axes = panels(len(names), form, across=4 if len(names) == 4 else 3)
    for axis, memory in zip(axes, names, strict=True):
        for one in found.gates:
            if one.memory == memory:
                leads = [found.leads[step] for step in one.steps]
                line(axis, leads, one.saturated, one.layer - 1, theme, found.layer(one.layer))
        axis.axhline(CLAIM, color=theme.muted, linewidth=1, linestyle=":", zorder=1)
        axis.set_title(f"forget gate of {memory}", loc="left", fontweight="bold")
        axis.set_ylim(-0.02, 1.02)
        axis.yaxis.set_major_formatter(as_percent)
        lead_ticks(axis, found.leads, found.lead_unit, theme)
        tidy(axis)
    legend(figure, axes, form)
    return figure


def _gradients(found: Diagnosis, theme: Theme, form: Format) -> Figure:
    figure, (axis,) = panels(1, form)
    shown = [flow for flow in found.gradients if sum(flow.norms) > 0]
    shares = [np.array(flow.norms) / sum(flow.norms) for flow in shown]
    for number, (flow, share) in enumerate(zip(shown, shares, strict=True)):
        line(axis, range(1 - len(share), 1), share.tolist(), number, theme, flow.name)
    values = np.concatenate(shares)
    axis.axhline(1 / len(shares[0]), color=theme.muted, linewidth=1, linestyle=":", zorder=1)
    if (values > 0).all() and values.max() > _WIDE_RANGE * values.min():
        axis.set_yscale("log")
        between = (1, 2, 5) if values.max() < _LONG_RANGE * values.min() else (1,)
        axis.yaxis.set_major_locator(LogLocator(subs=between))
        axis.yaxis.set_major_formatter(as_percent)
        axis.yaxis.set_minor_formatter(NullFormatter())
    else:
        axis.set_ylim(bottom=0)
        axis.yaxis.set_major_formatter(as_percent)
    axis.set_title("share of the gradient of the last frame's error", loc="left", fontweight="bold")
    unit = found.lead_unit
    axis.set_xlabel(
        f"input frame [{unit}s before the last one]" if " " not in unit else f"input frame [steps of {unit}]"
    )
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, steps=[1, 2, 5, 10]))
    tidy(axis)
    if len(shown) > 1:
        legend(figure, [axis], form)
    return figure


def _ages(found: Diagnosis, theme: Theme, form: Format) -> Figure:
    chosen = list(dict.fromkeys((1, found.leads[-1])))
    figure, axes = panels(len(chosen), form)
    for axis, lead in zip(axes, chosen, strict=True):
        step = found.leads.index(lead)
        here = [(ages.layer, ages.weights[ages.steps.index(step)]) for ages in found.ages if step in ages.steps]
        for number, (layer, weights) in enumerate(here):
            line(axis, range(-len(weights), 0), weights, number, theme, found.layer(layer))
        for there in {memories_there(weights) for _, weights in here}:
            axis.axhline(1 / there, color=theme.muted, linewidth=1, linestyle=":", zorder=1)
        axis.set_title(f"at lead time {lead}", loc="left", fontweight="bold")
        axis.set_xlabel("memory [steps ago]")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.yaxis.set_major_formatter(as_percent)
        axis.set_ylim(0, 1.15 * max((max(weights) for _, weights in here), default=1.0))
        tidy(axis)
    legend(figure, axes, form)
    return figure


def _overlaps(found: Diagnosis, theme: Theme, form: Format) -> Figure:
    figure, (axis,) = panels(1, form)
    for one in found.overlaps:
        line(axis, found.leads, one.cosine, one.layer - 1, theme, found.layer(one.layer))
    axis.set_ylim(0, max(1.2 * max(max(one.cosine) for one in found.overlaps), 0.1))
    axis.set_title("|cos| of the increments of C and M", loc="left", fontweight="bold")
    lead_ticks(axis, found.leads, found.lead_unit, theme)
    tidy(axis)
    legend(figure, [axis], form)
    return figure


def _stationarity(found: Diagnosis, theme: Theme, form: Format) -> Figure:
    layers = sorted({one.layer for one in found.drifts}, reverse=True)
    figure, axes = panels(2, form)
    noise = of_white_noise(found.drift_steps)
    for axis, name, expected in zip(axes, ("trend_share", "lag1"), noise, strict=True):
        for number, (signal, words) in enumerate(_SIGNALS.items()):
            here = [one for one in found.drifts if one.signal == signal]
            if here:
                axis.plot(
                    [getattr(one, name) for one in here],
                    [layers.index(one.layer) + 0.14 * (1.5 - number) for one in here],
                    linestyle="none",
                    marker=MARKERS[number],
                    markersize=6,
                    color=theme.series[number],
                    label=words,
                )
        axis.axvline(expected, color=theme.muted, linewidth=1, linestyle=":", zorder=1)
        axis.set_yticks(range(len(layers)), [f"layer {layer}" for layer in layers])
        axis.set_ylim(-0.5, len(layers) - 0.5)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="x")
        axis.set_axisbelow(True)
    axes[0].set_title("explained by a straight line", loc="left", fontweight="bold")
    axes[0].xaxis.set_major_formatter(as_percent)
    axes[0].set_xlim(left=0)
    axes[1].set_title("correlation of neighbouring steps", loc="left", fontweight="bold")
    legend(figure, axes, form)
    return figure
