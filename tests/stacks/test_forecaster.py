"""The forecaster: any grid, any horizon, channels that differ, streams, training rollouts; both ways to roll out."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import stkit
from stkit.stacks import Forecaster, NextFrame, Stack
from stkit.testing.strategies import batches, grids, seeds, tensor

from .nodes import DepthHead, Window, Zigzag

F64 = torch.float64
KINDS = {
    "convlstm": {"name": "convlstm", "layers": [3, 2]},
    "convlstm reading known inputs": {
        "name": "convlstm",
        "layers": [3, 2],
        "rollout": {"name": "encoder_forecaster", "reads_known": True},
    },
    "convlstm next frame": {"name": "convlstm", "layers": [3, 2], "variant": "next_frame"},
    "predrnn": {"name": "predrnn", "layers": [3, 3]},
    "predrnn as printed": {"name": "predrnn", "layers": [3, 3], "variant": "paper"},
    "predrnn as encoder and forecaster": {
        "name": "predrnn",
        "layers": [3, 3],
        "rollout": {"name": "encoder_forecaster"},
    },
}


class Situation(NamedTuple):
    """Sizes of one call."""

    kind: str
    patch: int
    batch: int
    steps: int
    horizon: int
    state: int
    known: int
    grid: tuple[int, int]
    seed: int

    def forecaster(self, **changes: Any) -> Forecaster:
        torch.manual_seed(self.seed)
        return stkit.build(
            **KINDS[self.kind],
            in_channels=self.state + self.known,
            out_channels=self.state,
            patch=self.patch,
            cell={"kernel": 3},
            dtype=F64,
            **changes,
        )

    def frames(self, length: int, channels: int, salt: int = 0) -> Tensor:
        return tensor(self.seed + salt, self.batch, length, channels, *self.grid, dtype=F64)


def situations(kinds: list[str] | None = None, *, known: int | None = None) -> st.SearchStrategy[Situation]:
    usable = kinds or list(KINDS)
    least = st.integers(0, 2) if known is None else st.just(known)
    drawn = st.builds(
        Situation,
        st.sampled_from(usable),
        st.integers(1, 3),
        batches(2),
        st.integers(1, 3),
        st.integers(1, 4),
        st.integers(1, 2),
        least,
        grids(2, 7),
        seeds(),
    )
    return drawn.filter(lambda s: s.known > 0 or "known" not in s.kind)


fast = settings(max_examples=15)


@fast
@given(situations())
def test_any_grid_horizon_and_channels(s: Situation) -> None:
    forecaster = s.forecaster()
    out = forecaster(s.frames(s.steps, s.state + s.known), s.horizon)
    assert out.shape == (s.batch, s.horizon, s.state, *s.grid)
    assert torch.isfinite(out).all()


@fast
@given(situations())
def test_one_model_for_every_grid(s: Situation) -> None:
    forecaster = s.forecaster()
    for grid in ((3, 5), (6, 4)):
        context = s._replace(grid=grid).frames(2, s.state + s.known)
        assert forecaster(context, 1).shape[-2:] == grid


@fast
@given(situations())
def test_a_longer_horizon_begins_with_the_shorter_one(s: Situation) -> None:
    forecaster, context = s.forecaster(), s.frames(s.steps, s.state + s.known)
    close(forecaster(context, s.horizon + 2)[:, : s.horizon], forecaster(context, s.horizon))


@fast
@given(situations(), st.booleans(), st.booleans())
def test_a_stream_that_stands_in_for_itself_equals_the_whole(s: Situation, with_known: bool, with_base: bool) -> None:
    """``warm`` and ``step(None)`` give what one call gives, with known inputs and a departure, too."""
    forecaster, context = s.forecaster(), s.frames(s.steps, s.state + s.known)
    known = s.frames(s.horizon, s.known, 1) if with_known and s.known else None
    base = s.frames(s.horizon, s.state, 2) if with_base else None

    def at(frames: Tensor | None, lead: int) -> Tensor | None:
        return None if frames is None else frames[:, lead]

    stream = forecaster.warm(context, next_known=at(known, 0), base=at(base, 0))
    forecasts = [stream.forecast]
    for lead in range(1, s.horizon):
        forecast, stream = forecaster.step(None, stream, next_known=at(known, lead), base=at(base, lead))
        forecasts.append(forecast)
    close(torch.stack(forecasts, 1), forecaster(context, s.horizon, known=known, base=base))


@fast
@given(situations(), st.booleans(), st.booleans())
def test_running_ahead_of_a_stream_equals_the_whole(s: Situation, with_known: bool, with_base: bool) -> None:
    """From any place of a stream, as a call with all its frames; the stream stays where it was."""
    forecaster, frames = s.forecaster(), s.frames(s.steps + 1, s.state + s.known)
    known = s.frames(s.horizon, s.known, 1) if with_known and s.known else None
    base = s.frames(s.horizon, s.state, 2) if with_base else None
    first_known, first_base = (None if part is None else part[:, 0] for part in (known, base))
    stream = forecaster.warm(frames[:, :-1], base=first_base)
    _, stream = forecaster.step(frames[:, -1], stream, next_known=first_known, base=first_base)
    said = forecaster.ahead(stream, s.horizon, known=known, base=base)
    close(said, forecaster(frames, s.horizon, known=known, base=base))
    assert torch.equal(said, forecaster.ahead(stream, s.horizon, known=known, base=base))
    with pytest.raises(ValueError, match="at least 1 frame"):
        forecaster.ahead(stream, 0)


@fast
@given(situations())
def test_a_stream_of_observations_equals_the_whole(s: Situation) -> None:
    forecaster, frames = s.forecaster(), s.frames(s.steps + 2, s.state + s.known)
    stream = forecaster.warm(frames[:, : s.steps])
    for t in (s.steps, s.steps + 1):
        forecast, stream = forecaster.step(frames[:, t], stream)
    close(forecast, forecaster(frames, 1)[:, 0])
    apart, _ = forecaster.step(None, stream)
    close(apart, forecaster(frames, 2)[:, 1])


@fast
@given(situations())
def test_known_inputs_may_be_given_apart(s: Situation) -> None:
    forecaster, frames = s.forecaster(), s.frames(s.steps + 1, s.state + s.known)
    stream = forecaster.warm(frames[:, :-1])
    last = frames[:, -1]
    whole, _ = forecaster.step(last, stream)
    parts, _ = forecaster.step(last[:, : s.state], stream, known=last[:, s.state :])
    close(parts, whole)


@fast
@given(situations(["convlstm next frame", "predrnn", "predrnn as printed"]))
def test_standing_in_is_feeding_the_forecast(s: Situation) -> None:
    """For a next-frame network: no frame came, or its own forecast came, is the same, padding included."""
    forecaster = s.forecaster()
    stream = forecaster.warm(s.frames(s.steps, s.state + s.known))
    own, _ = forecaster.step(None, stream)
    fed, _ = forecaster.step(stream.forecast, stream)
    close(own, fed)


@fast
@given(situations())
def test_the_last_known_inputs_are_held(s: Situation) -> None:
    forecaster, context = s.forecaster(), s.frames(s.steps, s.state + s.known)
    held = context[:, -1:, s.state :].expand(-1, s.horizon, -1, -1, -1)
    close(forecaster(context, s.horizon), forecaster(context, s.horizon, known=held))


@fast
@given(situations())
def test_a_training_rollout_without_tokens_is_a_forecast(s: Situation) -> None:
    forecaster = s.forecaster()
    frames, known = s.frames(s.steps + s.horizon, s.state), s.frames(s.steps + s.horizon, s.known, 1)
    base = s.frames(s.steps + s.horizon - 1, s.state, 2)
    out = forecaster.rollout(frames, s.steps, known=known if s.known else None, base=base)
    assert out.predictions.shape[1] == s.steps + s.horizon - out.first
    context = torch.cat([frames, known], 2)[:, : s.steps]
    whole = forecaster(context, s.horizon, known=known[:, s.steps :], base=base[:, s.steps - 1 :])
    close(out.predictions[:, s.steps - out.first :], whole)


@fast
@given(situations())
def test_frames_after_the_context_are_not_looked_at(s: Situation) -> None:
    forecaster = s.forecaster()
    known = s.frames(s.steps + s.horizon, s.known, 1) if s.known else None
    frames = s.frames(s.steps + s.horizon, s.state)
    other = torch.cat([frames[:, : s.steps], torch.full_like(frames[:, s.steps :], torch.nan)], 1)
    one, two = (forecaster.rollout(f, s.steps, known=known).predictions for f in (frames, other))
    assert torch.equal(one, two)


@fast
@given(situations(["predrnn", "convlstm next frame"]), st.data())
def test_tokens_choose_between_frame_and_forecast(s: Situation, data: st.DataObject) -> None:
    """Each prediction equals a step by hand on the frame that its token chose."""
    length = s.steps + s.horizon
    forecaster, frames = s.forecaster(), s.frames(length, s.state)
    known, base = s.frames(length, s.known, 1), s.frames(length - 1, s.state, 2)
    drawn = data.draw(st.lists(st.booleans(), min_size=s.batch * (length - 2), max_size=s.batch * (length - 2)))
    tokens = torch.tensor(drawn, dtype=torch.bool).reshape(s.batch, length - 2)
    out = forecaster.rollout(frames, s.steps, known=known if s.known else None, base=base, tokens=tokens)
    assert out.first == 1

    def full(frame: Tensor, t: int) -> Tensor:
        return torch.cat([frame, known[:, t]], 1)

    stream = forecaster.warm(full(frames[:, 0], 0)[:, None], base=base[:, 0])
    close(out.predictions[:, 0], stream.forecast)
    for t in range(1, length - 1):
        shown = torch.where(tokens[:, t - 1, None, None, None], frames[:, t], stream.forecast)
        forecast, stream = forecaster.step(full(shown, t), stream, base=base[:, t])
        close(out.predictions[:, t], forecast)


def test_an_encoder_forecaster_has_one_aux_for_each_step_and_predicts_after_the_context() -> None:
    forecaster = stkit.build("predrnn", layers=[3, 3], rollout={"name": "encoder_forecaster"}, dtype=F64)
    for wanted, names in ((False, set()), (True, {"delta_c", "delta_m"})):
        forecaster.hand_out_increments(wanted=wanted)
        out = forecaster.rollout(torch.randn(2, 5, 1, 4, 4, dtype=F64), 3)
        assert (out.first, out.predictions.shape[1]) == (3, 2)
        assert len(out.aux) == 5
        assert all(set(node) == names for step in out.aux for node in step)


def test_a_stream_of_an_encoder_goes_on_after_a_missing_frame() -> None:
    """The forecast takes the missing frame's place in the encoder, while the forecaster runs on."""
    torch.manual_seed(0)
    forecaster = stkit.build("convlstm", layers=[3], dtype=F64)
    frames = torch.randn(1, 4, 1, 5, 4, dtype=F64)
    stream = forecaster.warm(frames[:, :2])
    filled = torch.cat([frames[:, :2], stream.forecast[:, None], frames[:, 3:]], 1)
    _, stream = forecaster.step(None, stream)
    forecast, _ = forecaster.step(frames[:, 3], stream)
    close(forecast, forecaster(filled, 1)[:, 0])


@pytest.mark.parametrize("patch", [1, 2])
def test_more_channels_out_than_in(patch: int) -> None:
    """The first channels forecast are fed back; the others are forecast only."""
    torch.manual_seed(0)
    forecaster = stkit.build("predrnn", layers=[3, 3], in_channels=1, out_channels=3, patch=patch, dtype=F64)
    frames = torch.randn(2, 5, 3, 5, 4, dtype=F64)
    out = forecaster.rollout(frames, 3)
    assert out.predictions.shape == (2, 4, 3, 5, 4)
    whole = forecaster(frames[:, :3, :1], 2)
    close(out.predictions[:, 2:], whole)
    again = forecaster(torch.cat([frames[:, :3, :1], whole[:, :1, :1]], 1), 1)
    close(again[:, 0], whole[:, 1])


def test_a_head_that_starts_at_zero_starts_at_the_base() -> None:
    forecaster = stkit.build("predrnn", layers=[3], head={"zero_init": True, "bias": True}, patch=2, dtype=F64)
    context, base = torch.randn(2, 3, 1, 5, 7, dtype=F64), torch.randn(2, 4, 1, 5, 7, dtype=F64)
    assert torch.equal(forecaster(context, 4, base=base), base)


def test_heads_read_the_top_or_all_nodes_and_may_squash() -> None:
    top = stkit.build("predrnn", layers=[3, 3], head={"reads": "top"})
    everything = stkit.build("predrnn", layers=[3, 3], head={"reads": "all"})
    sizes = [f.network.head.convolution.kernels["hidden"].shape[1] for f in (top, everything)]
    assert sizes == [3, 6]
    squashed = stkit.build("predrnn", layers=[3], head={"activation": "sigmoid"})
    out = squashed(100 * torch.randn(1, 2, 1, 4, 4), 2)
    assert out.min() >= 0
    assert out.max() <= 1


def test_a_stack_of_volumes_rolls_out_as_any_other() -> None:
    torch.manual_seed(0)
    stack = Stack([Window(2, 2), Zigzag(2, 3, 3, depth=2), Zigzag(3, 3, 3, depth=2)])
    forecaster = Forecaster(NextFrame(stack, DepthHead(3, 2, 2)), in_channels=2, out_channels=2)
    context = torch.randn(2, 3, 2, 5, 4, dtype=F64)
    stream = forecaster.warm(context)
    forecast, _ = forecaster.step(None, stream)
    close(forecast, forecaster(context, 2)[:, 1])


def test_shapes_that_do_not_fit_are_told() -> None:
    forecaster = stkit.build("predrnn", layers=[3], in_channels=3, out_channels=1)
    context = torch.zeros(2, 3, 3, 4, 5)
    with pytest.raises(ValueError, match="horizon is at least 1 frame, received 0"):
        forecaster(context, 0)
    with pytest.raises(ValueError, match="1 frame of 3 channels, received 3 of 2"):
        forecaster(context[:, :, :2], 1)
    with pytest.raises(ValueError, match="1 frame of 3 channels, received 0 of 3"):
        forecaster(context[:, :0], 1)
    with pytest.raises(
        ValueError, match=r"known inputs: expected the shape \(2, 2, 2, 4, 5\), received \(2, 1, 2, 4, 5\)"
    ):
        forecaster(context, 2, known=torch.zeros(2, 1, 2, 4, 5))
    with pytest.raises(ValueError, match=r"base: expected the shape \(2, 1, 1, 4, 5\)"):
        forecaster(context, 1, base=torch.zeros(2, 1, 3, 4, 5))
    with pytest.raises(ValueError, match="needs 2 known input channels for each frame"):
        forecaster.rollout(torch.zeros(2, 4, 1, 4, 5), 2)
    with pytest.raises(ValueError, match="1 to 3 of 4 frames, received 4"):
        forecaster.rollout(torch.zeros(2, 4, 1, 4, 5), 4, known=torch.zeros(2, 4, 2, 4, 5))
    with pytest.raises(ValueError, match="tokens: expected the shape"):
        forecaster.rollout(torch.zeros(2, 4, 1, 4, 5), 2, known=torch.zeros(2, 4, 2, 4, 5), tokens=torch.ones(2, 3) > 0)
    encoder = stkit.build("convlstm", layers=[3])
    with pytest.raises(ValueError, match="takes no sampling tokens"):
        encoder.rollout(torch.zeros(2, 4, 1, 4, 5), 2, tokens=torch.ones(2, 2) > 0)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
