"""Self-Attention ConvLSTM for Spatiotemporal Prediction: the self-attention memory module (SAM).

Zhihui Lin, Maomao Li, Zhuobin Zheng, Yangyang Cheng, Chun Yuan, AAAI 2020. The authors published no code. The paper
gives no numbers for the kernel of the separable convolutions and the channels of queries and keys; 3 and half of the
signal's are choices. A third party's code (tsugumi-sys/SA-ConvLSTM-Pytorch) differs in its projections, which are
options here. Several heads, scaled scores, positions and windows are options that the paper has not. In fields with a
depth, cells look at all slices, and the gates' convolutions act on each slice by itself.

Axes: ``B`` batch, ``C`` channels, ``D`` depth, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn, sigmoid

from stkit.cells import gated, observe
from stkit.cells.attachment import Attachment, AttachmentSite
from stkit.cells.attend import KeyMask
from stkit.cells.base import Tensors, slices
from stkit.cells.gates import GateBlock, Source
from stkit.modules.attention.config import SelfAttentionMemoryConfig
from stkit.modules.attention.look import Look, Windows
from stkit.modules.attention.self_attention import by_cell, on_grid
from stkit.plugin.config import axes


class SelfAttentionMemory(Attachment):
    """Equations (5) to (9): the signal ``H`` looks at itself and at a memory ``M`` of its own, ``M' = M_{t-1}``::

        Zh = softmax((Wq H)^T (Wk H)) (Wv H)        Zm = softmax((Wq H)^T (Wmk M')) (Wmv M')
        Z  = Wz [Zh, Zm]
        i' = sigmoid(Wzi * Z + Whi * H + bi)        g' = tanh(Wzg * Z + Whg * H + bg)
        M  = (1 - i') . M' + i' . g'
        o' = sigmoid(Wzo * Z + Who * H + bo)        H' = o' . M

    The convolutions of the gates are depth-wise separable, one for each gate. ``H'`` takes the place of ``H``. Cells
    that :func:`stkit.cells.attend.mask_keys` excludes are never looked at. State ``memory``: as the signal.

    Args:
        channels: of the signal and the memory.
        key_channels: of queries and keys; None: half of ``channels``, or as many more as the heads need.
        look: at which cells a cell looks, with how many heads; None: at all, with one head, unscaled.
        depth: slices of the signal where it is ``B C D H W``; 0: it is ``B C H W``.
        kernel: side in cells of the gates' convolutions.
        separable: whether they are depth-wise separable.
        project_found: project ``Zh`` and ``Zm`` once more, each by itself.
        wide_fusion: ``Z`` has the channels of both; else those of the signal.
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
        depth: int = 0,
        kernel: int = 3,
        separable: bool = True,
        project_found: bool = False,
        wide_fusion: bool = False,
        bias: bool = False,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.channels, self.depth = channels, depth
        self.look = Look() if look is None else look
        keys, fused = key_channels or self.look.key_channels(channels), 2 * channels if wide_fusion else channels

        def project(ins: int, outs: int) -> nn.Linear:
            return nn.Linear(ins, outs, bias, device, dtype)

        self.query = project(channels, keys)
        self.key, self.value = project(channels, keys), project(channels, channels)
        self.memory_key, self.memory_value = project(channels, keys), project(channels, channels)
        self.found = project(channels, channels) if project_found else nn.Identity()
        self.memory_found = project(channels, channels) if project_found else nn.Identity()
        self.fusion = project(2 * channels, fused)
        self.gates: nn.Module
        if separable:
            self.gates = SeparableGates(channels, fused + channels, 3, kernel, device=device, dtype=dtype)
        else:
            source = Source.of(fused + channels, "i g o")
            self.gates = GateBlock(channels, {"both": source}, kernel=kernel, bias="gate", device=device, dtype=dtype)
        self.mask = KeyMask()

    @classmethod
    def from_config(cls, config: SelfAttentionMemoryConfig, site: AttachmentSite) -> SelfAttentionMemory:
        """As a recipe says it."""
        options: dict[str, Any] = {
            "heads": config.heads,
            "scaled": config.scaled,
            "rotary": config.positions == "rotary",
        }
        return cls(
            site.channels,
            config.key_channels,
            look=Look(**options) if config.window is None else Windows(config.window, **options),
            depth=site.depth,
            kernel=config.kernel,
            separable=config.separable,
            project_found=config.project_found,
            wide_fusion=config.wide_fusion,
            bias=config.bias,
            device=site.device,
            dtype=site.dtype,
        )

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """Zeros for ``memory``."""
        size = (batch, self.channels, *slices(self.depth), height, width)
        return {"memory": torch.zeros(size, device=device, dtype=dtype)}

    def forward(self, signal: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
        """``signal``: ``B C H W``, or ``B C D H W`` where it was built for a depth.

        Raises:
            ValueError: if it has other axes.
        """
        if signal.shape[2:-2] != slices(self.depth):
            raise ValueError(f"self_attention_memory works on {axes(self.depth)} here, received {tuple(signal.shape)}")
        memory, valid = state["memory"], self.mask(*signal.shape[-2:])
        h, m = by_cell(signal), by_cell(memory)
        q, k_h, k_m = (self.look.placed(part) for part in (self.query(h), self.key(h), self.memory_key(m)))
        observe.attention(self, ("signal",), lambda chosen: self.look.weights(q, k_h, valid, chosen))
        observe.attention(self, ("memory",), lambda chosen: self.look.weights(q, k_m, valid, chosen))
        z_h = self.found(self.look(q, k_h, self.value(h), valid))
        z_m = self.memory_found(self.look(q, k_m, self.memory_value(m), valid))
        z = on_grid(self.fusion(torch.cat([z_h, z_m], dim=-1)), signal)

        a = self._gated(torch.cat([z, signal], dim=1))
        if observe.watched():
            observe.gate(self, "attention memory", 1 - sigmoid(a["i"]))
        memory = gated.highway(a["i"], a["g"], memory)
        return sigmoid(a["o"]) * memory, {"memory": memory}

    def _gated(self, both: Tensor) -> dict[str, Tensor]:
        """The gates' pre-activations; each slice of a depth by itself."""
        if not self.depth:
            gates: dict[str, Tensor] = self.gates(both=both)
            return gates
        flat = self.gates(both=both.movedim(2, 1).flatten(0, 1))  # B C D H W -> (B D) C H W
        return {name: gate.unflatten(0, (-1, self.depth)).movedim(1, 2) for name, gate in flat.items()}


class SeparableGates(nn.Module):
    """The gates ``i``, ``g`` and ``o`` of a signal, each by a depth-wise convolution and then a 1x1 convolution.

    Args:
        width: channels of each gate.
        channels: of the signal.
        count: gates.
        kernel: side in cells.
        device: of the parameters.
        dtype: of the parameters.
    """

    def __init__(
        self,
        width: int,
        channels: int,
        count: int,
        kernel: int,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.margins = ((kernel - 1) // 2, kernel // 2) * 2
        self.depthwise = nn.Parameter(torch.empty(count, channels, kernel, kernel, device=device, dtype=dtype))
        self.pointwise = nn.Parameter(torch.empty(count, width, channels, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(count, width, device=device, dtype=dtype))
        for weight, fan_in in ((self.depthwise, kernel * kernel), (self.pointwise, channels)):
            nn.init.uniform_(weight, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))

    def forward(self, both: Tensor) -> dict[str, Tensor]:
        """Pre-activations ``B width H W`` from ``B C H W``, by gate."""
        count, _, channels = self.pointwise.shape
        each = F.pad(both, self.margins).repeat(1, count, 1, 1)  # every gate its own copy
        deep = F.conv2d(each, self.depthwise.flatten(0, 1)[:, None], groups=count * channels)
        flat = self.pointwise.flatten(0, 1)[..., None, None]
        gates = F.conv2d(deep, flat, self.bias.flatten(), groups=count)
        return dict(zip("igo", gates.chunk(count, dim=1), strict=True))
