"""Forecasters with a module for non-stationary fields: the contract, what they start from, what passes through them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import stkit
from stkit.plugin.manager import plugins
from stkit.stacks import Forecaster
from stkit.testing.contract import StackContract
from stkit.testing.strategies import Case, cases, seeds, tensor

from .nonstationary import F64, KINDS, REACH, made, naive, walk

ROLLOUTS = {"next frame": {"name": "predrnn"}, "encoder forecaster": {"name": "convlstm"}}
kinds = st.sampled_from(list(KINDS))
rollouts = st.sampled_from(list(ROLLOUTS))
few = settings(max_examples=8)


# ----------------------------------------------------------------------------------------------------- the contract


def _contract(kind: str, model: dict[str, Any]) -> type[StackContract]:
    overrides = {
        "cell": {"name": "conv_lstm", "kernel": 3},
        "layers": [4],
        "head": "conv",
        "patch": 2,
        "nonstationary": KINDS[kind],
        **model,
    }
    return type("Contract", (StackContract,), {"overrides": overrides})


NEXT, ENCODER = {"rollout": {"name": "next_frame"}}, {"rollout": {"name": "encoder_forecaster"}}
TestDifference = _contract("difference", ENCODER)
TestNorm = _contract("norm", NEXT)
TestTrendAndSeason = _contract("trend and season", NEXT)


# --------------------------------------------------------------------------------------- what an untrained one says


def built(kind: str, rollout: str = "next frame", seed: int = 0, *, patch: int = 1, **model: Any) -> Forecaster:
    torch.manual_seed(seed)
    values = {"layers": [3], "cell": {"kernel": 3}, "patch": patch, "nonstationary": KINDS[kind], "dtype": F64}
    return stkit.build(**ROLLOUTS[rollout], **{**values, **model})


def sequence(case: Case, steps: int, channels: int = 1) -> tuple[Tensor, Tensor]:
    """Frames with zeros where they are missing, and where they are not: a coast, and holes now and then."""
    valid = tensor(case.seed + 9, case.batch, steps, channels, *case.grid) > -1
    valid[..., 0] = False
    frames = 2 + tensor(case.seed, case.batch, steps, channels, *case.grid, dtype=F64)
    return torch.where(valid, frames, 0.0), valid


@few
@given(kinds, rollouts, cases(max_batch=2, min_steps=1, max_steps=6), st.integers(1, 4), st.integers(1, 2))
def test_a_head_that_starts_at_zero_starts_at_the_modules_own_forecast(
    kind: str, rollout: str, case: Case, horizon: int, patch: int
) -> None:
    """Persistence, last season, the mean, the trend: the module alone, walked through by hand."""
    forecaster = built(kind, rollout, case.seed, patch=patch, head={"zero_init": True})
    frames, valid = sequence(case, case.steps)
    module = made(kind)
    expected = naive(module, walk(module, frames, valid).memory, frames[:, 0], horizon)
    close(forecaster(frames, horizon, valid=valid), expected)


def test_what_that_is_in_words() -> None:
    frames = 5 + torch.randn(2, 6, 1, 4, 5, dtype=F64).cumsum(1)
    zero: dict[str, Any] = {"head": {"zero_init": True}}
    close(built("difference", **zero)(frames, 3), frames[:, -1:].expand(-1, 3, -1, -1, -1))
    close(built("season", **zero)(frames, 4), frames[:, [3, 4, 5, 3]])
    line = torch.stack([frames[:, -1] + lead * (frames[:, -1] - frames[:, -2]) for lead in (1, 2)], 1)
    close(built("second difference", **zero)(frames, 2), line)
    close(built("norm", **zero)(frames, 2), frames.mean((1, 3, 4), keepdim=True).expand(-1, 2, -1, 4, 5))
    close(built("norm of cells", **zero)(frames, 2), frames.mean(1, keepdim=True).expand(-1, 2, -1, -1, -1))


# ------------------------------------------------------------------------------------------- what passes through it


@few
@given(kinds.filter(lambda kind: "norm" not in kind), rollouts, seeds(), st.booleans())
def test_a_level_that_is_added_to_the_context_is_added_to_the_forecast(
    kind: str, rollout: str, seed: int, with_holes: bool
) -> None:
    forecaster, case = built(kind, rollout, seed), Case(2, 6, 4, 5, seed)
    frames, valid = sequence(case, 6)
    seen = valid if with_holes else None
    level = 4 * tensor(seed, 1, 1, 1, *case.grid, dtype=F64)
    raised = torch.where(valid, frames + level, 0.0) if with_holes else frames + level
    ever = valid.any(1, keepdim=True) if with_holes else torch.ones_like(valid[:, :1])
    difference = forecaster(raised, 3, valid=seen) - forecaster(frames, 3, valid=seen)
    close(torch.where(ever, difference, 0.0), torch.where(ever, level, 0.0).expand_as(difference))


@few
@given(st.sampled_from(["second difference", "trend", "trend and season"]), rollouts, seeds())
def test_a_trend_that_is_added_goes_on(kind: str, rollout: str, seed: int) -> None:
    forecaster, case = built(kind, rollout, seed), Case(2, 6, 4, 5, seed)
    frames = tensor(seed, 2, 6, 1, *case.grid, dtype=F64)
    slope = tensor(seed + 1, 1, 1, 1, *case.grid, dtype=F64)
    times = torch.arange(9, dtype=F64).view(1, 9, 1, 1, 1)
    raised = forecaster(frames + slope * times[:, :6], 3)
    close(raised - forecaster(frames, 3), (slope * times[:, 6:]).expand_as(raised))


@few
@given(
    st.sampled_from([("season", 3), ("difference and season", 2), ("season of all waves", 4), ("trend and season", 4)]),
    rollouts,
    seeds(),
)
def test_a_season_that_is_added_goes_on(kind: tuple[str, int], rollout: str, seed: int) -> None:
    name, period = kind
    forecaster = built(name, rollout, seed)
    frames, waves = tensor(seed, 2, 6, 1, 4, 5, dtype=F64), tensor(seed + 1, 2, period, 1, 4, 5, dtype=F64)
    if name == "trend and season":  # one wave: the second half of the season is the first one upside down
        waves = torch.cat([waves[:, :2], -waves[:, :2]], 1)
    season = torch.cat([waves] * 5, 1)[:, :10]
    raised = forecaster(frames + season[:, :6], 4)
    close(raised - forecaster(frames, 4), season[:, 6:])


@few
@given(st.sampled_from(["norm", "norm of cells"]), rollouts, seeds(), st.booleans())
def test_another_unit_gives_the_forecast_in_that_unit(kind: str, rollout: str, seed: int, with_holes: bool) -> None:
    case = Case(2, 4, 4, 5, seed)
    forecaster = built(kind, rollout, seed, in_channels=2)
    with torch.no_grad():
        for parameter in forecaster.nonstationary.parameters():
            parameter.add_(0.3)
    frames, valid = sequence(case, 4, 2)
    seen = valid if with_holes else None
    factor, shift = 1.8, tensor(seed, 2, 1, 2, 1, 1, dtype=F64)  # each sample and variable another shift
    changed = factor * frames + shift
    changed = torch.where(valid, changed, 0.0) if with_holes else changed
    said, other = (forecaster(context, 3, valid=seen) for context in (frames, changed))
    torch.testing.assert_close(other, factor * said + shift, rtol=1e-6, atol=1e-6)


# ------------------------------------------------------------------------------------------------- how it is driven


@few
@given(kinds, cases(max_batch=3, min_steps=2, max_steps=4), st.data())
def test_sampling_shows_some_frames_and_hides_others(kind: str, case: Case, data: st.DataObject) -> None:
    """Each sample's predictions are those of a stream by hand: a frame where its token shows one, none elsewhere."""
    length = case.steps + 2
    forecaster = built(kind, seed=case.seed, patch=2)
    frames, valid = sequence(case, length)
    drawn = data.draw(st.lists(st.booleans(), min_size=case.batch * (length - 2), max_size=case.batch * (length - 2)))
    tokens = torch.tensor(drawn, dtype=torch.bool).reshape(case.batch, length - 2)
    out = forecaster.rollout(frames, case.steps, tokens=tokens, valid=valid)
    for sample in range(case.batch):
        one = slice(sample, sample + 1)
        stream = forecaster.warm(frames[one, :1], valid=valid[one, :1])
        close(out.predictions[one, 0], stream.forecast)
        for t in range(1, length - 1):
            shown = bool(tokens[sample, t - 1])
            frame, there = (frames[one, t], valid[one, t]) if shown else (None, None)
            forecast, stream = forecaster.step(frame, stream, valid=there)
            close(out.predictions[one, t], forecast)


@few
@given(kinds, rollouts, cases(max_batch=2, min_steps=2, max_steps=5), st.integers(1, 4))
def test_with_holes_rollout_stream_and_forecast_are_one(kind: str, rollout: str, case: Case, horizon: int) -> None:
    forecaster = built(kind, rollout, case.seed, patch=2)
    frames, valid = sequence(case, case.steps + horizon)
    context, seen = frames[:, : case.steps], valid[:, : case.steps]
    whole = forecaster(context, horizon, valid=seen)
    out = forecaster.rollout(frames, case.steps, valid=valid)
    close(out.predictions[:, case.steps - out.first :], whole)
    stream = forecaster.warm(context[:, :1], valid=seen[:, :1])
    for t in range(1, case.steps):
        _, stream = forecaster.step(context[:, t], stream, valid=seen[:, t])
    close(stream.forecast, whole[:, 0])
    for lead in range(1, horizon):
        forecast, stream = forecaster.step(None, stream)
        close(forecast, whole[:, lead])


@few
@given(kinds, rollouts, cases(max_batch=2, min_steps=2, max_steps=5))
def test_what_is_missing_is_not_in_the_levels(kind: str, rollout: str, case: Case) -> None:
    """Values under land and holes change nothing but for what convolutions see of them, which is zero."""
    forecaster = built(kind, rollout, case.seed)
    frames, valid = sequence(case, case.steps)
    plain, changed = (forecaster(torch.where(valid, frames, under), 2, valid=valid) for under in (0.0, 9.0))
    assert torch.equal(plain, changed)
    assert not torch.equal(plain, forecaster(torch.where(valid, frames, 9.0), 2)), "without a mask it is another field"


@few
@given(kinds, rollouts, seeds())
def test_the_future_is_in_no_level(kind: str, rollout: str, seed: int) -> None:
    """Not a value of what follows the context, nor whether there is one."""
    forecaster = built(kind, rollout, seed)
    frames, valid = sequence(Case(2, 4, 4, 5, seed), 6)
    other, none = frames.clone(), valid.clone()
    other[:, 4:], none[:, 4:] = torch.nan, False
    plain, changed = (forecaster.rollout(f, 4, valid=v) for f, v in ((frames, valid), (other, none)))
    assert torch.equal(plain.predictions, changed.predictions)


def test_channels_that_are_not_fed_back_are_left_as_they_are() -> None:
    forecaster = built("difference", in_channels=1, out_channels=2, head={"zero_init": True})
    forecast = forecaster(torch.full((1, 2, 1, 4, 4), 3.0, dtype=F64), 2)
    assert (forecast[:, :, 0] == 3).all()
    assert (forecast[:, :, 1] == 0).all()


def test_known_inputs_do_not_go_through_it() -> None:
    """A constant known input is seen; as a state it would be differenced away."""
    forecaster = built("difference", in_channels=2, out_channels=1)
    state = torch.randn(1, 3, 1, 4, 4, dtype=F64)
    one, other = (forecaster(torch.cat([state, torch.full_like(state, v)], 2), 1) for v in (0.0, 1.0))
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("kind", ["difference", "norm", "trend"])
def test_a_base_beside_it_is_refused(kind: str) -> None:
    forecaster = built(kind)
    frames = torch.zeros(1, 3, 1, 4, 4, dtype=F64)
    stream = forecaster.warm(frames)
    calls = (
        lambda: forecaster(frames, 1, base=frames[:, :1]),
        lambda: forecaster.warm(frames, base=frames[:, 0]),
        lambda: forecaster.step(None, stream, base=frames[:, 0]),
        lambda: forecaster.rollout(frames, 2, base=frames[:, :2]),
    )
    for call in calls:
        with pytest.raises(ValueError, match="says itself around which level the next frame lies"):
            call()


def test_each_module_tells_the_recipe_and_the_forecaster_the_same() -> None:
    for kind, values in KINDS.items():
        config = plugins().resolve("modules", values["name"], slot="nonstationary").load_config()(**values)
        assert config.sets_level == made(kind).sets_level
        assert not list(config.problems(input_steps=REACH[kind] + 2))
        if REACH[kind]:
            assert list(config.problems(input_steps=REACH[kind]))


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-8)
