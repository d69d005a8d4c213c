"""The loss of PredRNN-V2: PredRNN: A Recurrent Neural Network for Spatiotemporal Predictive Learning.

Yunbo Wang, Haixu Wu, Jianjin Zhang, Zhifeng Gao, Jianmin Wang, Philip S. Yu, Mingsheng Long, 2021, arXiv:2103.09504.
Reference code: https://github.com/thuml/predrnn-pytorch (no licence file: these lines are written from the equations).

As there, one 1x1 convolution serves all layers, and the cosine is taken over the grid, channel by channel.

Axes: ``B`` batch, ``N`` predicted frames, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stkit.train.losses import Loss, LossSite, Terms, masked_sum
from stkit_predrnn.config import DecouplingConfig


class DecouplingLoss(Loss):
    """``mean (prediction - target)**2 + beta * mean over t, l, b, c of |cos(A * delta_c, A * delta_m)|``.

    ``delta_c`` and ``delta_m`` are the increments of a layer's two memories and ``A`` a 1x1 convolution, trained with
    the model. Where the increments point the same way both memories learn the same thing: the loss discourages it.

    Args:
        width: channels of the increments, the same in every layer.
        beta: weight of the second term.
        device: of the parameters.
        dtype: of the parameters.
    """

    reads_increments = True

    def __init__(
        self,
        width: int,
        beta: float = 0.1,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.beta = beta
        self.adapter = nn.Conv2d(width, width, 1, bias=False, device=device, dtype=dtype)

    @classmethod
    def from_config(cls, config: DecouplingConfig, site: LossSite) -> DecouplingLoss:  # type: ignore[override]
        """As a recipe says it.

        Raises:
            ValueError: if the layers have different widths.
        """
        if len(set(site.widths)) != 1:
            raise ValueError(f"the decoupling loss needs layers of one width, received {list(site.widths)}")
        return cls(site.widths[0], config.beta)

    def counts(self, valid: Tensor) -> dict[str, Tensor]:
        """Valid cells for the squared error, samples for the decoupling."""
        samples = torch.full((), valid.shape[0], device=valid.device, dtype=torch.float64)
        return {"mse": valid.sum(dtype=torch.float64), "decoupling": samples}

    def forward(
        self, prediction: Tensor, target: Tensor, valid: Tensor, aux: Sequence[tuple[Mapping[str, Tensor], ...]]
    ) -> Terms:
        """Both terms of these samples, as sums with their counts.

        Args:
            prediction: ``B N C H W``.
            target: as ``prediction``.
            valid: bool, False where the target is missing.
            aux: the cells' by-products, for each step and layer.

        Raises:
            ValueError: if no layer hands out its increments.
        """
        overlaps = [self.overlap(layer) for step in aux for layer in step if "delta_c" in layer and "delta_m" in layer]
        if not overlaps:
            raise ValueError("the decoupling loss needs layers that hand out delta_c and delta_m, such as st_lstm")
        counts = self.counts(valid)
        squared = masked_sum((_at_least_single(prediction) - _at_least_single(target)).square(), valid)
        apart = self.beta * torch.stack(overlaps).mean(dim=(0, 2)).sum()
        return {"mse": (squared, counts["mse"]), "decoupling": (apart, counts["decoupling"])}

    def overlap(self, layer: Mapping[str, Tensor]) -> Tensor:
        """``|cos|`` of one layer's increments at one step: ``B C``."""
        c, m = (
            F.normalize(_at_least_single(self.adapter(layer[name])).flatten(2), dim=2)
            for name in ("delta_c", "delta_m")
        )
        return (c * m).sum(dim=2).abs()


def _at_least_single(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
