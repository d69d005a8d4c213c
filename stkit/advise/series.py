"""The record that is examined: a sample of a field's cells as time series.

Axes: ``T`` time, ``D`` sampled cells, ``H W`` grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from stkit.data.calendar import Times, as_text, breaks
from stkit.data.source import FieldSource, Variable
from stkit.errors import DataError, UsageError, nearest, suggest

FEWEST_STEPS = 30
"""With fewer the tests cannot tell a random walk from noise."""
MOST_MISSING = 0.1
"""Share of a cell's steps that may be missing; they are put in by straight lines."""


@dataclass(frozen=True)
class Sample:
    """Series of some cells, each standing for a block of the grid.

    Attributes:
        source: where they come from.
        variable: of which variable.
        times: ``T``; None where the record only counts steps.
        rows: ``D``, row of each cell.
        columns: ``D``.
        block: side of the blocks, in cells.
        values: ``T D``, in the variable's units, nothing missing.
        valid_cells: cells of the grid that are no land.
        constant_cells: sampled cells that never change, or as trend and season only, left out.
        patchy_cells: sampled cells of which too much is missing, left out.
        span: the examined stretch of the record, in words.
        steps_of_record: length of the whole record; only its longest stretch without a gap is examined.
    """

    source: FieldSource
    variable: Variable
    times: Times | None
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    block: int
    values: NDArray[np.float64]
    valid_cells: int
    constant_cells: int
    patchy_cells: int
    span: str
    steps_of_record: int

    @property
    def steps(self) -> int:
        """``T``."""
        return len(self.values)

    @property
    def cells(self) -> int:
        """``D``."""
        return int(self.values.shape[1])


def open_field(reference: str, settings: dict[str, Any] | None = None, variable: str | None = None) -> FieldSource:
    """The field of a NetCDF file, or of a data set by its name; a file of that exact name wins.

    Args:
        reference: path or name.
        settings: settings of the data set, as under ``data.dataset`` in a recipe.
        variable: the variable that will be examined; a NetCDF file is opened with it alone.

    Raises:
        UsageError: if there is neither such a file nor such a data set, or a setting does not fit.
        DataError: if the file cannot be read, or the data have no record in time.
    """
    from stkit.plugin.manager import plugins

    names = plugins().names("datasets")
    given: dict[str, Any] = dict(settings or {})
    name = reference
    if reference not in names or Path(reference).is_file():
        if not (Path(reference).expanduser().exists() or any(sign in reference for sign in "*?[")):
            near = nearest(reference, names) or nearest(reference, _neighbours(reference))
            hint = f"did you mean {near[0]!r}?" if near else f"data sets by name: {', '.join(names)}"
            raise UsageError(f"{reference}: there is no such file, and no data set of that name; {hint}")
        name = "netcdf"
        given = {"path": reference, **given}
        if variable is not None:
            given.setdefault("variables", [variable])
    spec = plugins().resolve("datasets", name)
    try:
        config = spec.load_config().model_validate({"name": name, **given})
    except ValidationError as error:
        raise UsageError(f"{reference}: {_settings_problem(error, spec.load_config())}") from None
    source = spec.load_target().from_config(config)
    if not isinstance(source, FieldSource):
        raise DataError(f"{reference}: its sequences have no common time, so there is nothing that could be stationary")
    return source


def take_sample(source: FieldSource, variable: str | None, most_cells: int) -> Sample:
    """Series of at most so many cells, spread evenly over the field: one for each square block that has a valid cell.

    Raises:
        DataError: if there is no such variable, no valid cell, the record is too short, or nothing in it changes.
    """
    channel = _channel(source, variable)
    start, stop = _longest_stretch(source)
    if stop - start < FEWEST_STEPS:
        whole = "" if stop - start == source.steps else ", its longest stretch without a gap in time"
        raise DataError(
            f"{source.name}: the record has {stop - start} time steps{whole}; "
            f"tests of stationarity need {FEWEST_STEPS} or more"
        )
    valid = _valid(source, channel)
    if not valid.any():
        raise DataError(
            f"{source.name}: every value of {source.variables[channel].name!r} is missing: it is all land, or the fill "
            "value is another one (missing_values=[...])"
        )
    rows, columns, block = _spread(valid, most_cells)
    values = np.concatenate(
        [source.read(*piece)[:, channel, rows, columns].astype(np.float64) for piece in source.pieces(start, stop)]
    )
    known = np.isfinite(values)
    whole_enough = known.mean(axis=0) >= 1 - MOST_MISSING
    filled = _filled(values[:, whole_enough], known[:, whole_enough])
    changes = np.ptp(filled, axis=0) > 0
    kept = np.flatnonzero(whole_enough)[changes]
    if not whole_enough.any():
        raise DataError(
            f"{source.name}: of each of the {len(rows)} cells that were looked at, more than {MOST_MISSING:.0%} of the "
            "steps are missing: tests of stationarity need a record without large gaps"
        )
    if not changes.any():
        raise DataError(
            f"{source.name}: {source.variables[channel].name!r} is constant in time: there is nothing to test"
        )
    times = None if source.times is None else source.times[start:stop]
    return Sample(
        source=source,
        variable=source.variables[channel],
        times=times,
        rows=rows[kept],
        columns=columns[kept],
        block=block,
        values=filled[:, changes],
        valid_cells=int(valid.sum()),
        constant_cells=int((~changes).sum()),
        patchy_cells=int((~whole_enough).sum()),
        span=f"{stop - start} steps" if times is None else f"{as_text(times[0])} to {as_text(times[-1])}",
        steps_of_record=source.steps,
    )


def _channel(source: FieldSource, variable: str | None) -> int:
    names = [one.name for one in source.variables]
    if variable is None:
        if len(names) > 1:
            raise DataError(f"{source.name}: which of its variables? name one with --variable: {', '.join(names)}")
        return 0
    if variable not in names:
        raise DataError(f"{source.name}: there is no variable {variable!r}; {suggest(variable, names)}")
    return names.index(variable)


def _longest_stretch(source: FieldSource) -> tuple[int, int]:
    """First and last step (exclusive) of the longest stretch without a gap in time."""
    jumps = [] if source.times is None else [int(at) + 1 for at in breaks(source.times)]
    borders = [0, *jumps, source.steps]
    return max(pairwise(borders), key=lambda piece: piece[1] - piece[0])


def _valid(source: FieldSource, channel: int) -> NDArray[np.bool_]:
    found = np.zeros(source.grid.shape, dtype=bool)
    for piece in source.pieces(0, source.steps):
        found |= np.isfinite(source.read(*piece)[:, channel]).any(axis=0)
    return found if source.mask is None else found & source.mask


def _spread(valid: NDArray[np.bool_], most: int) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Rows, columns and block: the valid cell nearest to the middle of each block, for the smallest blocks possible."""
    rows, columns = np.nonzero(valid)
    across = valid.shape[1]
    block = max(1, int(np.sqrt(len(rows) / most)))
    while True:
        number = rows // block * (across // block + 1) + columns // block
        count = len(np.unique(number))
        if count <= most:
            break
        block += 1
    middle = (block - 1) / 2
    away = (rows % block - middle) ** 2 + (columns % block - middle) ** 2
    order = np.lexsort((away, number))
    _, first = np.unique(number[order], return_index=True)
    chosen = order[first]
    return rows[chosen], columns[chosen], block


def _filled(values: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Straight lines across what is missing; the nearest value at the ends."""
    out = values.copy()
    steps = np.arange(len(values))
    for cell in np.flatnonzero(~known.all(axis=0)):
        there = known[:, cell]
        out[~there, cell] = np.interp(steps[~there], steps[there], values[there, cell])
    return out


def _neighbours(reference: str) -> Sequence[str]:
    """Files beside the one that is not there."""
    folder = Path(reference).expanduser().parent
    try:
        return [str(path) for path in sorted(folder.iterdir()) if path.suffix in (".nc", ".nc4", ".cdf")]
    except OSError:
        return []


def _settings_problem(error: ValidationError, config: Any) -> str:
    told = []
    for one in error.errors():
        where = ".".join(str(part) for part in one["loc"])
        if one["type"] == "extra_forbidden":
            known = [name for name in config.model_fields if name != "name"]
            told.append(f"there is no setting {where!r}; {suggest(where, known) or 'it has none'}")
        elif one["type"] == "missing":
            told.append(f"the setting {where!r} is missing: write {where}=...")
        else:
            message = str(one["msg"]).removeprefix("Value error, ")
            told.append(f"{where}: {message[:1].lower()}{message[1:]}" if where else message)
    return "; ".join(told)
