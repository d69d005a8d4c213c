"""State, forcing, static and target variables: through windows, a run, its scores and a forecast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from stkit.cli.main import run as stkit
from stkit.data.pipeline import Pipeline
from stkit.data.prepare import from_source, prepare
from stkit.data.roles import select_fields
from stkit.data.source import ArraySource, Variable
from stkit.errors import DataError, RecipeError
from stkit.recipe import from_dict
from stkit.run.execute import execute
from stkit.run.load import TrainedForecaster, load
from tests.data.fields import config, months, write

STEPS, HEIGHT, WIDTH = 60, 4, 5
ROLES = {"forcing": ["wind"], "static": ["depth"], "target": ["chl"]}
NAMES = ("wind", "sst", "depth", "chl")


def arrays(steps: int = STEPS) -> dict[str, np.ndarray]:
    """The state follows the wind of its own time, so that a forecast gains by knowing it."""
    rng = np.random.default_rng(0)
    wind = rng.normal(3, 2, (steps, HEIGHT, WIDTH))
    sst = 15 + wind + 0.1 * rng.normal(size=wind.shape)
    depth = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 100.0
    chl = np.exp(0.5 * sst - 8)
    sst[:, 0, 0] = chl[:, 0, 0] = depth[0, 0] = np.nan
    return {"wind": wind, "sst": sst, "depth": np.broadcast_to(depth, wind.shape), "chl": chl}


def record(**changes: np.ndarray) -> ArraySource:
    fields = np.stack([(arrays() | changes)[name] for name in NAMES], axis=1).astype(np.float32)
    return ArraySource(fields, months(STEPS), [Variable(name) for name in NAMES], name="record")


def roles(**values: Any) -> Any:
    return config(roles=ROLES, extra_inputs=["calendar"], **values)


def test_each_role_has_its_place_in_a_sample() -> None:
    data = from_source(roles(transforms={"standardise": "none"}), record(), 0)
    assert (data.state_channels, data.forecast_channels, data.known_channels) == (1, 2, 4)
    assert data.pipeline.known_names == ("season_sin", "season_cos", "depth", "wind")
    assert [variable.name for variable in data.source.variables] == ["sst", "chl"]
    sample, there = data.train[3], arrays()
    np.testing.assert_allclose(sample["frames"][:, 0], np.nan_to_num(there["sst"][3:8]), rtol=1e-6)
    np.testing.assert_allclose(sample["frames"][:, 1], np.nan_to_num(there["chl"][3:8]), rtol=1e-6)
    np.testing.assert_allclose(sample["known"][:, 2], np.nan_to_num(there["depth"][3:8]), rtol=1e-6)
    np.testing.assert_allclose(sample["known"][:, 3], there["wind"][3:8], rtol=1e-6)
    raw = data.train.raw(3)
    assert raw.forcing is not None
    np.testing.assert_allclose(raw.forcing[:, 0], there["wind"][3:8], rtol=1e-6)
    assert raw.fields[:, :, 0, 0].isnan().all()


def test_known_fields_are_standardised_by_the_training_part() -> None:
    data = from_source(roles(), record(), 0)
    stop = data.split_summary["train"]["stop"]
    assert isinstance(stop, int)
    seen = torch.cat([data.train[index]["known"][:, 2:] for index in range(0, len(data.train), 5)])
    depth, wind = seen[:, 0], seen[:, 1]
    assert abs(depth[0].flatten()[1:].mean()) < 1e-5
    assert depth[0].flatten()[1:].std(correction=0) == pytest.approx(1, abs=1e-5)
    train = arrays()["wind"][:stop]
    np.testing.assert_allclose(wind[0], (train[0] - train.mean()) / train.std(), atol=1e-4)


def test_variables_with_transforms_of_their_own() -> None:
    transforms = {"anomaly": "month", "variables": {"chl": {"log_offset": 0.1}, "depth": {"standardise": "none"}}}
    data = from_source(roles(transforms=transforms), record(), 0)
    kinds = [transform.settings() for transform in data.pipeline.transforms]
    assert [(said["of"], said["channels"]) for said in kinds] == [
        ("anomaly", "0"),
        ("standardise", "0"),
        ("log", "1"),
        ("standardise", "1"),
    ]
    raw, sample = data.test.raw(0), data.test[0]
    both = data.pipeline.inverse(sample["frames"], raw.times)
    torch.testing.assert_close(both, raw.fields, rtol=1e-4, atol=1e-3, equal_nan=True)
    log = np.log1p(arrays()["chl"] / 0.1)
    stop = data.split_summary["train"]["stop"]
    assert isinstance(stop, int)
    mean, deviation = np.nanmean(log[:stop]), np.nanstd(log[:stop])
    first = data.test.start(0)
    np.testing.assert_allclose(
        sample["frames"][:, 1], np.nan_to_num((log[first : first + 5] - mean) / deviation), atol=1e-3
    )
    np.testing.assert_allclose(sample["known"][0, 2], np.nan_to_num(arrays()["depth"][0]), rtol=1e-6)


def test_the_gradient_goes_through_a_transform_of_one_variable() -> None:
    data = from_source(roles(transforms={"variables": {"chl": {"log_offset": 0.1}}}), record(), 0)
    frames = data.test[0]["frames"].clone().requires_grad_()
    data.pipeline.inverse(frames, data.test.raw(0).times).nan_to_num().sum().backward()
    assert frames.grad is not None
    assert (frames.grad[..., 1:, 1:] != 0).all()


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    data = from_source(roles(transforms={"variables": {"wind": {"standardise": "cell"}}}), record(), 0)
    data.pipeline.save(tmp_path)
    loaded, raw = Pipeline.load(tmp_path), data.test.raw(0)
    assert loaded.inputs == data.pipeline.inputs
    assert (loaded.targets, loaded.known_names) == (1, data.pipeline.known_names)
    torch.testing.assert_close(loaded.known(raw.times, 5, forcing=raw.forcing), data.test[0]["known"])
    torch.testing.assert_close(loaded.forward(raw.fields, raw.times), data.test[0]["frames"])


def test_a_crop_of_known_fields() -> None:
    data = from_source(roles(crop={"height": 2, "width": 3}), record(), 0)
    stream = data.stream(seed=1, global_batch=2)
    batch, box, index = stream.batch(0), stream.boxes(0)[0], stream.indices(0)[0]
    assert box is not None
    rows, columns = box.slices
    torch.testing.assert_close(batch["known"][0], data.train[index]["known"][..., rows, columns])


def test_latitude_as_an_input() -> None:
    from tests.data.fields import source

    data = from_source(config(extra_inputs=["latitude"]), source(), 0)
    known = data.train[0]["known"]
    np.testing.assert_allclose(known[0, 0, :, 2], np.sin(np.deg2rad([0, 2, 4, 6])), atol=1e-6)
    with pytest.raises(DataError, match="'latitude' needs rows with a latitude"):
        from_source(config(extra_inputs=["latitude"]), record(), 0)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"forcing": ["wnd"]}, r"data.roles.forcing: record has no variable 'wnd'; .*did you mean 'wind'"),
        ({"forcing": list(NAMES)}, "leave at least one as the state"),
        ({"static": ["wind"]}, "'wind' of record changes in time: name it as forcing"),
    ],
)
def test_roles_that_do_not_fit(said: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_source(config(roles=said), record(), 0)


def test_a_known_field_without_a_value() -> None:
    with pytest.raises(DataError, match="wind: every value of the training part is missing"):
        from_source(roles(), record(wind=np.full((STEPS, HEIGHT, WIDTH), np.nan)), 0)
    with pytest.raises(DataError, match="depth: every value of the static variable is missing"):
        from_source(roles(), record(depth=np.full((STEPS, HEIGHT, WIDTH), np.nan)), 0)


def test_the_mask_of_the_state_does_not_hide_the_forcing() -> None:
    class Masked(ArraySource):
        def moving_mask(self, start: int, stop: int) -> np.ndarray:
            mask = np.ones((stop - start, HEIGHT, WIDTH), bool)
            mask[:, 1] = False
            return mask

    whole = record()
    source = Masked(whole.fields, whole.times, whole.variables, name="record")
    assert np.isnan(select_fields(source, [1, 3]).read(0, 2)[:, :, 1]).all()
    data = from_source(roles(), source, 0)
    assert not data.train[0]["valid"][:, :, 1].any()
    assert (data.train[0]["known"][:, 3, 1] != 0).all()


def test_roles_of_sequences(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    fields = rng.normal(size=(10, 6, 4, HEIGHT, WIDTH)).astype(np.float32)
    fields[:, :, 2] = fields[0, 0, 2]
    path = tmp_path / "sequences.npy"
    values = {"dataset": {"name": "arrays", "path": str(path), "axes": "NTCHW", "variables": list(NAMES)}}
    values |= {"roles": ROLES, "split": {"train": 0.6, "validation": 0.2, "test": 0.2}}
    values |= {"transforms": {"standardise": "none"}}
    np.save(path, fields)
    data = prepare(config(**values), 0)
    assert data.pipeline.known_names == ("depth", "wind")
    sample = data.test[1]
    np.testing.assert_allclose(sample["frames"], fields[8, 1:6, [1, 3]].swapaxes(0, 1), rtol=1e-6)
    np.testing.assert_allclose(sample["known"], fields[8, 1:6, [2, 0]].swapaxes(0, 1), rtol=1e-6)
    for place in ((5, 3, 2, 1, 1), (0, 3, 2, 1, 1)):
        other = fields.copy()
        other[place] += 1
        np.save(path, other)
        with pytest.raises(DataError, match=r"'depth' of .* changes from frame to frame or from sequence to sequence"):
            prepare(config(**values), 0)


def test_a_test_record_brings_its_own_forcing(tmp_path: Path) -> None:
    """And none of its static variables: those are of the cells, and the cells are the same."""
    first = write(tmp_path, dataset(), "first.nc")
    other = dataset(24).assign_coords(time=months(24, "2012-01"))
    other["wind"] = other.wind + 7
    data = prepare(
        config(
            dataset={"name": "netcdf", "path": first, "variables": list(NAMES)},
            test_dataset={"name": "netcdf", "path": write(tmp_path, other, "other.nc"), "variables": list(NAMES)},
            roles=ROLES,
            transforms={"standardise": "none"},
            split={"train": "2000-01..2003-12", "validation": "2004-02..2004-12", "test": None},
        ),
        0,
    )
    assert len(data.test) == 20
    sample = data.test[3]
    np.testing.assert_allclose(sample["known"][:, 1], other.wind.values[3:8], rtol=1e-6)
    np.testing.assert_allclose(sample["known"][0, 0], np.nan_to_num(other.depth.values), rtol=1e-6)
    np.testing.assert_allclose(sample["frames"][:, 0], np.nan_to_num(other.sst.values[3:8]), rtol=1e-6)
    wrong = {"name": "netcdf", "path": first, "variables": ["sst", "wind", "depth"]}
    with pytest.raises(DataError, match=r"data.roles.target: .* has no variable 'chl'"):
        prepare(data.config.model_copy(update={"test_dataset": type(data.config.test_dataset)(**wrong)}), 0)


# a run


def dataset(steps: int = STEPS) -> xr.Dataset:
    there = arrays(steps)
    dims = ("time", "lat", "lon")
    variables = {name: (dims, there[name].astype(np.float32), {"units": "1"}) for name in ("sst", "wind", "chl")}
    return xr.Dataset(
        {**variables, "depth": (dims[1:], there["depth"][0].astype(np.float32), {"units": "m"})},
        coords={
            "time": months(steps),
            "lat": ("lat", np.arange(HEIGHT) * 2.0, {"units": "degrees_north"}),
            "lon": ("lon", np.arange(WIDTH) * 2.0, {"units": "degrees_east"}),
        },
    )


def recipe(path: str, **more: Any) -> dict[str, Any]:
    return {
        "seed": 1,
        "data": {
            "dataset": {"name": "netcdf", "path": path, "variables": list(NAMES)},
            "roles": ROLES,
            "input_steps": 3,
            "horizon": 2,
            **more,
        },
        "model": {"name": "convlstm", "layers": [4], "rollout": {"name": "encoder_forecaster", "reads_known": True}},
        "train": {"steps": 3, "batch_size": 4, "loss": {"name": "mse"}, "sampling": {"name": "none"}},
        "evaluate": {"metrics": ["rmse"]},
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roles")
    loaded = from_dict(recipe(write(folder, dataset())), name="roles")
    done = execute(loaded, out=folder / "run")
    assert done.scores is not None
    return done.run.path


@pytest.fixture(scope="module")
def trained(run: Path) -> TrainedForecaster:
    return load(run)


def test_a_run_is_scored_in_what_it_forecasts(run: Path, trained: TrainedForecaster) -> None:
    with xr.open_dataset(run / "forecast.nc", engine="h5netcdf") as forecast:
        assert {"sst", "chl"} <= set(forecast.data_vars)
        assert not {"wind", "depth"} & set(forecast.data_vars)
    assert trained.forecaster.in_channels == 1 + 2
    assert (trained.forecaster.state_channels, trained.forecaster.fed_channels) == (2, 1)


def test_a_forecast_depends_on_its_forcing_and_never_on_a_target(trained: TrainedForecaster) -> None:
    there, times = arrays(), months(STEPS)
    context, forcing = there["sst"][None, :3, None], there["wind"][None, :5, None]
    said = trained(context, 2, times=times[:3], forcing=forcing)
    assert said.shape == (1, 2, 2, HEIGHT, WIDTH)
    later = forcing.copy()
    later[:, 4] += 3
    other = trained(context, 2, times=times[:3], forcing=later)
    sea = ~said[0, 0].isnan()
    assert torch.equal(said[0, 0][sea], other[0, 0][sea])
    assert not torch.equal(said[0, 1][sea], other[0, 1][sea])
    with pytest.raises(DataError, match="the model needs the forcing wind of the known frames and of those"):
        trained(context, 2, times=times[:3])
    with pytest.raises(DataError, match="forcing: expected 1 x 5 frames"):
        trained(context, 2, times=times[:3], forcing=forcing[:, :4])


def test_a_stream_with_forcing_equals_the_whole(trained: TrainedForecaster) -> None:
    there, times = arrays(), months(STEPS)
    sst, wind = there["sst"][None, :, None], there["wind"][None, :, None]
    stream = trained.warm(sst[:, :3], times[:3], forcing=wind[:, :4])
    _, stream = trained.step(sst[:, 3], stream, forcing=wind[:, 4])
    ahead = trained.ahead(stream, 2, forcing=wind[:, 4:6])
    whole = trained(sst[:, :4], 2, times=times[:4], forcing=wind[:, :6])
    torch.testing.assert_close(ahead, whole, rtol=1e-4, atol=1e-4, equal_nan=True)


def later(**changes: Any) -> xr.Dataset:
    """The state up to month 50, the forcing up to month 55; no target and no static variable."""
    field = dataset()[["sst", "wind"]].isel(time=slice(0, 56))
    field.sst[51:] = np.nan
    for name, value in changes.items():
        field[name] = value
    return field


def test_predict_takes_the_forcing_of_the_future_from_the_file(run: Path, tmp_path: Path) -> None:
    path, out = write(tmp_path, later(), "later.nc"), tmp_path / "out.nc"
    assert stkit(["predict", str(run), path, "-o", str(out), "--horizon", "4"]) == 0
    with xr.open_dataset(out, engine="h5netcdf") as forecast:
        assert forecast.sizes["lead_time"] == 4
        assert forecast.time.values[0].astype("datetime64[M]") == np.datetime64("2004-03")
        assert np.isfinite(forecast.chl.values[..., 1:, :]).all()


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (later().isel(time=slice(0, 53)), "needs the forcing wind at every step up to 2004-07-16, but the file has"),
        (later(wind=later().wind.where(later().wind.time < np.datetime64("2004-06"))), "'wind' is missing (NaN)"),
        (later().drop_vars("wind"), "no variable 'wind'"),
    ],
)
def test_predict_without_the_forcing_of_the_future(
    field: xr.Dataset, message: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, field, "later.nc")
    assert stkit(["predict", str(run), path, "-o", str(tmp_path / "out.nc"), "--horizon", "4"]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_recipes_that_make_no_sense() -> None:
    with pytest.raises(RecipeError, match="'wind' is named before, as forcing"):
        from_dict(recipe("x.nc") | {"data": recipe("x.nc")["data"] | {"roles": {**ROLES, "target": ["wind"]}}})
    with pytest.raises(RecipeError, match=r"damped_anomaly starts from the last known value, and a target \(chl\)"):
        from_dict(recipe("x.nc", departure_from="damped_anomaly"))
    blind = {"name": "convlstm", "layers": [4]}
    with pytest.raises(RecipeError, match=r"the forcing \(wind\) of the frames to forecast would not be read"):
        from_dict(recipe("x.nc") | {"model": blind})


def test_the_dry_run_counts_roles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from stkit.recipe.dryrun import dry_run

    counted = dry_run(from_dict(recipe(write(tmp_path, dataset())), name="roles"))
    assert (counted.in_channels, counted.out_channels) == (3, 2)
