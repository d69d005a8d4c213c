"""Base classes of the configuration of components. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Base of every configuration: an unknown key is an error, and values do not change once checked.

    A docstring under a field becomes its description in the JSON schema and in the generated documentation.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


@dataclass(frozen=True, slots=True)
class CarryPort:
    """How a node reads and writes one carried register (``m`` of PredRNN, ``D`` of MIM)."""

    reads: int | None
    """Channels the node receives; None: whatever width arrives; 0: it only writes."""
    writes: int
    """Channels the node hands on."""
    optional: bool = False
    """The node also works when nothing arrives: an optional read does not make the register return from the top."""
    depth: int = 0
    """Slices of the register where it is ``B C D H W``; 0: it is ``B C H W``."""


def axes(depth: int) -> str:
    """How messages write the axes of a field with so many slices; 0: with none."""
    return f"B C {depth} H W" if depth else "B C H W"


class ComponentConfig(Config):
    """Configuration of a component that a recipe picks by ``name``."""

    name: str
    """The component's registered name, ``name`` or ``plugin/name``."""


class CellConfig(ComponentConfig):
    """Configuration of a cell. The width is not in it: it belongs to the layer."""

    slots: ClassVar[tuple[str, ...]] = ()
    """Slots of the cell that a recipe may fill: ``("transition",)``."""

    @property
    def input_depth(self) -> int:
        """Slices of the input where it is ``B C D H W``; 0: it is ``B C H W``."""
        return 0

    @property
    def output_depth(self) -> int:
        """Slices of what the cell hands up; as many as come in, unless a cell makes or folds the depth."""
        return self.input_depth

    def carry_ports(self, width: int) -> Mapping[str, CarryPort]:
        """The carried registers this cell reads and writes when it has ``width`` hidden channels."""
        return {}

    def out_channels(self, in_channels: int, width: int) -> int:
        """Channels of the rising signal; only nodes that keep the input's channels (a frame window) override it."""
        return width

    def problems(self, *, in_channels: int, width: int, carry_in: Mapping[str, int]) -> Iterable[str]:
        """What does not fit, each as one sentence; nothing when all is well. Called before anything is built."""
        return ()


class HeadConfig(ComponentConfig):
    """Configuration of a module for the slot ``head``."""

    @property
    def input_depth(self) -> int:
        """Slices of the hidden state that it reads where that is ``B C D H W``; 0: it is ``B C H W``."""
        return 0

    @property
    def reads_all(self) -> bool:
        """It reads what every layer hands up, not the top one alone."""
        return False


class ModuleConfig(ComponentConfig):
    """Configuration of a module for a slot."""

    takes_depth: ClassVar[bool] = False
    """It also works in cells on ``B C D H W``, not on ``B C H W`` alone."""

    layers: tuple[int, ...] | None = None
    """Layers (1 is the bottom one) that get the module; null: every layer whose cell has the slot."""

    def carry_ports(self, width: int) -> Mapping[str, CarryPort]:
        """The carried registers the module reads and writes in a cell of ``width`` hidden channels."""
        return {}

    def problems(self, *, in_channels: int, width: int, carry_in: Mapping[str, int]) -> Iterable[str]:
        """What does not fit where the module would stand, each as one sentence. Called before anything is built."""
        return ()
