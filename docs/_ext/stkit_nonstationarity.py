"""Draws what each module for non-stationary fields says and leaves, with the modules themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sphinx.application import Sphinx
from torch import Tensor

from stkit.data.synthetic_field import SyntheticField
from stkit.data.synthetic_field_config import SyntheticFieldConfig
from stkit.evaluate.figures.canvas import THEMES, WIDE, Theme, file_name, new_figure, png, style
from stkit.plugin.manager import plugins
from stkit.run.files import write_bytes
from stkit.stacks import NonStationary, NonStationarySite

MODULES: Mapping[str, Mapping[str, Any]] = {
    "differencing": {"name": "differencing"},
    "differencing\norder: 0, season: 12": {"name": "differencing", "order": 0, "season": 12},
    "reversible_norm": {"name": "reversible_norm"},
    "trend_season\nseason: 12": {"name": "trend_season", "season": 12},
}
STEPS, CONTEXT = 54, 36
CELL = (3, 4)


def frames() -> Tensor:
    """``1 T 1 H W``: a field with a trend, a season and a memory of some steps."""
    knobs = {"height": 8, "width": 8, "steps": STEPS, "mean": 15.0, "memory_steps": 4.0, "forcing_std": 0.35}
    change = {"trend_per_step": 0.06, "season_amplitude": 1.5, "season_period_steps": 12, "seed": 6}
    field = SyntheticField(SyntheticFieldConfig(name="synthetic_field", **knobs, **change))
    return torch.from_numpy(field.read(0, STEPS))[None]


def module(values: Mapping[str, Any]) -> NonStationary:
    """As a recipe would build it."""
    spec = plugins().resolve("modules", values["name"], slot="nonstationary")
    made: NonStationary = spec.load_target().from_config(spec.load_config()(**values), NonStationarySite(1, None))
    return made


@torch.no_grad()
def walked(values: Mapping[str, Any], field: Tensor) -> tuple[Tensor, Tensor]:
    """At one cell: what the network sees of the context, and what it says that says zero, from the second step on."""
    made, memory = module(values), None
    zero = torch.zeros_like(field[:, 0])
    memory = made.initial_memory(1, *field.shape[-2:])
    seen, said = [], []
    for t in range(STEPS):
        if t:
            said.append(made.decode(zero, memory))
        if t < CONTEXT:
            z, memory = made.encode(field[:, t], memory)
            seen.append(z)
        else:
            _, memory = made.feed(said[-1], memory)
    return tuple(torch.stack(parts)[:, 0, 0, *CELL] for parts in (seen, said))


def figure_of(theme: Theme) -> Figure:
    """A row for each module: the cell with the module's own forecasts, and what is left of it for the network."""
    figure = new_figure(WIDE.width_inches, 7.2)
    axes = figure.subplots(len(MODULES), 2, sharex="col", width_ratios=(STEPS, CONTEXT), squeeze=False)
    field = frames()
    series = field[0, :, 0, *CELL]
    for (left, right), (title, values), colour in zip(axes, MODULES.items(), theme.series, strict=False):
        seen, said = walked(values, field)
        left.plot(range(CONTEXT), series[:CONTEXT], color=theme.ink, linewidth=1.3, label="the field at one cell")
        left.plot(range(CONTEXT - 1, STEPS), series[CONTEXT - 1 :], color=theme.muted, linewidth=1, label="what came")
        left.plot(range(1, CONTEXT), said[: CONTEXT - 1], color=colour, linewidth=1)
        left.plot(range(CONTEXT, STEPS), said[CONTEXT - 1 :], color=colour, linewidth=2.2)
        left.axvspan(CONTEXT - 0.5, STEPS, color=theme.rule, alpha=0.5, linewidth=0)
        left.set_ylabel(title)
        right.axhline(0, color=theme.muted, linewidth=0.8)
        right.plot(range(CONTEXT), seen, color=colour, linewidth=1.3)
        for axis in (left, right):
            tidy(axis)
    axes[0, 0].set_title("what is known before each step (thin), and carried on (thick)", loc="left")
    axes[0, 1].set_title("what the network sees", loc="left")
    for axis in axes[-1]:
        axis.set_xlabel("step")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def tidy(axis: Axes) -> None:
    """A light grid and no box."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y")
    axis.set_axisbelow(True)
    axis.margins(x=0.01)
    axis.yaxis.set_major_locator(MaxNLocator(4))


def write(folder: Path) -> None:
    """The figure in ``folder``, light and dark."""
    for theme in THEMES:
        with style(theme, WIDE):
            write_bytes(folder / file_name("nonstationarity", theme, WIDE), png(figure_of(theme)))


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "generated"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
