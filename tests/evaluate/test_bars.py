"""Baselines on real fields that are not shipped: the values that were measured independently are met.

They need the folder that the environment variable ``STKIT_TEST_DATA`` names, with ``sst_ersst5_2010_2020.nc`` (NOAA
ERSST v5) and ``radar_knmi_20100826.nc``, ``radar_fmi_20170509.nc`` (pysteps-data as NetCDF).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from stkit.data.netcdf import NetcdfSource
from stkit.data.netcdf_config import NetcdfConfig
from stkit.data.record import SpanRecord
from stkit.evaluate.baselines import Baseline, Climatology, DampedAnomaly, Persistence
from stkit.evaluate.eof_linear import EofLinear
from stkit.evaluate.extrapolation import Extrapolation
from stkit.evaluate.metric import Comparison, area_weights
from tests.evaluate.test_events import metric

FOLDER = os.environ.get("STKIT_TEST_DATA")
pytestmark = pytest.mark.skipif(FOLDER is None, reason="STKIT_TEST_DATA names no folder with the fields of this test")


def opened(name: str, variable: str) -> NetcdfSource:
    assert FOLDER is not None
    path = Path(FOLDER) / name
    if not path.exists():
        pytest.skip(f"{name} is not in the folder that STKIT_TEST_DATA names")
    return NetcdfSource(NetcdfConfig(name="netcdf", path=str(path), variables=(variable,)))


def test_sea_surface_temperature_of_the_globe() -> None:
    """Trained on 2010 to 2016; for each lead time the forecasts of the 20 months from 2019-01 on."""
    sst = opened("sst_ersst5_2010_2020.nc", "sst")
    assert sst.times is not None
    fields, times = torch.from_numpy(sst.read(0, sst.steps)), sst.times
    weights = torch.from_numpy(area_weights(sst.latitude, *sst.grid.shape))

    def rmse(baseline: Baseline) -> list[float]:
        baseline.fit(SpanRecord(sst, 0, 84))
        found = []
        for lead in range(1, 11):
            targets = np.arange(108, 128)
            known = targets[:, None] - lead - 5 + np.arange(6)
            ahead = times[targets[:, None] - lead + np.arange(1, lead + 1)]
            said = baseline.forecast(fields[torch.from_numpy(known)], times[known], ahead)[:, -1]
            both = (said.isfinite() & fields[108:].isfinite()) * weights
            error = torch.where(both > 0, said - fields[108:], 0.0).double().square()
            found.append(float(((both * error).sum() / both.sum()).sqrt()))
        return found

    damped = [0.347, 0.444, 0.484, 0.502, 0.510, 0.517, 0.521, 0.523, 0.525, 0.526]
    assert rmse(DampedAnomaly()) == pytest.approx(damped, abs=0.0015)
    assert rmse(Climatology()) == pytest.approx([0.543] * 10, abs=0.001)
    persistence = rmse(Persistence())
    assert (persistence[0], max(persistence)) == pytest.approx((1.09, 3.89), abs=0.01)
    assert rmse(EofLinear(horizon=10))[0] < 0.37


@pytest.mark.parametrize(
    ("name", "persistence", "extrapolation"),
    [
        ("radar_knmi_20100826.nc", {1: 0.58, 3: 0.38, 6: 0.25, 12: 0.14}, {1: 0.80, 3: 0.63, 6: 0.48, 12: 0.28}),
        ("radar_fmi_20170509.nc", {1: 0.26, 3: 0.05, 6: 0.02}, {1: 0.44, 3: 0.25, 6: 0.15}),
    ],
)
def test_rain(name: str, persistence: dict[int, float], extrapolation: dict[int, float]) -> None:
    """CSI at 1 mm/h over the central 192 x 192 cells, from contexts of four frames, every fourth start."""
    rain = opened(name, "rain_rate")
    fields = torch.from_numpy(rain.read(0, rain.steps))
    one, leads, inner = metric(name="csi", threshold=1.0), max(persistence), (..., slice(32, 224), slice(32, 224))
    sums: dict[str, np.ndarray] = {}
    for start in range(4, rain.steps - leads + 1, 4):
        truth = fields[start : start + leads][inner][None].double().numpy()
        for baseline in (Persistence(), Extrapolation()):
            said = baseline.forecast(fields[start - 4 : start][None], None, leads)[inner].double().numpy()
            counted = np.isfinite(said) & np.isfinite(truth)
            found = one.sums(Comparison(said, truth, counted, np.ones((192, 192)))).sum(axis=0)
            sums[baseline.name] = sums.get(baseline.name, 0) + found
    for lead in persistence:
        stays, moves = (float(one.score(sums[name])[lead - 1, 0]) for name in ("persistence", "extrapolation"))
        assert stays == pytest.approx(persistence[lead], abs=0.03)
        assert moves > extrapolation[lead] - 0.02, f"lead {lead}"
