"""The head of every paper here: a convolution of hidden states.

Axes: ``B`` batch, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from stkit.cells.base import HeadSite
from stkit.cells.gates import GateBlock, Source
from stkit.modules.head.config import ConvHeadConfig


class ConvHead(nn.Module):
    """``frame = W * [H^1, ..., H^L] + b``, or of ``H^L`` alone.

    Args:
        widths: channels that each node hands up, bottom to top.
        out_channels: of the folded frame.
        kernel: side in cells.
        bias: add an offset to each channel.
        reads: ``top`` or ``all`` nodes.
        zero_init: start with all weights zero.
        activation: ``sigmoid`` or None.
        device: of the parameters.
        dtype: of the parameters.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        out_channels: int,
        *,
        kernel: int = 1,
        bias: bool = True,
        reads: Literal["top", "all"] = "top",
        zero_init: bool = False,
        activation: Literal["sigmoid"] | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.first = 0 if reads == "all" else len(widths) - 1
        hidden = Source(sum(widths[self.first :]), ("frame",))
        self.convolution = GateBlock(
            out_channels,
            {"hidden": hidden},
            kernel=kernel,
            bias="source" if bias else "none",
            device=device,
            dtype=dtype,
        )
        self.activation = nn.Identity() if activation is None else nn.Sigmoid()
        if zero_init:
            for parameter in self.parameters():
                nn.init.zeros_(parameter)

    @classmethod
    def from_config(cls, config: ConvHeadConfig, site: HeadSite) -> ConvHead:
        """As a recipe says it."""
        options = config.model_dump(exclude={"name"})
        return cls(site.widths, site.out_channels, **options, device=site.device, dtype=site.dtype)

    def forward(self, hidden: tuple[Tensor, ...]) -> Tensor:
        """The folded frame ``B out_channels H W`` from every node's ``B C H W``, bottom to top."""
        frame: Tensor = self.activation(self.convolution(hidden=hidden[self.first :])["frame"])
        return frame
