"""The run that `stkit import` makes: what it says, what can be done with it, and what cannot."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import stkit
from stkit.interop import import_weights

from .conftest import Told
from .openstl_models import lightning, parameters, video

Command = Callable[..., Told]


def test_a_run_is_made_that_says_what_it_is(stkit_command: Command, predrnn_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ("--patch-size", 2, "--size", "16x16", "--input-steps", 4, "--horizon", 3)
    code, out, err = stkit_command("import", "openstl", predrnn_file, "-o", run, *options)
    assert (code, err) == (0, "")
    assert "OpenSTL's PredRNN" in out
    record = json.loads((run / "run.json").read_text())
    assert record["outcome"] == "imported"
    said = record["imported"]
    assert said["source"] == "openstl"
    assert said["architecture"] == "OpenSTL's PredRNN"
    assert said["semantics"] is None
    assert said["file"]["sha256"] == hashlib.sha256(predrnn_file.read_bytes()).hexdigest()
    assert said["patch_size"] == 2
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_it_loads_and_forecasts_as_the_model_in_the_file(predrnn_file: Path, tmp_path: Path) -> None:
    options = {"patch_size": 2, "size": (16, 16), "input_steps": 4, "horizon": 3}
    imported = import_weights("openstl", predrnn_file, tmp_path / "run", **options)
    trained = stkit.load(tmp_path / "run")
    context = video()[:, :4].float()
    with torch.no_grad():
        expected = imported.forecaster()(context, 3)
    torch.testing.assert_close(trained(context, 3), expected, rtol=0, atol=0)
    forecast = trained.warm(context).forecast
    torch.testing.assert_close(forecast, expected[:, 0], rtol=0, atol=0)


def test_frames_are_normalised_as_the_source_did(predrnn_file: Path, tmp_path: Path) -> None:
    options = {"patch_size": 2, "size": (16, 16), "input_steps": 4, "horizon": 3}
    imported = import_weights(
        "openstl", predrnn_file, tmp_path / "run", mean=(280.0,), std=(20.0,), variables=[("t2m", "K")], **options
    )
    trained = stkit.load(tmp_path / "run")
    context = video()[:, :4].float()
    with torch.no_grad():
        expected = imported.forecaster()(context, 3) * 20 + 280
    torch.testing.assert_close(trained(context * 20 + 280, 3), expected, rtol=1e-6, atol=1e-4)
    assert [(variable.name, variable.units) for variable in trained.pipeline.variables] == [("t2m", "K")]


def test_the_statistics_in_a_lightning_file_are_taken(tmp_path: Path) -> None:
    saved = lightning(parameters("PredRNN"), test_mean=np.full((1, 1, 1), 280.0, "f4"), test_std=np.float32(20.0))
    torch.save(saved, tmp_path / "best.ckpt")
    imported = import_weights("openstl", tmp_path / "best.ckpt", tmp_path / "run")
    assert imported.normalisation == ((280.0,), (20.0,))
    assert (imported.patch_size, imported.size, imported.input_steps, imported.horizon) == (2, (16, 16), 4, 4)
    trained = stkit.load(tmp_path / "run")
    assert trained.trained_steps == 120
    inside = trained.pipeline.forward(torch.full((1, 1, 16, 16), 300.0), None)
    assert inside.eq(1.0).all()


def test_predict_forecasts_from_a_file(stkit_command: Command, predrnn_file: Path, tmp_path: Path) -> None:
    run, fields = tmp_path / "run", tmp_path / "sst.nc"
    options = {"patch_size": 2, "size": (16, 16), "input_steps": 4, "horizon": 3, "variables": [("sst", "degC")]}
    import_weights("openstl", predrnn_file, run, **options)
    values = video()[0, :, 0].float().numpy()
    times = np.arange("2020-01", "2020-09", dtype="datetime64[M]").astype("datetime64[ns]")
    xr.Dataset(
        {"sst": (("time", "lat", "lon"), values, {"units": "degC"})},
        coords={
            "time": times,
            "lat": ("lat", np.arange(16.0), {"units": "degrees_north"}),
            "lon": ("lon", np.arange(16.0), {"units": "degrees_east"}),
        },
    ).to_netcdf(fields, engine="h5netcdf")
    code, _, err = stkit_command("predict", run, fields, "-o", tmp_path / "forecast.nc")
    assert (code, err) == (0, "")
    expected = stkit.load(run)(values[None, -4:, None], 3)[0, :, 0]
    with xr.open_dataset(tmp_path / "forecast.nc", engine="h5netcdf") as forecast:
        np.testing.assert_allclose(forecast["sst"].values.squeeze(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("resume",), "there is no training here to go on with"),
        (("eval",), "came without data"),
        (("recipe",), "came without data"),
    ],
)
def test_what_needs_training_or_data_is_refused(
    arguments: tuple[str, ...], says: str, stkit_command: Command, predrnn_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    import_weights("openstl", predrnn_file, run, patch_size=2, size=(16, 16))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    code, _, err = stkit_command(*arguments, run)
    assert code == 2
    assert says in err
    assert err.count("\n") == 1
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_the_recipe_of_an_imported_model_loads_again_and_is_listed(
    stkit_command: Command, predrnn_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "imported"
    import_weights("openstl", predrnn_file, run, patch_size=2, size=(16, 16))
    assert stkit_command("validate", run)[0] == 0
    code, out, _ = stkit_command("runs", tmp_path / "runs", "--json")
    assert code == 0
    [listed] = json.loads(out)
    assert listed["outcome"] == "imported"
    assert "predrnn.pth" in listed["reason"]


def test_the_assumed_version_is_told_and_recorded(stkit_command: Command, tmp_path: Path) -> None:
    file, run = tmp_path / "convlstm.pth", tmp_path / "run"
    torch.save(parameters("ConvLSTM"), file)
    code, out, err = stkit_command("import", "openstl", file, "-o", run, "--patch-size", 2, "--size", 16)
    assert code == 0
    assert "openstl-0.3" in out
    assert "Assumed is openstl-0.3" in err
    said = json.loads((run / "run.json").read_text())["imported"]
    assert said["semantics"] == "openstl-0.3"
    assert said["dropped"]["cell_list.0.conv_o.0.weight"] == "allocated there and never used"
    assert said["dropped"]["cell_list.1.conv_x.0.weight"].startswith("the gates i, f")


def test_json_on_request(stkit_command: Command, predrnn_file: Path, tmp_path: Path) -> None:
    options = ("--patch-size", 2, "--size", 16, "--json")
    code, out, _ = stkit_command("import", "openstl", predrnn_file, "-o", tmp_path / "run", *options)
    assert code == 0
    assert json.loads(out)["parameters"] == sum(value.numel() for value in parameters("PredRNN").values())
