"""Self-Attention ConvLSTM for Spatiotemporal Prediction: the self-attention memory module (SAM).

Zhihui Lin, Maomao Li, Zhuobin Zheng, Yangyang Cheng, Chun Yuan, AAAI 2020. The authors published no code. The paper
gives no numbers for the kernel of the separable convolutions and the channels of queries and keys; 3 and half of the
signal's are choices. A third party's code (tsugumi-sys/SA-ConvLSTM-Pytorch) differs in its projections, which are
options here.

Axes: ``B`` batch, ``N`` cells of the grid, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn, sigmoid, tanh

from stkit.cells import observe
from stkit.cells.attachment import Attachment, AttachmentSite
from stkit.cells.attend import KeyMask, attend
from stkit.cells.base import Tensors
from stkit.cells.gates import GateBlock, Source
from stkit.modules.attention.config import SelfAttentionMemoryConfig
from stkit.modules.attention.self_attention import allowed, by_cell, on_grid, weights_on_grid


class SelfAttentionMemory(Attachment):
    """Equations (5) to (9): the signal ``H`` looks at itself and at a memory ``M`` of its own, ``M' = M_{t-1}``::

        Zh = softmax((Wq H)^T (Wk H)) (Wv H)        Zm = softmax((Wq H)^T (Wmk M')) (Wmv M')
        Z  = Wz [Zh, Zm]
        i' = sigmoid(Wzi * Z + Whi * H + bi)        g' = tanh(Wzg * Z + Whg * H + bg)
        M  = (1 - i') . M' + i' . g'
        o' = sigmoid(Wzo * Z + Who * H + bo)        H' = o' . M

    The convolutions of the gates are depth-wise separable, one for each gate. ``H'`` takes the place of ``H``. Cells
    that :func:`stkit.cells.attend.mask_keys` excludes are never looked at. State ``memory``: ``B C H W``.

    Args:
        channels: of the signal and the memory.
        key_channels: of queries and keys; None: half of ``channels``.
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
        kernel: int = 3,
        separable: bool = True,
        project_found: bool = False,
        wide_fusion: bool = False,
        bias: bool = False,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.channels = channels
        keys, fused = key_channels or max(channels // 2, 1), 2 * channels if wide_fusion else channels

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
        options = config.model_dump(exclude={"name", "layers", "when"})
        return cls(site.channels, **options, device=site.device, dtype=site.dtype)

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """Zeros for ``memory``."""
        return {"memory": torch.zeros(batch, self.channels, height, width, device=device, dtype=dtype)}

    def forward(self, signal: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
        """``signal``: ``B C H W``.

        Raises:
            ValueError: if it has other axes.
        """
        if signal.ndim != 4:
            raise ValueError(f"self_attention_memory works on B C H W, received {tuple(signal.shape)}")
        memory, seen = state["memory"], allowed(self.mask, signal)
        h, m = by_cell(signal), by_cell(memory)
        q = self.query(h)
        k_h, k_m = self.key(h), self.memory_key(m)
        observe.attention(self, ("signal",), lambda cells: weights_on_grid(q, k_h, seen, cells, signal))
        observe.attention(self, ("memory",), lambda cells: weights_on_grid(q, k_m, seen, cells, signal))
        z_h = self.found(attend(q, k_h, self.value(h), seen))
        z_m = self.memory_found(attend(q, k_m, self.memory_value(m), seen))
        z = on_grid(self.fusion(torch.cat([z_h, z_m], dim=2)), signal)

        a = self.gates(both=torch.cat([z, signal], dim=1))
        i = sigmoid(a["i"])
        memory = observe.gate(self, "attention memory", 1 - i) * memory + i * tanh(a["g"])
        return sigmoid(a["o"]) * memory, {"memory": memory}


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
