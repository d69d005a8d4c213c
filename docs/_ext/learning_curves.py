"""The learning curves of the small recipes, drawn from their run records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from stkit.evaluate.figures.canvas import Format, Theme, draw, new_figure

CELLS_OF_A_FRAME = 64 * 64
ENDING = "-mnist-small"
TITLES = {
    "convlstm": "ConvLSTM",
    "predrnn": "PredRNN",
    "predrnnpp": "PredRNN++",
    "e3d-lstm": "E3D-LSTM",
    "mim": "MIM",
}


def curves(records: Path) -> dict[str, Sequence[tuple[int, float, float]]]:
    """For each small run that is recorded: step, minutes, squared error of the validation forecasts over a frame."""
    found = {}
    for name, title in TITLES.items():
        path = records / f"{name}{ENDING}.json"
        if path.is_file():
            lines = json.loads(path.read_text(encoding="utf-8"))["curve"]["validation"]
            found[title] = [(line["step"], line["seconds"] / 60, squared_error(line)) for line in lines]
    return found


def squared_error(line: Mapping[str, Any]) -> float:
    """Of a line of validation, summed over the frame: the loss itself, or its term of that kind."""
    error: float = line.get("terms", {}).get("l2", line["loss"])
    return error * CELLS_OF_A_FRAME


def mean_frame(records: Path) -> float:
    """The same error of the mean frame of the training digits, on the test sequences."""
    path = next(iter(sorted(records.glob(f"*{ENDING}.json"))))
    (variable,) = json.loads(path.read_text(encoding="utf-8"))["scores"]["variables"].values()
    errors: list[float] = variable["scores"]["climatology"]["mse_per_frame"]
    return sum(errors) / len(errors)


def figure_of(
    found: Mapping[str, Sequence[tuple[int, float, float]]], bar: float, theme: Theme, form: Format
) -> Figure:
    """Error against steps, and against minutes of training; dashed, the bar to beat."""
    figure = new_figure(form.width_inches, 6.4 if form.narrow else 3.6)
    axes = figure.subplots(2, 1, sharey=True) if form.narrow else figure.subplots(1, 2, sharey=True)
    for place, (axis, label) in enumerate(zip(axes, ("optimiser steps", "minutes of training"), strict=True)):
        for (title, points), colour in zip(found.items(), theme.series, strict=False):
            axis.plot([point[place] for point in points], [point[2] for point in points], color=colour, label=title)
        axis.axhline(bar, color=theme.muted, linestyle="--", linewidth=1, label="mean frame")
        axis.set_xlabel(label)
        axis.grid(axis="y")
        axis.spines[["top", "right"]].set_visible(False)
        if form.narrow or not place:
            axis.set_ylabel("squared error, summed over the frame")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3 if form.narrow else 6)
    return figure


def write(records: Path, folder: Path) -> None:
    """The figure in ``folder``, light and dark, wide and narrow."""
    found, bar = curves(records), mean_frame(records)
    draw(folder, "learning-curves", lambda theme, form: figure_of(found, bar, theme, form))
