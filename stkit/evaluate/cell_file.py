"""``skill.nc``: the error and the skill of each cell, as maps that other programs read.

For each variable ``NAME_squared_error(forecast, lead_time, y, x)``, the mean over the windows, and
``NAME_skill(baseline, lead_time, y, x)``, ``1 - MSE / MSE of the baseline``; ``windows(lead_time, y, x)`` says of how
many each is. The lead times are those of the report's maps: the first, the middle and the last.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stkit.data.source import FieldSource, SequenceSource
from stkit.evaluate.cell_errors import CellErrors
from stkit.evaluate.forecast_layout import Layout, horizontal, lead_unit
from stkit.evaluate.scores import REFERENCES
from stkit.run.files import told_when_full


def write_skill(path: Path, cells: CellErrors, source: FieldSource | SequenceSource) -> None:
    """Write the file; nothing is left of it where that fails.

    Args:
        path: of the file.
        cells: the errors of each cell over the whole test part.
        source: the data.

    Raises:
        DiskFull: so is the disk.
    """
    import xarray as xr

    step = source.typical_step if isinstance(source, FieldSource) else None
    layout = Layout(source.variables, source.grid, 1, len(cells.leads), step, None, None)
    count, unit = lead_unit(step)
    rows, columns = layout.axes
    baselines = [name for name in cells.forecasts if name != "model" and name not in REFERENCES]
    coords: dict[str, Any] = {
        "forecast": list(cells.forecasts),
        "baseline": np.array(baselines, dtype=object),
        "lead_time": ("lead_time", [count * (lead + 1) for lead in cells.leads], {"units": unit}),
    }
    for entry in horizontal(layout):
        coords[entry.name] = (entry.dims, entry.values, dict(entry.attributes))
    space = ("lead_time", rows, columns)
    fields: dict[str, Any] = {}
    for channel, variable in enumerate(source.variables):
        errors = np.stack([cells.squared_error(name)[:, channel] for name in cells.forecasts])
        told = {"long_name": f"mean squared error of {variable.name}", "units": _squared(variable.units)}
        fields[f"{variable.name}_squared_error"] = (("forecast", *space), errors, told)
        if baselines:
            skill = np.stack([cells.skill(name)[:, channel] for name in baselines])
            told = {"long_name": f"skill of {variable.name}: 1 - MSE / MSE of the baseline", "units": "1"}
            fields[f"{variable.name}_skill"] = (("baseline", *space), skill, told)
        windows = {"long_name": f"windows in which {variable.name} was scored", "units": "1"}
        fields[f"{variable.name}_windows"] = (space, cells.count[:, channel].astype(np.int32), windows)
    title = "error and skill of each cell over the test part"
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with told_when_full(path):
            made = xr.Dataset(fields, coords, {"Conventions": "CF-1.8", "title": title})
            made.to_netcdf(unfinished, engine="h5netcdf")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _squared(units: str) -> str:
    return units if units in ("", "1") else f"({units})2"
