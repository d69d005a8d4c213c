"""Losses with a known truth, and groups of runs made of them."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from stkit.data.source import Variable
from stkit.evaluate.comparison.group import Cost, Group
from stkit.evaluate.window_errors import ErrorsLayout, RunErrors, WindowErrors

INPUT_STEPS, HORIZON = 4, 2


def autoregression(rng: np.random.Generator, phi: float, shape: tuple[int, ...]) -> np.ndarray:
    """Stationary, of variance 1, along the last axis."""
    noise = rng.normal(size=shape) * np.sqrt(1 - phi**2)
    noise[..., 0] /= np.sqrt(1 - phi**2)
    return lfilter([1.0], [1.0, -phi], noise, axis=-1)


def run_errors(
    losses: dict[str, np.ndarray],
    *,
    stride: int = 1,
    share_steps: bool = True,
    weight: np.ndarray | None = None,
    windows_hash: str = "0123456789abcdef",
    variables: tuple[str, ...] = ("sst",),
) -> RunErrors:
    """Errors of a run from the losses ``T L`` (or ``T L C``) of each forecast."""
    stacked = np.stack(
        [loss if loss.ndim == 3 else np.repeat(loss[..., None], len(variables), 2) for loss in losses.values()]
    )
    count, leads = stacked.shape[1:3]
    layout = ErrorsLayout(
        forecasts=tuple(losses),
        variables=tuple(Variable(name, "degC") for name in variables),
        starts=tuple(range(0, stride * count, stride)),
        times=None,
        input_steps=INPUT_STEPS,
        horizon=leads,
        windows_hash=windows_hash,
        lead_unit="month",
        share_steps=share_steps,
        statistics=("mse", "mse", "mae", "mae"),
    )
    own = np.ones(stacked.shape[1:]) if weight is None else np.broadcast_to(weight[..., None], stacked.shape[1:])
    absolute = np.sqrt(np.abs(stacked))
    sums = [np.where(own > 0, own * loss, 0.0) for loss in (stacked, absolute)]
    counts = np.broadcast_to(own, stacked.shape)
    statistics = np.stack([sums[0], counts, sums[1], counts], axis=2)
    return RunErrors(layout, WindowErrors(stacked, absolute, own, statistics))


def group(name: str, models: np.ndarray, baselines: dict[str, np.ndarray], **said: object) -> Group:
    """A recipe whose seeds have the losses ``S T L``."""
    return Group(
        name=name,
        seeds=tuple(range(len(models))),
        runs=tuple(f"runs/{name}/seed-{seed}" for seed in range(len(models))),
        errors=tuple(run_errors({"model": model, **baselines}, **said) for model in models),  # type: ignore[arg-type]
        cost=Cost(parameters=1200, flops=3_400_000, steps=(100,) * len(models), seconds=(60.0,) * len(models)),
    )


def weather(rng: np.random.Generator, windows: int, leads: int = HORIZON) -> np.ndarray:
    """``T L``: what makes some windows harder than others for every forecast."""
    return 4 + autoregression(rng, 0.7, (windows,))[:, None] + 0.5 * np.arange(leads)
