"""The head above E3D-LSTM's layers: one convolution over the whole depth.

Eidetic 3D LSTM (Wang et al. 2019). As in the released code, https://github.com/google/e3d_lstm, Apache-2.0: a kernel as
deep as the field, and one cell wide. The paper's 3-D CNN decoder has no released code and is not here.

Axes: ``B`` batch, ``C`` channels, ``D`` depth, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from stkit.cells import GateBlock, HeadSite, Source
from stkit_e3d_lstm.config import Conv3dHeadConfig


class Conv3dHead(nn.Module):
    """``frame = W * H^L + b``, where ``W`` covers every slice of ``H^L``: ``B C D H W -> B C_out H W``.

    Args:
        width: channels of the top layer.
        out_channels: of the folded frame.
        depth: slices of the hidden state.
        kernel: side in cells.
        bias: add an offset to each channel.
        zero_init: start with all weights zero.
        activation: ``sigmoid`` or None.
        device: of the parameters.
        dtype: of the parameters.
    """

    def __init__(
        self,
        width: int,
        out_channels: int,
        *,
        depth: int = 2,
        kernel: int = 1,
        bias: bool = True,
        zero_init: bool = False,
        activation: Literal["sigmoid"] | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.depth = depth
        # A kernel over the whole depth is a plane convolution of all slices' channels.
        self.convolution = GateBlock(
            out_channels,
            {"hidden": Source(width * depth, ("frame",))},
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
    def from_config(cls, config: Conv3dHeadConfig, site: HeadSite) -> Conv3dHead:
        """As a recipe says it."""
        options = config.model_dump(exclude={"name"})
        return cls(site.widths[-1], site.out_channels, **options, device=site.device, dtype=site.dtype)

    def forward(self, hidden: tuple[Tensor, ...]) -> Tensor:
        """The folded frame ``B C_out H W`` from every node's hidden state, of which the top one is ``B C D H W``.

        Raises:
            ValueError: if the top one has another depth.
        """
        top = hidden[-1]
        if top.ndim != 5 or top.shape[2] != self.depth:
            raise ValueError(
                f"the head conv3d reads a hidden state B C {self.depth} H W, received {tuple(top.shape)}; "
                "the depths of frame_window, e3d_lstm and conv3d must be the same"
            )
        frame: Tensor = self.activation(self.convolution(hidden=top.flatten(1, 2))["frame"])
        return frame
