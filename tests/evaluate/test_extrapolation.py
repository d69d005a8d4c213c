"""Motion and extrapolation: fields that move are carried on, whatever the direction, the gaps and the variables."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stkit.errors import UsageError
from stkit.evaluate.baselines import Persistence
from stkit.evaluate.extrapolation import Extrapolation
from stkit.evaluate.motion import advect, motion

SIDE = 64


def moving(down: float, right: float, steps: int, seed: int = 0, side: int = SIDE) -> torch.Tensor:
    """Blobs that move on: ``T 1 H W``, not negative."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side].astype(np.float64)
    places = rng.uniform(-side / 2, 1.5 * side, (60, 2))
    sizes, heights = rng.uniform(3, 7, 60), rng.uniform(0.5, 3, 60)
    frames = np.zeros((steps, 1, side, side))
    for step in range(steps):
        for (top, left), size, height in zip(places, sizes, heights, strict=True):
            far = (y - top - down * step) ** 2 + (x - left - right * step) ** 2
            frames[step, 0] += height * np.exp(-far / (2 * size**2))
    return torch.from_numpy(frames.astype(np.float32))


@settings(deadline=None, max_examples=8)
@given(down=st.floats(-3, 3), right=st.floats(-3, 3), seed=st.integers(0, 100))
def test_the_motion_of_a_field_is_found(down: float, right: float, seed: int) -> None:
    frames = moving(down, right, 4, seed)[None, :, 0]
    found = motion(frames, torch.ones_like(frames, dtype=torch.bool))[0, :, 8:-8, 8:-8]
    torch.testing.assert_close(found.mean((1, 2)), torch.tensor([down, right]), rtol=0, atol=0.15)


def test_a_moving_field_is_carried_on() -> None:
    frames = moving(1.5, -2.0, 10)
    said = Extrapolation().forecast(frames[None, :4], None, 6)
    stays = Persistence().forecast(frames[None, :4], None, 6)
    middle = (..., slice(16, 48), slice(16, 48))
    errors = [(one - frames[None, 4:])[middle].square().mean().sqrt() for one in (said, stays)]
    assert errors[0] < 0.1 * errors[1]


def test_each_variable_moves_by_itself_and_each_window_too() -> None:
    one, other = moving(2.0, 0.0, 4, 1), moving(0.0, -2.0, 4, 2)
    together = Extrapolation().forecast(torch.stack([torch.cat([one, other], 1), torch.cat([other, one], 1)]), None, 3)
    assert together.shape == (2, 3, 2, SIDE, SIDE)
    alone = Extrapolation().forecast(one[None], None, 3)
    torch.testing.assert_close(together[:1, :, :1], alone, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together[1:, :, 1:], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 4])
def test_what_does_not_move_stays(steps: int) -> None:
    still = moving(0.0, 0.0, 1).expand(steps, -1, -1, -1)
    torch.testing.assert_close(
        Extrapolation().forecast(still[None], None, 3), still[None, :1].expand(-1, 3, -1, -1, -1), rtol=0, atol=1e-2
    )
    flat = torch.full((1, steps, 1, 16, 16), 3.0)
    torch.testing.assert_close(Extrapolation().forecast(flat, None, 2), flat[:, :1].expand(-1, 2, -1, -1, -1))


def test_land_stays_land_and_what_comes_from_it_or_from_outside_stays() -> None:
    frames = moving(0.0, 3.0, 4)
    frames[..., :10, 40:50] = torch.nan
    said = Extrapolation().forecast(frames[None], None, 4)[0]
    assert said[..., :10, 40:50].isnan().all()
    land = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    land[:10, 40:50] = True
    assert said[..., ~land].isfinite().all()
    torch.testing.assert_close(said[3, 0, 20:, 0], frames[-1, 0, 20:, 0], msg="what enters is not known")


def test_advection_by_whole_cells_is_a_shift() -> None:
    frame = torch.rand(1, 20, 24)
    flow = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 20, 24)
    moved = advect(frame, flow, 3)[0]
    for lead in range(3):
        down, left = 2 * (lead + 1), lead + 1
        torch.testing.assert_close(moved[lead, down:, : 24 - left], frame[0, : 20 - down, left:], rtol=1e-4, atol=1e-4)
        assert moved[lead, :down].isnan().all()
        assert moved[lead, :, 24 - left :].isnan().all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 3), (17, 40)])
def test_any_grid(shape: tuple[int, int]) -> None:
    context = torch.rand(2, 3, 1, *shape)
    assert Extrapolation().forecast(context, None, 2).isfinite().all()


@pytest.mark.parametrize("name", ["PystepsExtrapolation", "Sprog"])
def test_the_nowcasts_of_pysteps(name: str) -> None:
    pytest.importorskip("pysteps", reason="pysteps is not installed")
    from stkit.evaluate import pysteps_nowcast

    frames = moving(1.5, -2.0, 8)
    baseline = getattr(pysteps_nowcast, name)()
    said, stays = (one.forecast(frames[None, :4], None, 4) for one in (baseline, Persistence()))
    assert said.shape == (1, 4, 1, SIDE, SIDE)
    assert said.isfinite().all()
    assert (said >= 0).all()
    middle = (..., slice(16, 48), slice(16, 48))
    errors = [(one - frames[None, 4:])[middle].square().mean() for one in (said, stays)]
    assert errors[0] < 0.5 * errors[1]
    dry = baseline.forecast(torch.zeros(1, 4, 1, 32, 32), None, 2)
    assert (dry == 0).all()
    assert "pysteps" in baseline.about


def test_without_pysteps_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from stkit.evaluate.pysteps_nowcast import Sprog

    monkeypatch.setitem(sys.modules, "pysteps", None)
    with pytest.raises(UsageError, match=r"pip install 'stkit-torch\[radar\]'"):
        Sprog()
