"""Modules for non-stationary fields by themselves: the way back, what they say alone, what changes nothing they see."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stkit.stacks.nonstationary import chosen
from stkit.testing.strategies import Case, cases, seeds, tensor

from .nonstationary import F64, KINDS, REACH, made, naive, walk

kinds = st.sampled_from(list(KINDS))
situations = cases(max_batch=2, min_steps=1, max_steps=7)
few = settings(max_examples=15)


def frames_of(case: Case, steps: int | None = None, channels: int = 2) -> Tensor:
    steps = case.steps if steps is None else steps
    return 3 + 2 * tensor(case.seed, case.batch, steps, channels, *case.grid, dtype=F64)


def holes(case: Case, steps: int | None = None, channels: int = 2) -> Tensor:
    """Land in the first column, and values that are missing now and then."""
    steps = case.steps if steps is None else steps
    valid = tensor(case.seed + 9, case.batch, steps, channels, *case.grid) > -0.7
    valid[..., 0] = False
    return valid


def close(a: Tensor, b: Tensor, atol: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, rtol=1e-9, atol=atol)


# ------------------------------------------------------------------------------------------------- the way back


@few
@given(kinds, situations, st.booleans(), st.integers(0, 3))
def test_decode_undoes_feed_whatever_was_seen(kind: str, case: Case, with_holes: bool, fed: int) -> None:
    module = made(kind, 2, moved_by=case.seed)
    memory = walk(module, frames_of(case), holes(case) if with_holes else None).memory
    for step in range(fed + 1):
        frame = tensor(case.seed + step, case.batch, 2, *case.grid, dtype=F64)
        z, after = module.feed(frame, memory)
        close(module.decode(z, memory), frame)
        memory = after


@few
@given(kinds, situations)
def test_what_the_network_sees_of_the_frames_shown_gives_them_back(kind: str, case: Case) -> None:
    """A norm's statistics are those up to the frame itself; the others' levels are known before it."""
    module, frames, valid = made(kind, 2, moved_by=case.seed), frames_of(case), holes(case)
    seen = walk(module, frames, valid)
    after = [*seen.before[1:], seen.memory]
    for t in range(case.steps):
        own = kind.startswith("norm")
        back = module.decode(seen.z[:, t], after[t] if own else seen.before[t])
        if t >= REACH[kind]:
            known = valid[:, t] & valid[:, t - REACH[kind] : t].all(1)  # a hole may leave a fit's window too few values
            close(back[known], frames[:, t][known])


@few
@given(kinds, situations)
def test_a_memory_keeps_its_names_shapes_and_types(kind: str, case: Case) -> None:
    module, frames = made(kind, 2), frames_of(case)
    seen = walk(module, frames, holes(case))
    _, fed = module.feed(frames[:, -1], seen.memory)
    for memory in (*seen.before, fed):
        assert memory.keys() == seen.memory.keys()
        for name, value in memory.items():
            assert (value.shape, value.dtype) == (seen.memory[name].shape, seen.memory[name].dtype)
            assert value.shape[0] == case.batch


# -------------------------------------------------------------------------------------------- what it says alone


def test_a_difference_says_persistence() -> None:
    frames, module = tensor(1, 2, 4, 1, 3, 4, dtype=F64), made("difference")
    said = naive(module, walk(module, frames).memory, frames[:, 0], 5)
    close(said, frames[:, 3:].expand_as(said))


@pytest.mark.parametrize("kind", ["season", "second difference", "trend and season"])
def test_before_anything_else_is_known_persistence(kind: str) -> None:
    frames, module = tensor(1, 2, 2, 1, 3, 4, dtype=F64), made(kind)
    for steps in range(1, min(REACH[kind], 3)):
        close(naive(module, walk(module, frames[:, :steps]).memory, frames[:, 0], 1), frames[:, steps - 1 : steps])


def test_a_second_difference_says_the_line_through_two_frames() -> None:
    frames, module = tensor(1, 2, 4, 1, 3, 4, dtype=F64), made("second difference")
    said = naive(module, walk(module, frames).memory, frames[:, 0], 3)
    slope = frames[:, 3] - frames[:, 2]
    close(said, torch.stack([frames[:, 3] + lead * slope for lead in (1, 2, 3)], 1))


def test_a_seasonal_difference_says_the_frame_one_season_ago() -> None:
    frames, module = tensor(1, 2, 5, 1, 3, 4, dtype=F64), made("season")
    said = naive(module, walk(module, frames).memory, frames[:, 0], 7)
    close(said, frames[:, [2, 3, 4, 2, 3, 4, 2]])


def test_both_differences_say_last_season_from_where_the_field_is_now() -> None:
    frames, module = tensor(1, 2, 5, 1, 3, 4, dtype=F64), made("difference and season")
    said = naive(module, walk(module, frames).memory, frames[:, 0], 1)[:, 0]
    close(said, frames[:, 4] + frames[:, 3] - frames[:, 2])


@few
@given(st.sampled_from(["norm", "norm of cells"]), situations)
def test_a_norm_says_the_mean_of_the_values_shown(kind: str, case: Case) -> None:
    module, frames, valid = made(kind, 2), frames_of(case), holes(case)
    memory = walk(module, frames, valid).memory
    values = np.where(valid.numpy(), frames.numpy(), np.nan)
    count = np.isfinite(values).sum(axis=1)
    over = (1,) if kind == "norm of cells" else (1, 3, 4)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(values, axis=over, keepdims=True) / np.isfinite(values).sum(axis=over, keepdims=True)
        pooled = np.nanmean(np.where(count > 0, count * np.nan_to_num(mean[:, 0]), 0), axis=(2, 3), keepdims=True)
        pooled = pooled / count.mean(axis=(2, 3), keepdims=True)
    expected = np.broadcast_to(mean[:, 0], frames[:, 0].shape)
    expected = np.where(np.isfinite(expected), expected, pooled)
    said = naive(module, memory, frames[:, 0], 2)
    close(said, torch.from_numpy(np.nan_to_num(expected))[:, None].expand_as(said))
    deviations = np.where(valid.numpy(), values - mean, 0)
    variance = (deviations**2).sum(axis=(1, 3, 4)) / np.maximum(count.sum(axis=(2, 3)), 1)
    deviation = np.where(count.sum(axis=(2, 3)) > 0, np.sqrt(np.maximum(variance, 1e-6)), 1)
    close(memory["scale"][..., 0, 0], torch.from_numpy(deviation))


def design(kind: str, times: np.ndarray) -> np.ndarray:
    options = KINDS[kind]
    columns = [np.ones_like(times)]
    if options.get("trend", True):
        columns.append(times)
    for wave in range(1, options.get("harmonics", 0) + 1):
        angle = 2 * np.pi * wave * times / options["season"]
        columns += [np.cos(angle)] if 2 * wave == options["season"] else [np.cos(angle), np.sin(angle)]
    return np.stack(columns, axis=-1)


def carried_on(kind: str, there: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Three leads for one cell, by numpy's least squares, frame after frame; without a fit the latest value."""
    options, window = KINDS[kind], KINDS[kind]["window"]
    times, ahead = np.arange(float(len(values))), np.zeros(3)
    for now in range(len(values)):
        inside = there[: now + 1] & (times[: now + 1] > now - window)
        at = times[: now + 1][inside] - now
        season = options.get("season", 1)
        if len(at) >= design(kind, at).shape[1] and len(set(at % season)) == season:
            found = np.linalg.lstsq(design(kind, at), values[: now + 1][inside], rcond=None)[0]
            ahead = design(kind, np.arange(1.0, 4.0)) @ found
        else:
            ahead = np.full(3, values[now] if there[now] else ahead[0])
    return ahead


@few
@given(st.sampled_from(["trend", "trend and season", "season of all waves"]), seeds(), st.integers(1, 9))
def test_trend_and_season_say_what_least_squares_says(kind: str, seed: int, steps: int) -> None:
    module, case = made(kind, 2), Case(2, steps, 3, 4, seed)
    frames, valid = frames_of(case), holes(case)
    said = naive(module, walk(module, frames, valid).memory, frames[:, 0], 3)
    for place in np.ndindex(2, 2, 3, 4):
        at = (place[0], slice(None), *place[1:])
        expected = carried_on(kind, valid[at].numpy(), frames[at].numpy())
        np.testing.assert_allclose(said[at].numpy(), expected, rtol=1e-8, atol=1e-8)


# ---------------------------------------------------------------------------------- what changes nothing it sees


def added(kind: str, case: Case, steps: int) -> tuple[Tensor, Tensor]:
    """A pattern of the class that the module takes away, each cell its own: its values at ``steps`` times, and three
    more."""
    level, slope, *waves = tensor(case.seed + 5, 6, 1, 1, 2, *case.grid, dtype=F64)
    n = torch.arange(float(steps + 3), dtype=F64).view(1, -1, 1, 1, 1)
    pattern = level + 0 * n
    if kind in ("second difference", "trend", "trend and season"):
        pattern = pattern + slope * n
    season = {"season": 3, "difference and season": 2, "trend and season": 4, "season of all waves": 4}.get(kind)
    if season is not None:
        highest = 1 if kind == "trend and season" else season // 2
        for wave, (one, other) in zip(range(1, highest + 1), (waves[:2], waves[2:]), strict=False):
            angle = 2 * math.pi * wave * n / season
            pattern = pattern + one * torch.cos(angle) + other * torch.sin(angle)
    pattern = pattern.expand(case.batch, -1, -1, -1, -1)
    return pattern[:, :steps], pattern[:, steps:]


@few
@given(kinds.filter(lambda kind: "norm" not in kind), cases(max_batch=2, min_steps=4, max_steps=8), st.booleans())
def test_what_it_takes_away_goes_on_and_is_not_seen(kind: str, case: Case, with_holes: bool) -> None:
    """Constants, lines and seasons, where the module is for them."""
    module, frames = made(kind, 2), frames_of(case)
    valid = None
    if with_holes:
        valid = holes(case)
        # A gap longer than the window, or within the first season, leaves nothing that could go on.
        valid[..., 1:] |= "season" in kind or kind == "second difference"
    pattern, ahead = added(kind, case, case.steps)
    plain, changed = walk(module, frames, valid), walk(module, frames + pattern, valid)
    close(changed.z, plain.z, 1e-7)
    said, shifted = (naive(module, seen.memory, frames[:, 0], 3) for seen in (plain, changed))
    reached = torch.ones_like(frames[:, 0], dtype=torch.bool) if valid is None else valid.sum(1) >= REACH[kind]
    if kind == "trend" and valid is not None:
        reached &= valid[:, -4:].sum(1) >= 2
    close((shifted - said).movedim(1, -1)[reached], ahead.movedim(1, -1)[reached], 1e-7)


@few
@given(st.sampled_from(["norm", "norm of cells"]), cases(max_batch=2, min_steps=2, max_steps=5), st.booleans())
def test_a_norm_does_not_see_another_unit(kind: str, case: Case, with_holes: bool) -> None:
    """Frames ``a x + b`` look as ``x`` does, and the forecasts are ``a x + b``, too."""
    module, frames = made(kind, 2, moved_by=case.seed), frames_of(case)
    valid = holes(case) if with_holes else None
    factor, shift = 1.8, tensor(case.seed, case.batch, 1, 2, 1, 1, dtype=F64)
    plain, changed = walk(module, frames, valid), walk(module, factor * frames + shift, valid)
    # A field's first value in each cell deviates from its own mean by nothing but rounding.
    close(changed.z[:, 1:], plain.z[:, 1:], 1e-7)
    z = tensor(case.seed + 1, case.batch, 2, *case.grid, dtype=F64)
    seen = torch.ones_like(z, dtype=torch.bool) if valid is None else valid.any(1).any((-2, -1), keepdim=True)
    close(
        torch.where(seen, module.decode(z, changed.memory), 0.0),
        torch.where(seen, factor * module.decode(z, plain.memory) + shift[:, 0], 0.0),
    )


# ------------------------------------------------------------------------------------------- what it must not see


@few
@given(kinds, situations, st.sampled_from([0.0, 1e3, -1e3]))
def test_what_is_under_a_missing_value_changes_nothing(kind: str, case: Case, value: float) -> None:
    module, frames, valid = made(kind, 2, moved_by=case.seed), frames_of(case), holes(case)
    plain, changed = (walk(module, torch.where(valid, frames, under), valid) for under in (0.0, value))
    assert torch.equal(plain.z, changed.z)
    for name, entry in plain.memory.items():
        assert torch.equal(entry, changed.memory[name])


@few
@given(kinds, situations, st.data())
def test_no_level_knows_its_own_frame_or_a_later_one(kind: str, case: Case, data: st.DataObject) -> None:
    frames = frames_of(case)
    module, later = made(kind, 2), data.draw(st.integers(0, case.steps - 1))
    changed = frames.clone()
    changed[:, later:] += 7
    plain, other = walk(module, frames), walk(module, changed)
    z = tensor(case.seed, case.batch, 2, *case.grid, dtype=F64)
    for t in range(later + 1):
        assert torch.equal(module.decode(z, plain.before[t]), module.decode(z, other.before[t]))
    assert torch.equal(plain.z[:, :later], other.z[:, :later])


@few
@given(kinds, situations, st.integers(1, 4))
def test_nothing_is_learned_from_forecasts(kind: str, case: Case, fed: int) -> None:
    """Statistics and fits are those of the frames shown, whatever was fed since."""
    module = made(kind, 2, moved_by=case.seed)
    memory = walk(module, frames_of(case)).memory
    one = other = memory
    for step in range(fed):
        frame = tensor(case.seed + step, case.batch, 2, *case.grid, dtype=F64)
        _, one = module.feed(frame, one)
        _, other = module.feed(frame + 5, other)
    for name in ("count", "mean", "squares", "level", "scale", "coefficients", "fitted"):
        if name in memory:
            assert torch.equal(one[name], memory[name])
    if kind.startswith(("trend", "season of")):
        assert torch.equal(module.level(one), module.level(other))


@few
@given(kinds, situations)
def test_samples_of_a_batch_do_not_know_each_other(kind: str, case: Case) -> None:
    module, frames, valid = made(kind, 2), frames_of(case), holes(case)
    together = walk(module, frames, valid)
    for sample in range(case.batch):
        alone = walk(module, frames[sample : sample + 1], valid[sample : sample + 1])
        close(alone.z, together.z[sample : sample + 1])
        for name, entry in alone.memory.items():
            close(entry.double(), together.memory[name][sample : sample + 1].double())


@few
@given(kinds, situations)
def test_it_changes_no_argument_and_says_the_same_twice(kind: str, case: Case) -> None:
    module, frames, valid = made(kind, 2), frames_of(case), holes(case)
    memory = walk(module, frames, valid).memory
    kept = {name: entry.clone() for name, entry in memory.items()}
    z, after = module.encode(frames[:, 0], memory, valid[:, 0])
    module.feed(z, memory)
    module.decode(z, memory)
    again, _ = module.encode(frames[:, 0], memory, valid[:, 0])
    assert torch.equal(z, again)
    assert all(torch.equal(kept[name], entry) for name, entry in memory.items())
    assert kept.keys() == memory.keys() == after.keys()


# ----------------------------------------------------------------------------------------------------- the rest


@pytest.mark.parametrize("kind", ["difference", "second difference", "season", "difference and season"])
def test_differences_are_numpys(kind: str) -> None:
    frames, options = tensor(3, 1, 8, 1, 2, 3, dtype=F64), KINDS[kind]
    expected = frames.numpy()
    if season := options.get("season"):
        expected = expected[:, season:] - expected[:, :-season]
    expected = np.diff(expected, n=options.get("order", 1), axis=1)
    z = walk(made(kind), frames).z
    close(z[:, REACH[kind] :], torch.from_numpy(expected))
    assert not z[:, : REACH[kind]].any(), "no difference reaches back that far yet"


def test_a_missing_value_is_what_was_expected() -> None:
    """With first differences: the latest value stays until the next one, which is then differenced from it."""
    frames = torch.tensor([2.0, 5.0, 0.0, 0.0, 9.0], dtype=F64).view(1, 5, 1, 1, 1)
    valid = torch.tensor([True, True, False, False, True]).view(1, 5, 1, 1, 1)
    seen = walk(made("difference"), frames, valid)
    assert seen.z.flatten().tolist() == [0, 3, 0, 0, 4]
    assert made("difference").decode(torch.zeros(1, 1, 1, 1, dtype=F64), seen.before[4]).item() == 5


def test_a_field_that_does_not_vary_stays_finite() -> None:
    for kind in KINDS:
        module = made(kind, dtype=torch.float32)
        seen = walk(module, torch.full((1, 9, 1, 3, 4), 273.15))
        assert seen.z.isfinite().all()
        close(naive(module, seen.memory, torch.zeros(1, 1, 3, 4), 3), torch.full((1, 3, 1, 3, 4), 273.15), 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_stream_in_single_precision(kind: str) -> None:
    """After 300 steps on a level of 300 the naive forecast is that of double precision."""
    frames = 300 + tensor(2, 1, 300, 1, 2, 3, dtype=F64)
    said = [
        naive(module := made(kind, dtype=dtype), walk(module, frames.to(dtype)).memory, frames[:, 0].to(dtype), 2)
        for dtype in (torch.float32, F64)
    ]
    torch.testing.assert_close(said[0].double(), said[1], rtol=0, atol=0.002)


def test_memories_are_chosen_sample_by_sample() -> None:
    module, frames = made("trend and season"), tensor(4, 3, 5, 1, 2, 3, dtype=F64)
    one, other = walk(module, frames).memory, walk(module, frames + 1).memory
    mixed = chosen(torch.tensor([True, False, True]), one, other)
    for name, entry in mixed.items():
        assert torch.equal(entry, torch.stack([one[name][0], other[name][1], one[name][2]]))
