"""Base classes of the configuration of components. Imports no torch."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, field_validator
from pydantic_core import CoreSchema

from stkit.plugin.field_docs import Written, field_docs


class Config(BaseModel):
    """Base of every configuration: an unknown key is an error, and values do not change once checked.

    A docstring under a field becomes its description in the JSON schema and in the generated documentation, which ask
    :func:`stkit.plugin.field_docs.field_docs`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    __written__: ClassVar[Written | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__written__ = Written.of(cls.__module__, sys._getframe(1))

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, doc in field_docs(cls).items():
            if name in properties:
                properties[name].setdefault("description", doc)
        return schema


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


class DatasetConfig(ComponentConfig):
    """Configuration of a data set that says more of itself than its fields; a plain component's does as well."""

    optimum_known: ClassVar[bool] = False
    """The law of the fields is known, so that a recipe may name the baseline ``optimal``: the source then gives its
    :meth:`stkit.data.source.FieldSource.optimum`."""


class MetricConfig(ComponentConfig):
    """Configuration of a score, or of a family of scores: one for each value of an option."""

    def scores(self) -> Mapping[str, MetricConfig]:
        """The scores that an entry of ``evaluate.metrics`` stands for: each by a name that says its options
        (``csi_1``), with a configuration of its own that has one value for each option."""
        return {self.name: self}

    def problems(self, variables: Sequence[str]) -> Iterable[str]:
        """Why it does not fit data with these variables, each as one sentence; called before training."""
        return ()


class BaselineConfig(ComponentConfig):
    """Configuration of a baseline."""

    def problems(self, dataset: ComponentConfig) -> Iterable[str]:
        """Why it does not fit a recipe's data set, each as one sentence; the data are not opened for it."""
        return ()


class CellConfig(ComponentConfig):
    """Configuration of a cell. The width is not in it: it belongs to the layer."""

    slots: ClassVar[tuple[str, ...]] = ()
    """Slots of the cell that a recipe may fill: ``("transition",)``."""
    places: ClassVar[tuple[str, ...]] = ("h",)
    """Where attention can stand besides the input ``x`` and the carried registers: entries of the cell's state that
    have the channels and the depth of what it hands up."""

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


class NonStationaryConfig(ComponentConfig):
    """Configuration of a module for the slot ``nonstationary``."""

    sets_level: ClassVar[bool] = True
    """It says around which level the next frame lies, so that ``data.departure_from`` has no meaning beside it."""

    def problems(self, *, input_steps: int) -> Iterable[str]:
        """What does not fit a model that is given ``input_steps`` frames, each as one sentence."""
        return ()


_SPAN = re.compile(r"[1-9][0-9]*\.\.([1-9][0-9]*)?")
LayerSpan = Annotated[str, Field(json_schema_extra={"pattern": f"^{_SPAN.pattern}$"})]
"""``2..3``, or ``2..`` up to the top."""


def span(layers: str) -> tuple[int, int | None]:
    """First and last layer of a :data:`LayerSpan`; None: the top one."""
    first, _, last = layers.partition("..")
    return int(first), int(last) if last else None


class ModuleConfig(ComponentConfig):
    """Configuration of a module for a slot."""

    takes_depth: ClassVar[bool] = False
    """It also works in cells on ``B C D H W``, not on ``B C H W`` alone."""
    places: ClassVar[tuple[str, ...]] = ()
    """Of a transition: signals inside it at which attention can stand, with the memory's channels and depth."""

    layers: tuple[int, ...] | LayerSpan | None = None
    """Layers that get the module (1 is the bottom one): a list such as ``[2, 3]``, or a span such as ``2..3``, or
    ``2..`` up to the top; null: every layer. A span, and null, pass over layers whose cell has not the slot or the
    place."""

    @field_validator("layers", mode="before")
    @classmethod
    def _list_or_span(cls, value: Any) -> Any:
        if value is None or isinstance(value, list | tuple):
            return value
        first, last = span(value) if isinstance(value, str) and _SPAN.fullmatch(value) else (1, 0)
        if last is not None and last < first:
            raise ValueError("should be a list such as [2, 3], or a span such as 2..3 or 2..")
        return value

    def stands_in(self, layer: int) -> bool:
        """Whether ``layers`` names this layer, counted from 1."""
        if not isinstance(self.layers, str):
            return self.layers is None or layer in self.layers
        first, last = span(self.layers)
        return first <= layer and (last is None or layer <= last)

    def carry_ports(self, width: int) -> Mapping[str, CarryPort]:
        """The carried registers the module reads and writes in a cell of ``width`` hidden channels."""
        return {}

    def problems(self, *, in_channels: int, width: int, carry_in: Mapping[str, int]) -> Iterable[str]:
        """What does not fit where the module would stand, each as one sentence. Called before anything is built."""
        return ()


class AttentionConfig(ModuleConfig):
    """Configuration of a module for the slot ``attention``, which stands at a place of a cell."""

    remembers: ClassVar[bool] = False
    """It has a memory of its own, from step to step."""

    when: Literal["before", "after"] | None = None
    """``before`` the cell reads what is at the place, or ``after`` the cell has made it; null: before at the input
    ``x``, after everywhere else."""

    def misfits(self, *, channels: int, depth: int, grid: tuple[int, int] | None) -> Iterable[str]:
        """What does not fit at the place, each as one sentence. Called before anything is built.

        Args:
            channels: of the signal there.
            depth: slices of the signal where it is ``B C D H W``; 0: it is ``B C H W``.
            grid: height and width in patches; None where they are not known yet.
        """
        return ()
