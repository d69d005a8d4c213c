"""Draws the figures of the page on synthetic fields, from the package itself, before Sphinx reads the pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray
from sphinx.application import Sphinx

from stkit.data.synthetic_field import SyntheticField
from stkit.data.synthetic_field_config import SyntheticFieldConfig
from stkit.evaluate.figures.canvas import THEMES, WIDE, Theme, file_name, new_figure, png, style
from stkit.evaluate.figures.colours import FIELD_MAP
from stkit.run.files import write_bytes

Knobs = Mapping[str, Any]

GRID: Knobs = {"height": 28, "width": 40, "mean": 0.0, "noise_std": 0.0, "memory_steps": 20.0, "forcing_slope": 3.0}
MAPS: Mapping[str, Knobs] = {
    "still\n": {},
    "moving\nvelocity_x: 3": {"velocity_x": 3.0},
    "spreading\ndiffusion: 1": {"diffusion": 1.0},
    "white forcing\nforcing_slope: 0": {"forcing_slope": 0.0},
    "land, noise\nland_fraction: 0.3": {"velocity_x": 3.0, "land_fraction": 0.3, "noise_std": 0.4, "land_seed": 1},
}
SHOWN = (20, 22, 24)
SERIES: Mapping[str, Knobs] = {
    "steady": {},
    "trend and season": {"trend_per_step": 0.02, "season_amplitude": 1.5},
    "a random walk (memory_steps: null)": {"memory_steps": None},
    "a drifting variance": {"variance_drift_per_step": 0.015},
}
POINT: Knobs = {"height": 8, "width": 8, "steps": 180, "mean": 0.0, "memory_steps": 4.0, "seed": 3}
ERRORS: Mapping[str, Knobs] = {
    "still": {},
    "moving": {"velocity_x": 1.5},
    "a forcing that goes on": {"forcing_memory_steps": 4.0, "forcing_std": 0.15, "noise_std": 0.03},
}
LEADS, INPUT_STEPS = 8, 6


def field(*knobs: Knobs) -> SyntheticField:
    """A field with the knobs of all mappings, the later ones first."""
    merged = {key: value for mapping in knobs for key, value in mapping.items()}
    return SyntheticField(SyntheticFieldConfig(name="synthetic_field", **merged))


def maps(theme: Theme) -> Figure:
    """A column for each setting, a row for each step."""
    figure = new_figure(WIDE.width_inches, 3.9)
    axes = figure.subplots(len(SHOWN), len(MAPS), squeeze=False)
    for column, (title, knobs) in enumerate(MAPS.items()):
        made = field(GRID, {"steps": SHOWN[-1] + 1}, knobs)
        fields = made.read(0, made.steps)[list(SHOWN), 0]
        limit = float(np.nanpercentile(np.abs(fields), 99))
        for axis, step, shown in zip(axes[:, column], SHOWN, fields, strict=True):
            axis.set_facecolor(theme.land)
            shown = np.ma.masked_invalid(shown)
            axis.imshow(shown, cmap=FIELD_MAP, vmin=-limit, vmax=limit, origin="lower", aspect="equal")
            axis.xaxis.set_major_locator(NullLocator())
            axis.yaxis.set_major_locator(NullLocator())
            axis.spines[:].set_visible(False)
            if column == 0:
                axis.set_ylabel(f"step {step}")
        head, _, knob = title.partition("\n")
        axes[0, column].set_title(head, fontweight="bold", pad=16)
        place = axes[0, column].transAxes
        axes[0, column].text(0.5, 1.05, knob, ha="center", color=theme.muted, fontsize=7.5, transform=place)
    return figure


def series(theme: Theme) -> Figure:
    """One cell of four fields against time."""
    figure = new_figure(WIDE.width_inches, 3.6)
    axes = figure.subplots(2, 2, sharex=True).ravel()
    for axis, (title, knobs) in zip(axes, SERIES.items(), strict=True):
        made = field(POINT, knobs)
        axis.plot(made.times.astype("datetime64[D]"), made.read(0, made.steps)[:, 0, 4, 4], color=theme.series[0], lw=1)
        axis.set_title(title, loc="left", fontweight="bold")
        tidy(axis)
    for axis in axes[::2]:
        axis.set_ylabel("°C")
    return figure


def errors(theme: Theme) -> Figure:
    """Expected error against lead time: the best possible forecast, damped persistence and persistence."""
    figure = new_figure(WIDE.width_inches, 3.1)
    axes = figure.subplots(1, len(ERRORS), sharey=True)
    leads = np.arange(1, LEADS + 1)
    for axis, (title, knobs) in zip(axes, ERRORS.items(), strict=True):
        made = field({"steps": 20}, knobs)
        lines = zip(
            expected(made).items(), (theme.ink, theme.series[1], theme.series[2]), (None, "s", "^"), strict=True
        )
        for (name, squares), colour, mark in lines:
            wide = 1.4 if mark else 2.4
            axis.plot(leads, np.sqrt(squares), color=colour, marker=mark, markersize=4, linewidth=wide, label=name)
        axis.set_title(title, loc="left", fontweight="bold")
        axis.set_xlabel("lead time [steps]")
        tidy(axis)
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("expected RMSE [°C]")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


def expected(made: SyntheticField) -> dict[str, NDArray[np.float64]]:
    """Squared error by lead time, from the law."""
    law = made.law
    now = later = law.prior(0)
    lags = []
    for _ in range(LEADS):
        later = law.step @ later
        lags.append(later[..., 0, 0].real.mean())
    lag, total = np.array(lags), now[..., 0, 0].real.mean() + law.noise_variance
    return {
        "best possible, from 6 steps": made.optimum(INPUT_STEPS).squared_error(0, LEADS)[:, 0],
        "damped persistence": total - lag**2 / total,
        "persistence": 2 * (total - lag),
    }


def tidy(axis: Axes) -> None:
    """A light grid and no box."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y")
    axis.set_axisbelow(True)
    axis.yaxis.set_major_locator(MaxNLocator(5))


FIGURES: Mapping[str, Callable[[Theme], Figure]] = {
    "synthetic-fields": maps,
    "synthetic-series": series,
    "synthetic-errors": errors,
}


def write(folder: Path) -> None:
    """The figures in ``folder``, light and dark."""
    for stem, make in FIGURES.items():
        for theme in THEMES:
            with style(theme, WIDE):
                write_bytes(folder / file_name(stem, theme, WIDE), png(make(theme)))


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "generated"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
