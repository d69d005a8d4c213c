"""Errors of each cell: those of plain NumPy, the same in batches and over processes, on shared cells only."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from stkit.evaluate.cell_errors import CellErrors
from stkit.evaluate.scores import Scores
from stkit.run.directory import RunDirectory

NAMES = ("model", "persistence", "climatology", "optimal")
SHAPE = (7, 5, 2, 3, 4)  # B L C H W


@pytest.fixture
def fields() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=SHAPE).astype(np.float32)
    forecasts = {name: (truth + rng.normal(size=SHAPE)).astype(np.float32) for name in NAMES}
    truth[:, :, :, 0, 0] = np.nan
    truth[2, 4, 1, 1, 1] = np.nan
    forecasts["persistence"][3, 0, 0, 2, 2] = np.nan
    return truth, forecasts


def added(truth: np.ndarray, forecasts: dict[str, np.ndarray], parts: list[slice]) -> CellErrors:
    cells = CellErrors(NAMES, leads=SHAPE[1], variables=SHAPE[2], height=SHAPE[3], width=SHAPE[4])
    for part in parts:
        cells.add(truth[part], {name: forecast[part] for name, forecast in forecasts.items()})
    return cells


def test_against_numpy(fields: tuple) -> None:
    truth, forecasts = fields
    cells = added(truth, forecasts, [slice(0, 7)])
    assert cells.leads == (0, 2, 4), "the first, the middle and the last"
    shared = np.isfinite(truth + sum(forecasts.values()))
    for name in NAMES:
        squared = np.where(shared, (forecasts[name].astype(float) - truth) ** 2, np.nan)
        expected = np.ma.masked_invalid(squared[:, [0, 2, 4]]).mean(axis=0).filled(np.nan)
        np.testing.assert_allclose(cells.squared_error(name), expected, rtol=1e-6)
    assert cells.count[0, 0, 2, 2] == 6
    assert cells.count[0, 0, 0, 0] == 0
    skill = cells.skill("persistence")
    assert np.isnan(skill[:, :, 0, 0]).all()
    expected = 1 - cells.squared_error("model") / cells.squared_error("persistence")
    np.testing.assert_allclose(skill, expected)


def test_batches_and_processes_give_what_the_whole_gives(fields: tuple) -> None:
    truth, forecasts = fields
    whole = added(truth, forecasts, [slice(0, 7)])
    batches = added(truth, forecasts, [slice(0, 3), slice(3, 4), slice(4, 7)])
    one, other = added(truth, forecasts, [slice(0, 4)]), added(truth, forecasts, [slice(4, 7)])
    one.replace(one.vector() + other.vector())
    for found in (batches, one):
        np.testing.assert_allclose(found.vector(), whole.vector(), rtol=1e-12)


def test_the_hardest_baseline_is_no_reference(fields: tuple) -> None:
    truth, forecasts = fields
    forecasts["optimal"] = truth.copy()
    forecasts["climatology"] = truth + 0.1 * (forecasts["climatology"] - truth)
    cells = added(truth, forecasts, [slice(0, 7)])
    assert cells.hardest(0) == "climatology"
    truth[:, :, 1] = np.nan
    nothing = added(truth, forecasts, [slice(0, 7)])
    assert nothing.hardest(1) is None, "nothing was scored"
    alone = CellErrors(("model",), leads=1, variables=1, height=1, width=1)
    alone.add(np.zeros((1, 1, 1, 1, 1)), {"model": np.ones((1, 1, 1, 1, 1))})
    assert alone.hardest(0) is None


def test_a_perfect_baseline_leaves_the_skill_undefined() -> None:
    cells = CellErrors(("model", "persistence"), leads=1, variables=1, height=1, width=1)
    zeros = np.zeros((2, 1, 1, 1, 1))
    cells.add(zeros, {"model": zeros + 1, "persistence": zeros})
    assert np.isnan(cells.skill("persistence")).all()


def test_the_file_holds_the_error_and_the_skill_of_each_cell(trained: RunDirectory) -> None:
    with xr.open_dataset(trained.skill, engine="h5netcdf", decode_timedelta=False) as told:
        scores = Scores.read(trained.scores)
        assert list(told.forecast.values) == list(scores.forecasts)
        assert told.sst_skill.dims == ("baseline", "lead_time", "latitude", "longitude")
        assert told.sst_squared_error.attrs["units"] == "(degC)2"
        assert list(told.lead_time.values) == [1, 2]
        assert told.sst_windows.max() <= scores.windows
        model, persistence = (told.sst_squared_error.sel(forecast=name) for name in ("model", "persistence"))
        np.testing.assert_allclose(told.sst_skill.sel(baseline="persistence"), 1 - model / persistence, rtol=1e-12)
        # Weighted by area and windows, the cells give the score of the field.
        weights = told.sst_windows * np.cos(np.deg2rad(told.latitude))
        mean = (model * weights).sum(("latitude", "longitude")) / weights.sum(("latitude", "longitude"))
        np.testing.assert_allclose(np.sqrt(mean), scores.variables["sst"].scores["model"]["rmse"], rtol=1e-10)
