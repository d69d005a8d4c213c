"""The data set ``zarr``: what NetCDF gives, from stores; what is missing or damaged is told."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from stkit.data.prepare import open_source, prepare
from stkit.data.zarr_config import ZarrConfig
from stkit.data.zarr_store import ZarrSource
from stkit.errors import DataError
from tests.data.fields import config, dataset, months, seasonal


def field(seed: int = 0, steps: int = 24) -> np.ndarray:
    return seasonal(steps, height=4, width=6, seed=seed)[:, 0]


def store(path: Path | str, data: xr.Dataset, zarr_format: int = 3, consolidated: bool | None = None) -> str:
    chunks = {"sst": {"chunks": (5, 4, 3)}}
    data.to_zarr(str(path), mode="w", zarr_format=zarr_format, consolidated=consolidated, encoding=chunks)
    return str(path)


def opened(path: Any, **values: Any) -> ZarrSource:
    return ZarrSource(ZarrConfig(name="zarr", path=path, **values))


@pytest.mark.parametrize(("zarr_format", "consolidated"), [(2, True), (2, False), (3, False)])
@pytest.mark.parametrize("memory_mb", [0, 1024])
def test_a_store_is_what_was_written(tmp_path: Path, zarr_format: int, consolidated: bool, memory_mb: int) -> None:
    values = field()
    values[:, 0] = np.nan
    path = store(tmp_path / "sst.zarr", dataset(values, months(24)), zarr_format, consolidated)
    source = opened(path, memory_mb=memory_mb)
    np.testing.assert_array_equal(source.read(3, 17)[:, 0], values[3:17])
    np.testing.assert_array_equal(source.times, months(24))
    assert (source.name, source.variables[0].units) == ("sst.zarr", "degC")
    assert source.latitude is not None


def test_an_address_that_fsspec_knows() -> None:
    values = field()
    store("memory://stkit-test/sst.zarr", dataset(values, months(24)), 2, True)
    source = opened("memory://stkit-test/sst.zarr", memory_mb=0)
    np.testing.assert_array_equal(source.read(0, 24)[:, 0], values)


def test_stores_follow_each_other(tmp_path: Path) -> None:
    paths = [
        store(tmp_path / f"{i}.zarr", dataset(field(i, 12), months(24)[12 * i : 12 * i + 12]), 2, True) for i in (0, 1)
    ]
    source = opened(paths)
    assert source.name == "2 stores"
    np.testing.assert_array_equal(source.read(10, 14)[:, 0], np.concatenate([field(0, 12), field(1, 12)])[10:14])


def test_windows_of_a_recipe(tmp_path: Path) -> None:
    path = store(tmp_path / "sst.zarr", dataset(field(steps=60), months(60)), 2, True)
    chosen = config(dataset={"name": "zarr", "path": path, "memory_mb": 0})
    assert isinstance(open_source(chosen.dataset), ZarrSource)
    batches = list(prepare(chosen, 0).stream(0, 4).batches(0, 2, workers=1))
    expected = prepare(chosen, 0).stream(0, 4).batch(1)
    np.testing.assert_array_equal(batches[1]["frames"], expected["frames"])


def refused(path: Any, message: str, **values: Any) -> None:
    with pytest.raises(DataError, match=message):
        opened(path, **values).read(0, 24)


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path / "sst.zarr", dataset(field(), months(24)), 2, True)
    refused(path.replace("sst", "sts"), r"no such store: '.*sts\.zarr' .*did you mean 'sst\.zarr'")
    refused(str(tmp_path / "none" / "a.zarr"), "there is no folder")
    refused((), "'path' names no store")
    refused(path, "no variable 'sss'; it has sst; did you mean 'sst'", variables=["sss"])
    refused("nowhere://bucket/a.zarr", r"nowhere://bucket/a\.zarr: cannot be read as Zarr")
    (tmp_path / "text.zarr").write_text("no store")
    refused(str(tmp_path / "text.zarr"), "cannot be read as Zarr")
    (tmp_path / "empty.zarr").mkdir()
    refused(str(tmp_path / "empty.zarr"), "cannot be read as Zarr")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused(path, r"reading Zarr needs zarr: pip install 'stkit-torch\[zarr\]'")


def test_a_chunk_that_is_cut_short(tmp_path: Path) -> None:
    path = Path(store(tmp_path / "sst.zarr", dataset(field(), months(24)), 2, True))
    chunk = path / "sst" / "2.0.1"
    chunk.write_bytes(chunk.read_bytes()[:10])
    refused(str(path), r"sst\.zarr: cannot read 'sst'; the file may be cut short")


def test_predicting_from_a_run_on_a_store_takes_a_netcdf_file_or_a_store(tmp_path: Path) -> None:
    """The way the store was read holds for another file."""
    from stkit.predict.inputs import open_input
    from stkit.recipe import from_dict
    from stkit.run.execute import execute
    from stkit.run.load import load

    values = field(steps=60)
    path = store(tmp_path / "sst.zarr", dataset(values, months(60)), 2, True)
    recipe = {
        "data": {"dataset": {"name": "zarr", "path": path}, "input_steps": 3, "horizon": 2},
        "model": {"name": "convlstm", "layers": [2]},
        "train": {"steps": 1, "batch_size": 2, "loss": {"name": "mse"}, "sampling": {"name": "none"}},
    }
    run = execute(from_dict(recipe, name="store"), out=tmp_path / "run", evaluate=False).run.path
    shutil.rmtree(path)
    new = tmp_path / "new.nc"
    dataset(values, months(60)).to_netcdf(new, engine="h5netcdf")
    other = Path(store(tmp_path / "other.zarr", dataset(values, months(60)), 2, True))
    for path in (new, other):
        np.testing.assert_array_equal(open_input(path, load(run)).read(0, 60)[:, 0], values)
    with pytest.raises(DataError, match="no such store"):
        open_input(tmp_path / "none.zarr", load(run))
