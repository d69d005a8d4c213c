"""Where cells are, for attention that is to know it: by rotation, or by an offset for each distance.

Both are relative: only how far two cells are apart matters, so that weights fit any grid. timm is imported where it is
needed: that takes seconds.

Axes: ``D`` depth, ``H`` height, ``W`` width, ``C`` channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def rotated(field: Tensor, heads: int) -> Tensor:
    """``B D H W C`` with the channels of each head turned by angles that grow with row and column.

    Rotary embedding (Su et al. 2021, arXiv:2104.09864) on both axes of the grid: the product of two turned
    vectors depends on the distance between their cells alone. The slices of a depth are at one place.

    Args:
        field: queries or keys.
        heads: that the channels are cut into; each has a multiple of :data:`stkit.modules.attention.config.ROTATED`.
    """
    from timm.layers.pos_embed_sincos import apply_rot_embed, build_rotary_pos_embed

    height, width = field.shape[2:4]
    each = field.reshape(*field.shape[:4], heads, -1)
    # In full precision, whatever the field has: half of it cannot tell far columns apart.
    precise = torch.promote_types(field.dtype, torch.float32)
    sine, cosine = build_rotary_pos_embed(
        [height, width], dim=each.shape[-1], in_pixels=False, device=field.device, dtype=precise
    )
    sine, cosine = (wave.reshape(height, width, 1, -1).to(field.dtype) for wave in (sine, cosine))
    turned: Tensor = apply_rot_embed(each, sine, cosine)
    return turned.flatten(4)


def relative_bias(side: int, heads: int, device: torch.device | None, dtype: torch.dtype | None) -> nn.Module:
    """For each head a learned number for each distance inside a window of ``side`` cells (timm's ``RelPosBias``).

    Liu et al. 2021, Swin Transformer, arXiv:2103.14030, equation 4.
    """
    from timm.layers.pos_embed_rel import RelPosBias

    with torch.device(device or torch.get_default_device()):
        bias: nn.Module = RelPosBias((side, side), heads)
    return bias.to(dtype=dtype)
