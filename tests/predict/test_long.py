"""Long horizons: the same frames piece by piece, and no more memory than for short ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import stkit
from stkit.evaluate.forecast_file import ForecastFile
from stkit.predict.forecast import predict
from stkit.run.directory import RunDirectory
from stkit.run.load import TrainedForecaster
from stkit.stacks import Forecaster
from stkit.testing.strategies import seeds, tensor
from stkit.train.held import watch

from .conftest import opened

F64 = torch.float64
CPU = torch.device("cpu")
MODELS: dict[str, dict[str, Any]] = {
    "predrnn": {"name": "predrnn", "layers": [3, 3], "in_channels": 2, "out_channels": 1},
    "encoder and forecaster": {
        "name": "convlstm",
        "layers": [3, 2],
        "in_channels": 2,
        "out_channels": 1,
        "rollout": {"name": "encoder_forecaster", "reads_known": True},
    },
    "levels taken away": {
        "name": "predrnn",
        "layers": [3],
        "nonstationary": "differencing",
        "in_channels": 2,
        "out_channels": 1,
    },
}


def built(kind: str, dtype: torch.dtype = F64) -> Forecaster:
    torch.manual_seed(0)
    return stkit.build(**MODELS[kind], dtype=dtype)


class Units:
    """A pipeline that leaves fields as they are and gives each frame's number as its known input."""

    step = None
    forcing = ()
    state_channels = 1
    variables = (SimpleNamespace(name="field"),)
    grid = SimpleNamespace(height=4, width=4, shape=(4, 4))

    def to(self, device: object) -> Units:
        return self

    def with_targets(self, fields: Any) -> Any:
        return fields

    def base(self, *_: Any) -> None:
        return None

    def known(self, times: Any, count: int, forcing: Any = None) -> Any:
        numbers = torch.arange(float(count)) if times is None else torch.as_tensor(times.astype("int64")[0] % 7).float()
        return (numbers / 10).view(1, -1, 1, 1, 1).expand(1, count, 1, 4, 4)

    def observe(self, fields: Any, times: Any) -> Any:
        return fields, torch.ones_like(fields, dtype=torch.bool)

    def inverse(self, said: Any, times: Any) -> Any:
        return said


def loaded(kind: str) -> TrainedForecaster:
    pipeline: Any = Units()
    return TrainedForecaster(built(kind, torch.float32), pipeline, None, 0)  # type: ignore[arg-type]


@given(kind=st.sampled_from(sorted(MODELS)), cuts=st.lists(st.integers(1, 3), min_size=1, max_size=4), seed=seeds())
@settings(max_examples=20)
def test_a_stream_that_goes_on_gives_the_frames_of_one_call(kind: str, cuts: list[int], seed: int) -> None:
    forecaster = built(kind)
    horizon = 1 + sum(cuts)
    context, known = tensor(seed, 2, 3, 2, 4, 4, dtype=F64), tensor(seed + 1, 2, horizon, 1, 4, 4, dtype=F64)
    expected = forecaster(context, horizon, known=known)
    state = forecaster.warm(context, next_known=known[:, 0])
    found, at = [state.forecast[:, None]], 1
    for cut in cuts:
        more, state = forecaster.go_on(state, cut, known=known[:, at : at + cut])
        found.append(more)
        at += cut
    torch.testing.assert_close(torch.cat(found, dim=1), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("horizon", "after"), [(1, 0), (5, 0), (7, 2), (9, 5), (4, 3)])
def test_pieces_are_those_of_a_call(kind: str, horizon: int, after: int) -> None:
    forecaster = loaded(kind)
    context = tensor(1, 2, 3, 1, 4, 4, dtype=torch.float32)
    when = {"times": [1, 2, 3], "target_times": list(range(4, 4 + horizon))}
    forecaster.pipeline.step = 1  # type: ignore[assignment]
    expected = forecaster(context, horizon, **when)[:, after:]
    pieces = list(forecaster.pieces(context, horizon, at_a_time=3, after=after, **when))
    assert [lead for lead, _ in pieces] == list(range(0, horizon - after, 3))
    assert all(said.shape[1] <= 3 for _, said in pieces)
    torch.testing.assert_close(torch.cat([said for _, said in pieces], dim=1), expected, rtol=1e-5, atol=1e-6)


def test_a_stream_goes_on_for_at_least_one_frame() -> None:
    forecaster = built("predrnn")
    with pytest.raises(ValueError, match="at least 1 frame, received 0"):
        forecaster.go_on(forecaster.warm(tensor(1, 1, 2, 2, 4, 4, dtype=F64)), 0)


@pytest.mark.parametrize("kind", MODELS)
def test_memory_is_flat_in_the_horizon(kind: str) -> None:
    """Of the pieces, each of which is dropped when the next one is asked for; a call keeps the whole forecast."""
    forecaster, context = loaded(kind), tensor(1, 4, 3, 1, 4, 4, dtype=torch.float32)
    frame = 4 * 1 * 4 * 4 * 4

    def peak(horizon: int) -> int:
        with watch(CPU) as held:
            for _, said in forecaster.pieces(context, horizon):
                del said
        return held.most

    most = {horizon: peak(horizon) for horizon in (10, 40, 160)}
    assert most[160] <= most[40] + frame
    assert most[40] <= 1.5 * most[10] + 40 * frame


def test_a_long_forecast_is_written_as_it_is_made(
    trained: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``stkit predict``: every piece reaches the file before the next one is made, and the file is that of one call."""
    events: list[str] = []
    whole = predict(trained.path, None, tmp_path / "whole.nc", horizon=7)
    assert whole.horizon == 7
    original = TrainedForecaster.pieces

    def noted(self: Any, *arguments: Any, **named: Any) -> Any:
        for piece in original(self, *arguments, at_a_time=2, **named):
            events.append("made")
            yield piece

    monkeypatch.setattr(TrainedForecaster, "pieces", noted)
    put = ForecastFile.write
    monkeypatch.setattr(ForecastFile, "write", lambda *a: (events.append("written"), put(*a))[1])
    predict(trained.path, None, tmp_path / "pieces.nc", horizon=7)
    assert events == ["made", "written"] * 4
    xr.testing.assert_allclose(opened(tmp_path / "whole.nc"), opened(tmp_path / "pieces.nc"), rtol=1e-5)
