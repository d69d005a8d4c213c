"""Configuration of the transition ``mim``. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from stkit.api import CarryPort, Component, ComponentConfig, ModuleConfig


class MIMConfig(ModuleConfig):
    """Memory In Memory (Wang et al. 2019). The defaults are the released modules, with weights that fit any grid."""

    places: ClassVar[tuple[str, ...]] = ("d", "t")

    kernel: int = Field(5, ge=1)
    """Side of the kernels, in cells."""
    bias: bool | Literal["source"] = "source"
    """Add an offset to each gate; ``source``: to each gate's convolution of each source, as released."""
    forget_bias: float = 1.0
    """Added to the forget gates of MIM-N and MIM-S before the sigmoid."""
    norm: Annotated[ComponentConfig, Component("modules", slot="norm")] | None = None
    """Normalise the response of each convolution before the sum."""
    source: Literal["below", "input"] = "below"
    """What MIM-N reads. ``below``: the differential feature D of the layer below as released, or, where none arrives,
    the difference of the layer's input; ``input``: that difference in every layer, as in the paper."""
    recurrence: Literal["released", "paper"] = "released"
    """How the memories come back. ``released``: D is convolved, N and S reach the gates through peepholes; ``paper``: N
    and S are convolved themselves."""
    peephole: Literal["channel", "pixel", "none"] | None = None
    """How the gates look at N and S in the released recurrence: one weight for each channel, one for each channel and
    grid cell as released, or not at all; null: for each channel. The paper's recurrence has none."""
    initial_range: float | None = Field(None, gt=0)
    """Kernels of MIM-N start uniform within plus and minus this, and biases at 0 (released: 0.001); null: within
    ``1/sqrt(fan_in)``."""

    @model_validator(mode="after")
    def _peepholes_belong_to_the_released_recurrence(self) -> MIMConfig:
        if self.recurrence == "paper" and self.peephole not in (None, "none"):
            raise ValueError(
                f"the paper's recurrence has no peepholes: leave out 'peephole: {self.peephole}', or say "
                "'recurrence: released'"
            )
        return self

    def carry_ports(self, width: int) -> Mapping[str, CarryPort]:
        """``D`` rises to the next MIM layer and lives for one step."""
        reads = None if self.source == "below" else 0
        return {"D": CarryPort(reads=reads, writes=width, optional=True)}

    def problems(self, *, in_channels: int, width: int, carry_in: Mapping[str, int]) -> Iterable[str]:
        """There must be something whose change can be seen."""
        if not in_channels and not (self.source == "below" and "D" in carry_in):
            yield "the transition mim reads the change of the layer's input, and the layer has no input"
