"""What several GPUs bring, computed from a measured step and the size of the weights. Needs no torch.

A step of data parallel training is the computation and the exchange of the gradients. Of the exchange nothing, or all
that fits beside the backward pass, is hidden behind the computation: the truth lies between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

FLOAT32_BYTES = 4
STATES_OF_ADAM = 2
BACKWARD_SHARE = 2 / 3
"""Of a step's computation: the backward pass computes two products for each one of the forward pass."""


@dataclass(frozen=True)
class Links:
    """Assumed machines."""

    gpus_per_machine: int = 8
    within_bytes: float = 300e9
    """A second, in each direction, for each GPU, that are reached between the GPUs of a machine."""
    between_bytes: float = 40e9
    """The same between machines: 80 % of 400 Gbit/s for each GPU."""
    latency_seconds: float = 20e-6
    """Of each of the ``2 (n - 1)`` messages of an exchange in a ring."""


class Scaled(NamedTuple):
    """What a way of training on several GPUs comes to."""

    worst: float
    """Share of perfect speed-up with nothing of the exchange hidden."""
    best: float
    """The same with as much hidden as fits beside the backward pass."""
    weight_bytes: float
    """On each GPU: weights, gradients and the optimiser's state."""


def exchange_seconds(size: float, gpus: int, links: Links, passes: int = 2) -> float:
    """How long an exchange takes in a ring: each GPU sends ``(n - 1) / n`` of ``size`` once for each pass.

    Args:
        size: bytes of all gradients, or weights.
        gpus: how many take part.
        links: between them.
        passes: 2 for the sum of gradients (scatter and gather); 3 where weights are gathered twice, forwards and
            backwards, and gradients scattered.
    """
    if gpus == 1:
        return 0.0
    bandwidth = links.within_bytes if gpus <= links.gpus_per_machine else links.between_bytes
    return passes * (gpus - 1) * (size / gpus / bandwidth + links.latency_seconds)


def data_parallel(step_seconds: float, parameters: int, gpus: int, links: Links, accumulate: int = 1) -> Scaled:
    """Whole models on every GPU (Accelerate's default, DDP); the gradients are exchanged once a step.

    Args:
        step_seconds: measured on one GPU, with the windows that each GPU takes at a time.
        parameters: of the model.
        gpus: how many.
        links: between them.
        accumulate: parts of a step, each as long as the measured one, before gradients are exchanged.
    """
    size = parameters * FLOAT32_BYTES
    return _scaled(
        accumulate * step_seconds,
        step_seconds,
        exchange_seconds(size, gpus, links),
        size * (2 + STATES_OF_ADAM),
    )


def sharded(step_seconds: float, parameters: int, gpus: int, links: Links) -> Scaled:
    """Models cut into shards (FSDP): weights are gathered for the rollout and for its gradient, and one at a time."""
    size = parameters * FLOAT32_BYTES
    gathered = exchange_seconds(size, gpus, links, passes=3)
    return _scaled(step_seconds, step_seconds, gathered, size * (2 + STATES_OF_ADAM) / gpus + size)


def _scaled(computing: float, last_part: float, exchanging: float, weight_bytes: float) -> Scaled:
    # What can be hidden is hidden behind the backward pass of the last part.
    shown = max(0.0, exchanging - BACKWARD_SHARE * last_part)
    return Scaled(computing / (computing + exchanging), computing / (computing + shown), weight_bytes)
