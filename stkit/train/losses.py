"""Losses: sums with their counts, so that any split of a batch over processes or parts gives the same mean.

Axes: ``B`` batch, ``N`` predicted frames, ``C`` fields, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stkit.data.source import Variable
from stkit.plugin.config import ComponentConfig
from stkit.train.losses_config import BCEConfig, L1L2Config, MAEConfig, MSEConfig

Aux = Sequence[tuple[Mapping[str, Tensor], ...]]
"""By-products of the rollout: for each step, for each node, named tensors."""
Terms = dict[str, tuple[Tensor, Tensor]]
"""For each term its sum (a scalar with a gradient, already weighted) and its count, by which the sum is divided."""


class LossSite(NamedTuple):
    """What a loss may need to know of the model to build its own parameters."""

    state_channels: int
    """Fields that are forecast."""
    widths: tuple[int, ...]
    """Hidden channels of the layers, bottom to top."""
    variables: tuple[Variable, ...] = ()
    """What these fields are, with their units; empty where nobody says."""


class Loss(nn.Module):
    """A training loss. It may own parameters; they are trained with the model's.

    The loss that is minimised is ``sum over terms (global sum / global count)``, where global means: over all processes
    and all accumulated parts of the batch. The counts of a batch must therefore be known before the model runs.

    On a GPU a step may be recorded and replayed. So what changes from step to step, such as a weight that falls, is
    kept in a tensor (a buffer) and changed in place; where a Python value changes, training goes on without graphs.
    Nothing is made on the processor or read by it.
    """

    reads: ClassVar[tuple[str, ...]] = ()
    """What :meth:`forward` is given besides, as keyword arguments: tensors of a :data:`stkit.data.windows.Sample`, cut
    to the frames of ``target``. ``("physical",)``: the truth in physical units."""
    reads_increments: ClassVar[bool] = False
    """Whether ``aux`` is to have what steps add to the cells' memories (``delta_c``, ``delta_m``); see
    :meth:`stkit.cells.Cell.increments`. They are computed for losses that say so, and kept for the whole sequence."""

    @classmethod
    def from_config(cls, config: ComponentConfig, site: LossSite) -> Self:
        """Build from the recipe's ``train.loss``."""
        raise NotImplementedError

    def counts(self, valid: Tensor) -> dict[str, Tensor]:
        """What each term's sum is divided by, for the target cells ``valid`` (``B N C H W``, bool).

        A count must be additive over samples: the number of valid cells, or the number of samples.
        """
        raise NotImplementedError

    def forward(self, prediction: Tensor, target: Tensor, valid: Tensor, aux: Aux) -> Terms:
        """The terms of these samples.

        Args:
            prediction: ``B N C H W`` in model space.
            target: the frames that were predicted, as ``prediction``.
            valid: bool, False where the target is missing.
            aux: by-products of the cells.
        """
        raise NotImplementedError


class CellwiseLoss(Loss):
    """A loss of one term: a sum over valid cells."""

    term: str

    def counts(self, valid: Tensor) -> dict[str, Tensor]:
        """The number of valid cells."""
        return {self.term: valid.sum(dtype=torch.float64)}

    def forward(self, prediction: Tensor, target: Tensor, valid: Tensor, aux: Aux) -> Terms:
        """The cost of the valid cells."""
        cost = self.cost(*comparable(prediction, target, valid))
        return {self.term: (masked_sum(cost, valid), self.counts(valid)[self.term])}

    def cost(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The cost of each cell, in the shape of ``target``."""
        raise NotImplementedError


class MSE(CellwiseLoss):
    """Mean of ``(prediction - target)**2``."""

    term = "mse"

    @classmethod
    def from_config(cls, config: MSEConfig, site: LossSite) -> Self:  # type: ignore[override]
        """Build from the recipe."""
        return cls()

    def cost(self, prediction: Tensor, target: Tensor) -> Tensor:
        """``(p - t)**2``."""
        return (prediction - target).square()


class MAE(CellwiseLoss):
    """Mean of ``|prediction - target|``."""

    term = "mae"

    @classmethod
    def from_config(cls, config: MAEConfig, site: LossSite) -> Self:  # type: ignore[override]
        """Build from the recipe."""
        return cls()

    def cost(self, prediction: Tensor, target: Tensor) -> Tensor:
        """``|p - t|``."""
        return (prediction - target).abs()


class L1L2(Loss):
    """``l1_weight * mean |d| + l2_weight * mean d**2``; the two terms are logged apart."""

    def __init__(self, l1_weight: float = 1.0, l2_weight: float = 1.0) -> None:
        super().__init__()
        self.l1_weight = l1_weight
        self.l2_weight = l2_weight

    @classmethod
    def from_config(cls, config: L1L2Config, site: LossSite) -> Self:  # type: ignore[override]
        """Build from the recipe."""
        return cls(config.l1_weight, config.l2_weight)

    def counts(self, valid: Tensor) -> dict[str, Tensor]:
        """The number of valid cells, for both terms."""
        cells = valid.sum(dtype=torch.float64)
        return {"l1": cells, "l2": cells}

    def forward(self, prediction: Tensor, target: Tensor, valid: Tensor, aux: Aux) -> Terms:
        """Both terms, weighted."""
        prediction, target = comparable(prediction, target, valid)
        difference = prediction - target
        counts = self.counts(valid)
        return {
            "l1": (self.l1_weight * masked_sum(difference.abs(), valid), counts["l1"]),
            "l2": (self.l2_weight * masked_sum(difference.square(), valid), counts["l2"]),
        }


class BCE(CellwiseLoss):
    """Mean of ``-(t log p + (1 - t) log(1 - p))`` with probabilities ``p`` (Shi et al. 2015, section 4.1)."""

    term = "bce"

    @classmethod
    def from_config(cls, config: BCEConfig, site: LossSite) -> Self:  # type: ignore[override]
        """Build from the recipe."""
        return cls()

    def cost(self, prediction: Tensor, target: Tensor) -> Tensor:
        """``-(t log p + (1 - t) log(1 - p))``, with logarithms not below -100."""
        # Mixed precision refuses cross-entropy of probabilities, as bf16 rounds them to 0 and 1; these are float32.
        with torch.autocast(prediction.device.type, enabled=False):
            return F.binary_cross_entropy(prediction, target, reduction="none")


def comparable(prediction: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float32 or better, whatever mixed precision made of them, and the target 0 where it is missing."""
    dtype = torch.promote_types(prediction.dtype, torch.float32)
    # A NaN that is masked after the cost would still have a gradient of NaN.
    return prediction.to(dtype), torch.where(valid, target.to(dtype), 0.0)


def masked_sum(cost: Tensor, valid: Tensor) -> Tensor:
    """Sum of ``cost`` where ``valid``."""
    return torch.where(valid, cost, 0.0).sum()
