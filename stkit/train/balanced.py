"""The balanced losses of HKO-7: Deep Learning for Precipitation Nowcasting: A Benchmark and A New Model.

Xingjian Shi, Zhihan Gao, Leonard Lausen, Hao Wang, Dit-Yan Yeung, Wai-kin Wong, Wang-chun Woo, NeurIPS 2017,
arXiv:1706.03458. Reference code: https://github.com/sxjscience/HKO-7 (MIT).

Heavy rain is rare, and a plain mean error is hardly made of it. Here the error of a cell is weighted by the class of
its true rain rate. As there, the classes are in mm/h, the errors in what the model works on (there a pixel that is
linear in dBZ, so nearly in the logarithm of the rate), and B-MSE and B-MAE are added. Deliberately different: a mean
over valid cells, where the paper takes the sum of a frame, so that the size of the grid does not set the learning rate.

Axes: ``B`` batch, ``N`` predicted frames, ``C`` fields, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from stkit.data.units import same_units
from stkit.train.losses import Aux, Loss, LossSite, Terms, comparable, masked_sum
from stkit.train.losses_config import BalancedConfig


class BalancedLoss(Loss):
    """``l1_weight * mean w |p - t| + l2_weight * mean w (p - t)**2``, ``w`` by the class of the true value.

    Args:
        thresholds: where the classes begin, increasing, in physical units.
        weights: of the classes, one more than thresholds.
        l1_weight: of the balanced absolute error.
        l2_weight: of the balanced squared error.
    """

    reads = ("physical",)
    thresholds: Tensor
    weights: Tensor

    def __init__(
        self,
        thresholds: Sequence[float] = (2.0, 5.0, 10.0, 30.0),
        weights: Sequence[float] = (1.0, 2.0, 5.0, 10.0, 30.0),
        l1_weight: float = 1.0,
        l2_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.l1_weight = l1_weight
        self.l2_weight = l2_weight
        self.register_buffer("thresholds", torch.tensor(thresholds), persistent=False)
        self.register_buffer("weights", torch.tensor(weights), persistent=False)

    @classmethod
    def from_config(cls, config: BalancedConfig, site: LossSite) -> Self:  # type: ignore[override]
        """Build from the recipe.

        Raises:
            ValueError: a field is not in the units of the thresholds.
        """
        for variable in site.variables:
            if variable.units == "1" and not same_units(config.units, "1"):
                raise ValueError(
                    f"the thresholds are in {config.units}, but {variable.name} has no units; give the variable its "
                    "units in the file, or set train.loss.units to '1' and thresholds and weights that suit it"
                )
            if not same_units(config.units, variable.units):
                raise ValueError(
                    f"the thresholds are in {config.units}, but {variable.name} is in {variable.units}; "
                    f"set train.loss.units to {variable.units!r}, with thresholds and weights that suit it"
                )
        return cls(config.thresholds, config.weights, config.l1_weight, config.l2_weight)

    def cell_weights(self, physical: Tensor) -> Tensor:
        """The weight of each cell, in the shape of ``physical``: of the class at or above whose threshold it is."""
        return self.weights[torch.bucketize(physical, self.thresholds, right=True)]

    def counts(self, valid: Tensor) -> dict[str, Tensor]:
        """The number of valid cells, for each term that has a weight."""
        cells = valid.sum(dtype=torch.float64)
        parts = {"balanced_mae": self.l1_weight, "balanced_mse": self.l2_weight}
        return {name: cells for name, weight in parts.items() if weight}

    def forward(  # type: ignore[override]
        self, prediction: Tensor, target: Tensor, valid: Tensor, aux: Aux, *, physical: Tensor
    ) -> Terms:
        """The terms of these samples.

        Args:
            prediction: ``B N C H W`` in model space.
            target: as ``prediction``.
            valid: bool, False where the target is missing.
            aux: not looked at.
            physical: the target in physical units.
        """
        prediction, target = comparable(prediction, target, valid)
        difference = prediction - target
        weights = self.cell_weights(torch.where(valid, physical, 0.0)).to(difference.dtype)
        costs = {
            "balanced_mae": (self.l1_weight, difference.abs()),
            "balanced_mse": (self.l2_weight, difference.square()),
        }
        return {
            name: (costs[name][0] * masked_sum(weights * costs[name][1], valid), count)
            for name, count in self.counts(valid).items()
        }
