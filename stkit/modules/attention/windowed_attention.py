"""Self-attention inside square windows, so that time and memory grow with the grid, not with its square.

Swin Transformer: Hierarchical Vision Transformer using Shifted Windows. Ze Liu, Yutong Lin, Yue Cao, Han Hu, Yixuan
Wei, Zheng Zhang, Stephen Lin, Baining Guo, ICCV 2021, arXiv:2103.14030. Reference code:
https://github.com/microsoft/Swin-Transformer (MIT; nothing is copied). Here it stands at a place of a recurrent cell
and is the attention alone, without the norm and the perceptron around it; shifted windows are cut off at the border,
where the reference rolls the grid.
"""

from __future__ import annotations

from stkit.cells.attachment import AttachmentSite
from stkit.modules.attention.config import WindowedAttentionConfig
from stkit.modules.attention.look import Windows
from stkit.modules.attention.self_attention import SelfAttention


class WindowedAttention(SelfAttention):
    """``X' = Wf softmax((Wq X)^T (Wk X) / sqrt(c) + b) (Wv X) + X`` among the cells of a window, with a learned ``b``
    for each distance (equation 4).

    It is :class:`stkit.modules.attention.self_attention.SelfAttention` with another ``look``.
    """

    @classmethod
    def from_config(cls, config: WindowedAttentionConfig, site: AttachmentSite) -> WindowedAttention:  # type: ignore[override]
        """As a recipe says it."""
        look = Windows(
            config.window,
            shift=config.shift,
            relative=config.positions == "relative",
            device=site.device,
            dtype=site.dtype,
            heads=config.heads,
            scaled=config.scaled,
            rotary=config.positions == "rotary",
        )
        return cls(
            site.channels,
            config.key_channels,
            look=look,
            residual=config.residual,
            bias=config.bias,
            device=site.device,
            dtype=site.dtype,
        )
