"""Scheduled sampling (Bengio et al. 2015; Wang et al. 2017) and its reverse (Wang et al. 2021)."""

import itertools
import math

import numpy as np
import pytest
import torch

from stkit.recipe.sections.train import NoSampling, ReverseScheduledSampling, ScheduledSampling
from stkit.train.sampling import probabilities, tokens

SCHEDULED = ScheduledSampling(name="scheduled")
REVERSE = ReverseScheduledSampling(name="reverse_scheduled")


def draw(sampling, *, step=0, seed=0, batch=64, share=slice(None), frames=20, context=10, **more):
    return tokens(
        sampling, step=step, seed=seed, share=share, global_batch=batch, frames=frames, context_steps=context, **more
    )


def test_none_shows_the_context_and_no_token():
    assert probabilities(NoSampling(name="none"), 7) == (1, 0)
    assert draw(NoSampling(name="none")) is None


@pytest.mark.parametrize("step", [0, 1, 12_345, 49_999])
def test_scheduled_falls_linearly(step):
    # PredRNN: eta starts at 1 and falls by 2e-5 an iteration until iteration 50,000.
    assert probabilities(SCHEDULED, step) == (1.0, pytest.approx(1 - 2e-5 * step))


@pytest.mark.parametrize("step", [50_000, 60_000])
def test_scheduled_ends(step):
    assert probabilities(SCHEDULED, step) == (1.0, 0.0)


def test_scheduled_never_falls_below_zero_and_stops_where_told():
    steep = ScheduledSampling(name="scheduled", start=0.8, decrease_per_step=0.1, stop_step=100)
    assert probabilities(steep, 20) == (1.0, 0.0)
    early = ScheduledSampling(name="scheduled", start=0.8, decrease_per_step=0.0, stop_step=3)
    assert [probabilities(early, step)[1] for step in range(5)] == [0.8, 0.8, 0.8, 0.0, 0.0]


def test_reverse_has_three_phases():
    # PredRNN-V2: S1 = 25,000, S2 = 50,000, alpha = 5,000.
    assert probabilities(REVERSE, 24_999) == (0.5, 0.5)
    assert probabilities(REVERSE, 25_000) == (0.5, 0.5)
    context, forecast = probabilities(REVERSE, 30_000)
    assert context == pytest.approx(1 - 0.5 * math.exp(-1))
    assert forecast == pytest.approx(0.5 - 0.5 * 5_000 / 25_000)
    context, forecast = probabilities(REVERSE, 49_999)
    assert context == pytest.approx(1 - 0.5 * math.exp(-24_999 / 5_000))
    assert forecast == pytest.approx(0.5 / 25_000)
    assert probabilities(REVERSE, 50_000) == (1.0, 0.0)


def test_reverse_without_a_middle_phase():
    sampling = ReverseScheduledSampling(name="reverse_scheduled", first_step=5, second_step=5)
    assert [probabilities(sampling, step) for step in (4, 5)] == [(0.5, 0.5), (1.0, 0.0)]


def test_layout_of_the_tokens():
    """T - 2 tokens, the first T_in - 1 of them in the context; True shows the true frame."""
    half = ScheduledSampling(name="scheduled", start=0.5, decrease_per_step=0)
    shown = draw(half, frames=9, context=4)
    assert shown.dtype == torch.bool
    assert shown.shape == (64, 7)
    assert shown[:, :3].all()
    assert 0 < shown[:, 3:].float().mean() < 1
    reverse = draw(REVERSE, frames=9, context=4)
    assert 0 < reverse[:, :3].float().mean() < 1
    end = draw(REVERSE, step=50_000, frames=9, context=4)
    assert end[:, :3].all()
    assert not end[:, 3:].any()


@pytest.mark.parametrize(("frames", "context"), [(2, 1), (3, 1), (3, 2)])
def test_shortest_windows(frames, context):
    assert draw(SCHEDULED, frames=frames, context=context).shape == (64, frames - 2)


def test_frequency_is_the_probability():
    sampling = ScheduledSampling(name="scheduled", start=0.3, decrease_per_step=0)
    shown = np.concatenate([draw(sampling, step=step)[:, 9:].numpy() for step in range(100)])
    assert shown.mean() == pytest.approx(0.3, abs=3 * math.sqrt(0.3 * 0.7 / shown.size))


def test_a_function_of_seed_step_and_position_only():
    whole = draw(REVERSE, step=3, seed=5)
    for parts in (2, 3, 7):
        bounds = [64 * part // parts for part in range(parts + 1)]
        shares = [draw(REVERSE, step=3, seed=5, share=slice(a, b)) for a, b in itertools.pairwise(bounds)]
        assert torch.equal(torch.cat(shares), whole)
    assert not torch.equal(draw(REVERSE, step=4, seed=5), whole)
    assert not torch.equal(draw(REVERSE, step=3, seed=6), whole)


def test_a_batch_that_is_trained_twice_has_one_draw():
    assert torch.equal(draw(REVERSE, step=6, draw=3), draw(REVERSE, step=7, draw=3))
