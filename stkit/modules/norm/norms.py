"""Layer norms of feature maps. Both take their moments over channels and grid of each sample; the gains differ.

Axes: ``B`` batch, ``C`` channels, then the grid: ``H W`` or ``D H W``.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stkit.cells.base import NormSite
from stkit.modules.norm.config import ChannelNormConfig, PixelNormConfig


class ChannelNorm(nn.GroupNorm):
    """Gain and offset for each channel: what the TensorFlow code of PredRNN++, E3D-LSTM and MIM uses."""

    @classmethod
    def from_config(cls, config: ChannelNormConfig, site: NormSite) -> ChannelNorm:
        """As a recipe says it."""
        return cls(1, site.channels, eps=config.eps, device=site.device, dtype=site.dtype)


class PixelNorm(nn.LayerNorm):
    """Gain and offset for each channel and grid cell: what the PyTorch code of PredRNN uses.

    Args:
        channels: of the feature map.
        grid: sizes of the axes after the channels.
        eps: added to the variance.
        device: of the parameters.
        dtype: of the parameters.
    """

    def __init__(
        self,
        channels: int,
        grid: tuple[int, ...],
        eps: float = 1e-5,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__([channels, *grid], eps=eps, device=device, dtype=dtype)

    @classmethod
    def from_config(cls, config: PixelNormConfig, site: NormSite) -> PixelNorm:
        """As a recipe says it.

        Raises:
            ValueError: if the grid is not known.
        """
        if site.grid is None:
            raise ValueError("the norm 'pixel' needs to know the grid when the model is built; 'channel' does not")
        return cls(site.channels, site.grid, config.eps, device=site.device, dtype=site.dtype)

    def forward(self, input: Float[Tensor, "B C *grid"]) -> Float[Tensor, "B C *grid"]:
        """The normalised feature map.

        Raises:
            ValueError: if the grid is not the one the gains belong to.
        """
        if tuple(input.shape[1:]) != tuple(self.normalized_shape):
            raise ValueError(
                f"the norm 'pixel' was built for channels and grid {tuple(self.normalized_shape)} "
                f"and received {tuple(input.shape[1:])}; the norm 'channel' fits any grid"
            )
        return super().forward(input)
