from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stkit.data.packaged.fields import damaged_file
from stkit.data.prepare import open_source, prepare
from stkit.data.source import PARTS, ArraySource, FieldSource, SequenceSource
from stkit.errors import DataError, UsageError
from tests.data.fields import config, dataset, months, seasonal, with_land, write

PACKAGED = ["sst_ostia", "wind_navy", "moving_mnist"]


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_data_are_there_with_their_terms(name: str) -> None:
    source = open_source(config(dataset={"name": name}).dataset)
    assert isinstance(source, (FieldSource, SequenceSource))
    assert source.name == name
    assert source.licence
    assert source.citation
    assert all(variable.units for variable in source.variables)


def test_packaged_files_are_whole_and_their_licences_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from stkit.data.packaged import fields

    assert damaged_file() is None
    licences = Path(fields.packaged_path("LICENCES.md")).read_text(encoding="utf-8")
    for name in fields.SHA256:
        assert f"`{name}`" in licences
    monkeypatch.setitem(fields.SHA256, "wind_navy_1982_1992.nc", "0" * 64)
    assert damaged_file() == "packaged data wind_navy_1982_1992.nc is damaged; install stkit-torch again"
    monkeypatch.setitem(fields.SHA256, "absent.nc", "0" * 64)
    monkeypatch.delitem(fields.SHA256, "wind_navy_1982_1992.nc")
    assert str(damaged_file()).startswith("packaged data absent.nc: No such file")


def test_the_packaged_sea_surface_temperature() -> None:
    chosen = config(
        input_steps=3,
        horizon=3,
        split={"train": "2006-04..2008-12", "validation": "2009-02..2009-09", "test": "2009-11..2010-09"},
        transforms={"anomaly": "month"},
        extra_inputs=["calendar", "mask"],
        departure_from="damped_anomaly",
        crop={"height": 18, "width": 96},
    )
    data = prepare(chosen, 0)
    assert (data.grid, data.state_channels, data.known_channels) == ((18, 432), 1, 3)
    assert [data.split_summary[part]["windows"] for part in PARTS] == [28, 3, 6]
    assert data.split_summary["test"]["first"] == "2009-11-16"
    assert isinstance(data.source, FieldSource)
    assert data.source.valid.mean() == pytest.approx(1 - 0.264, abs=0.001)
    assert data.source.step_name == "month"
    assert torch.equal(data.pipeline.valid[0], torch.from_numpy(data.source.valid))
    batch = data.stream(0, 8).batch(0)
    assert batch["frames"].shape == (8, 6, 1, 18, 96)
    assert all(value.isfinite().all() for value in batch.values())


@pytest.mark.parametrize("name", PACKAGED)
def test_all_parts_of_packaged_data_have_windows(name: str) -> None:
    data = prepare(config(dataset={"name": name}), 0)
    for part in PARTS:
        windows = getattr(data, part)
        assert len(windows) > 0
        assert windows[0]["frames"].shape[0] == 5
        assert windows[0]["frames"].isfinite().all()
        assert windows.part == part


def test_a_file_of_the_user(tmp_path: Path) -> None:
    fields = with_land(seasonal(60, height=7, width=5))
    path = write(tmp_path, dataset(fields[:, 0], months(60)))
    chosen = {"dataset": {"name": "netcdf", "path": path}, "transforms": {"anomaly": "month", "standardise": "cell"}}
    data = prepare(config(**chosen), 0)
    same = prepare(config(**chosen | {"dataset": {"name": "netcdf", "path": path, "memory_mb": 0}}), 0)
    assert data.grid == (7, 5)
    assert not data.pipeline.valid[:, 0].any()
    for part in PARTS:
        for one, other in zip(getattr(data, part), getattr(same, part), strict=True):
            assert all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.parametrize(
    ("fields", "values", "message"),
    [
        (np.full((60, 4, 5), np.nan), {}, r"sst: every value of the training part is missing \(NaN\)"),
        (
            seasonal(9)[:, 0],
            {"input_steps": 3, "horizon": 3},
            r"the train part has 4 time steps .* one window needs 6 ",
        ),
        (seasonal(60)[:, 0], {"crop": {"height": 9, "width": 2}}, "data.crop: 9 x 2 cells do not fit .* 4 x 5"),
        (seasonal(12)[:, 0], {"input_steps": 1, "horizon": 1, "transforms": {"anomaly": "month"}}, "lacks Aug, Sep"),
    ],
)
def test_what_is_refused(tmp_path: Path, fields: np.ndarray, values: dict[str, Any], message: str) -> None:
    path = write(tmp_path, dataset(fields, months(len(fields))))
    with pytest.raises(UsageError, match=message):
        prepare(config(dataset={"name": "netcdf", "path": path}, **values), 0)


def test_an_array_must_fit_together() -> None:
    fields = seasonal(6)
    with pytest.raises(DataError, match=r"must be time x variable x height x width, got shape \(6, 4, 5\)"):
        ArraySource(fields[:, 0])
    with pytest.raises(DataError, match="6 fields but 5 times"):
        ArraySource(fields, months(5))
    with pytest.raises(DataError, match="1 channels but 2 variables"):
        ArraySource(fields, variables=open_source(config(dataset={"name": "wind_navy"}).dataset).variables)
    with pytest.raises(DataError, match="must strictly increase"):
        ArraySource(fields, months(6)[::-1])


@pytest.mark.parametrize(
    "module",
    [
        "stkit.data",
        "stkit.data.netcdf_config",
        "stkit.data.moving_mnist_config",
        "stkit.data.packaged.config",
        "stkit.data.packaged.fields",
    ],
)
def test_what_the_command_line_imports_is_light(module: str) -> None:
    heavy = "[name for name in ('torch', 'xarray', 'h5netcdf', 'timm', 'matplotlib') if name in sys.modules]"
    code = f"import sys, {module}; found = {heavy}; sys.exit(', '.join(found) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
