"""The frame window below E3D-LSTM's layers: fields become 3-D, with the last frames as their depth.

Eidetic 3D LSTM (Wang et al. 2019). As in the released code, https://github.com/google/e3d_lstm, Apache-2.0: the frames
before the first one are zeros. The paper's 3-D CNN encoder has no released code and is not here.

Axes: ``B`` batch, ``C`` channels, ``D`` depth: frames from the oldest to the newest, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stkit.cells import Cell, CellSite, StepOut, Tensors
from stkit_e3d_lstm.config import FrameWindowConfig


class FrameWindow(Cell):
    """``B C H W -> B C D H W``: the newest ``D`` frames. Carried registers pass by.

    State ``frames``, which is also what rises.

    Args:
        channels: of a frame.
        depth: frames in the window.

    Raises:
        ValueError: if there are no frames to collect.
    """

    out_key = "frames"

    def __init__(self, channels: int, depth: int = 2) -> None:
        super().__init__()
        if not channels:
            raise ValueError("a frame window needs frames, and this stack takes no input")
        self.in_channels = self.out_channels = channels
        self.output_depth = depth
        self.carry_spec = {}

    @classmethod
    def from_config(cls, config: FrameWindowConfig, site: CellSite) -> FrameWindow:
        """As a recipe says it."""
        return cls(site.in_channels, config.depth)

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> Tensors:
        """Zeros for ``frames``: ``B C D H W``."""
        size = (batch, self.out_channels, self.output_depth, height, width)
        return {"frames": torch.zeros(size, device=device, dtype=dtype)}

    def step(self, x: Tensor | None, state: Tensors, carry: Tensors) -> StepOut:
        """The oldest frame goes, ``x`` (``B C H W``) comes.

        Raises:
            ValueError: if there is no frame.
        """
        if x is None:
            raise ValueError("a frame window needs a frame at every step")
        frames = torch.cat([state["frames"][:, :, 1:], x[:, :, None]], dim=2)
        return StepOut(frames, {"frames": frames}, carry, {})
