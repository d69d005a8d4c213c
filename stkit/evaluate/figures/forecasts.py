"""The figures of a run's forecasts: where it has skill, and maps and an animation for each window that is shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stkit.data.prepare import PreparedData
from stkit.evaluate.cell_errors import CellErrors
from stkit.evaluate.figures.animation import draw_animation
from stkit.evaluate.figures.maps import draw_maps
from stkit.evaluate.figures.shown import Shown
from stkit.evaluate.figures.skill_maps import draw_skill_maps
from stkit.evaluate.report.record import write_index
from stkit.evaluate.summary import time_text


def draw_forecasts(
    folder: Path, data: PreparedData, forecasts: Mapping[int, NDArray[np.float32]], cells: CellErrors
) -> None:
    """Draw maps of the skill and windows of the test part, and note what was drawn.

    Args:
        folder: where the figures go.
        data: what the windows are taken from.
        forecasts: for the number of each window that is shown its forecast ``L C H W``, physical units.
        cells: the errors of each cell over the whole test part.
    """
    drawn = [
        draw_skill_maps(folder, cells, data.tested, channel)
        for channel in range(len(data.tested.variables))
        if cells.hardest(channel) is not None
    ]
    for index, fields in sorted(forecasts.items()):
        shown = _shown(data, index, fields)
        for channel in range(len(shown.variables)):
            drawn.append(draw_maps(folder, shown, channel))
            drawn.append(draw_animation(folder, shown, channel))
    write_index(folder, drawn)


def _shown(data: PreparedData, index: int, forecast: NDArray[np.float32]) -> Shown:
    fields, times, _ = data.test.raw(index)
    known = data.config.input_steps
    values = fields.numpy()
    return Shown(
        context=values[:known],
        truth=values[known:],
        forecast=forecast,
        variables=data.tested.variables,
        grid=data.tested.grid,
        lead_unit=data.tested.step_name,
        times=None if times is None else tuple(time_text(time, data.pipeline.step) for time in times),
        number=index + 1,
    )
