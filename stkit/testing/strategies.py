"""Hypothesis strategies for what goes through a model: small sizes, awkward shapes, reproducible numbers.

Hypothesis draws the sizes and a seed; torch makes the numbers from the seed, so a failing example is short to read and
quick to repeat. Axes: ``B`` batch, ``T`` time, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from torch import Tensor

__all__ = ["Case", "batches", "cases", "frames", "grids", "masks", "seeds", "steps", "tensor", "widths"]

CONTRACT_SETTINGS = settings(
    max_examples=8,
    deadline=None,
    report_multiple_bugs=False,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)
"""For tests that a class inherits: no deadline, the same examples on every run where ``CI`` is set. The examples are
small from the start, so a failing one is shown as it is found, without the time that making it smaller takes."""

STACK_SETTINGS = settings(CONTRACT_SETTINGS, max_examples=5)
"""The same for whole architectures, which take longer."""


class Case(NamedTuple):
    """One drawn situation: the sizes of a batch of sequences, and the seed of its numbers."""

    batch: int
    steps: int
    height: int
    width: int
    seed: int

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


def seeds() -> st.SearchStrategy[int]:
    """Seeds for :func:`torch.manual_seed`."""
    return st.integers(0, 2**31 - 1)


def batches(max_size: int = 3) -> st.SearchStrategy[int]:
    """Batch sizes from one."""
    return st.integers(1, max_size)


def steps(min_size: int = 2, max_size: int = 4) -> st.SearchStrategy[int]:
    """Numbers of time steps."""
    return st.integers(min_size, max_size)


def widths(max_size: int = 6, *, multiple_of: int = 1) -> st.SearchStrategy[int]:
    """Numbers of channels; ``multiple_of`` for modules with heads or groups."""
    return st.integers(1, max(1, max_size // multiple_of)).map(lambda n: n * multiple_of)


def grids(min_side: int = 3, max_side: int = 9) -> st.SearchStrategy[tuple[int, int]]:
    """Height and width: square and not, odd and even, in an order that puts an odd non-square grid first."""
    side = st.integers(min_side, max_side)
    awkward = [(h, w) for h, w in ((5, 7), (7, 4), (3, 8)) if min_side <= min(h, w) and max(h, w) <= max_side]
    free = st.tuples(side, side)
    return st.one_of(st.sampled_from(awkward), free) if awkward else free


def cases(*, max_batch: int = 3, min_steps: int = 2, max_steps: int = 4) -> st.SearchStrategy[Case]:
    """Whole situations for a model: batch, steps, grid and seed."""
    return st.builds(
        lambda batch, n, grid, seed: Case(batch, n, grid[0], grid[1], seed),
        batches(max_batch),
        steps(min_steps, max_steps),
        grids(),
        seeds(),
    )


def tensor(
    seed: int, *shape: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Normal numbers of this shape from ``seed`` alone, drawn in float64 on the CPU and then converted."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(
        device=device, dtype=dtype or torch.get_default_dtype()
    )


@st.composite
def frames(
    draw: st.DrawFn,
    *,
    batch: int | None = None,
    n_steps: int | None = None,
    channels: int | None = None,
    grid: tuple[int, int] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Sequences ``B T C H W`` of normal numbers; what is not given is drawn."""
    b = draw(batches()) if batch is None else batch
    t = draw(steps()) if n_steps is None else n_steps
    c = draw(widths(3)) if channels is None else channels
    h, w = draw(grids()) if grid is None else grid
    return tensor(draw(seeds()), b, t, c, h, w, dtype=dtype)


@st.composite
def masks(draw: st.DrawFn, grid: tuple[int, int] | None = None) -> Tensor:
    """Masks ``H W``, True on valid cells, with at least one valid cell: all sea, a coast, or scattered holes."""
    h, w = draw(grids()) if grid is None else grid
    kind = draw(st.sampled_from(["all", "coast", "holes"]))
    if kind == "all":
        return torch.ones(h, w, dtype=torch.bool)
    if kind == "coast":
        column = draw(st.integers(1, w))
        return (torch.arange(w) < column).expand(h, w).clone()
    mask = tensor(draw(seeds()), h, w) > 0
    mask[draw(st.integers(0, h - 1)), draw(st.integers(0, w - 1))] = True
    return mask
