"""Self-Attention ConvLSTM for Spatiotemporal Prediction: the self-attention of its base model.

Zhihui Lin, Maomao Li, Zhuobin Zheng, Yangyang Cheng, Chun Yuan, AAAI 2020. The authors published no code. The paper
gives no number for the channels of queries and keys; half of the signal's is a choice. Several heads, scaled scores and
positions are options that the paper has not.

Axes: ``B`` batch, ``D`` depth (1 where a field has none), ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stkit.cells import observe
from stkit.cells.attachment import Attachment, AttachmentSite
from stkit.cells.attend import KeyMask
from stkit.cells.base import Tensors
from stkit.modules.attention.config import SelfAttentionConfig
from stkit.modules.attention.look import Look


class SelfAttention(Attachment):
    """Equations (1) to (4): every cell of the grid looks at all others. No scaling of the scores is printed::

        Z = softmax((Wq X)^T (Wk X)) (Wv X)
        X' = Wf Z + X

    All ``W`` are 1x1. It remembers nothing. Cells that :func:`stkit.cells.attend.mask_keys` excludes are never looked
    at.

    Args:
        channels: of the signal.
        key_channels: of queries and keys; None: half of ``channels``, or as many more as the heads need.
        look: at which cells a cell looks, with how many heads; None: at all, with one head, unscaled.
        residual: add ``X``.
        bias: add offsets to all projections.
        device: of the parameters.
        dtype: of the parameters.
    """

    def __init__(
        self,
        channels: int,
        key_channels: int | None = None,
        *,
        look: Look | None = None,
        residual: bool = True,
        bias: bool = False,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.residual = residual
        self.look = Look() if look is None else look
        keys = key_channels or self.look.key_channels(channels)
        self.query = nn.Linear(channels, keys, bias, device, dtype)
        self.key = nn.Linear(channels, keys, bias, device, dtype)
        self.value = nn.Linear(channels, channels, bias, device, dtype)
        self.out = nn.Linear(channels, channels, bias, device, dtype)
        self.mask = KeyMask()

    @classmethod
    def from_config(cls, config: SelfAttentionConfig, site: AttachmentSite) -> SelfAttention:
        """As a recipe says it."""
        return cls(
            site.channels,
            config.key_channels,
            look=Look(heads=config.heads, scaled=config.scaled, rotary=config.positions == "rotary"),
            residual=config.residual,
            bias=config.bias,
            device=site.device,
            dtype=site.dtype,
        )

    def forward(self, signal: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
        """``signal``: ``B C *grid``."""
        cells, valid = by_cell(signal), self.mask(*signal.shape[-2:])
        q, k = self.look.placed(self.query(cells)), self.look.placed(self.key(cells))
        observe.attention(self, ("signal",), lambda chosen: self.look.weights(q, k, valid, chosen))
        out = on_grid(self.out(self.look(q, k, self.value(cells), valid)), signal)
        return signal + out if self.residual else out, state


def by_cell(signal: Tensor) -> Tensor:
    """``B C H W`` or ``B C D H W`` -> ``B D H W C``."""
    return (signal if signal.ndim == 5 else signal[:, :, None]).movedim(1, -1)


def on_grid(cells: Tensor, like: Tensor) -> Tensor:
    """``B D H W C -> B C *grid``, on the grid of ``like``."""
    return cells.movedim(-1, 1).reshape(like.shape[0], cells.shape[-1], *like.shape[2:])
