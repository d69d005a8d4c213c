"""The marker that makes a recipe field a choice among the components of the installed plugins. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from stkit.errors import PluginError, UsageError
from stkit.plugin.config import ComponentConfig
from stkit.plugin.manager import KINDS, PluginManager, plugins

ComponentKind = Literal["cells", "modules", "losses", "metrics", "baselines", "datasets", "callbacks", "exporters"]


@dataclass(frozen=True, slots=True)
class Component:
    """Annotates a field whose ``name`` picks a component: ``Annotated[CellConfig, Component("cells")]``.

    The mapping is checked by the configuration class that the component's plugin brings; a bare string stands for
    ``{name: string}``. The value is an instance of that class.
    """

    kind: ComponentKind
    slot: str | None = None
    base: type[ComponentConfig] = ComponentConfig
    """What the configuration class of every such component derives from."""
    bare: bool = False
    """A component without options is written as its name alone where the recipe is written out."""

    @property
    def label(self) -> str:
        """What it is called in a message: ``cell``, ``module for the slot 'head'``."""
        return KINDS[self.kind].singular + (f" for the slot {self.slot!r}" if self.slot else "")

    def names(self) -> tuple[str, ...]:
        """The names that a recipe may write here."""
        return plugins().names(self.kind, slot=self.slot)

    def validate(self, value: Any) -> ComponentConfig:
        """Check one value of the field.

        Raises:
            ValidationError: with locations relative to the field.
        """
        if isinstance(value, ComponentConfig):
            return value if isinstance(value, self.config(value.name)) else self.validate(value.model_dump())
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping):
            raise PydanticCustomError("component_type", "expected a name or a mapping with 'name'")
        if "name" not in value:
            known = ", ".join(self.names())
            raise _error("component_unnamed", ("name",), value, f"names no {self.label}; known: {known}")
        name = value["name"]
        if not isinstance(name, str):
            raise _error("string_type", ("name",), name, f"should be the name of a {self.label}")
        try:
            config = self.config(name)
        except UsageError as error:
            raise _error("unknown_component", ("name",), name, str(error)) from None
        checked = config.model_validate(value)
        if not isinstance(checked, ComponentConfig):  # a class that is called, not subclassed, can be anything
            raise PluginError(f"the configuration of the {self.label} {name!r} is no ComponentConfig")
        return checked

    def config(self, name: str) -> type[ComponentConfig]:
        """The configuration class of the component ``name``.

        Raises:
            UnknownComponent, AmbiguousComponent: as :meth:`stkit.plugin.manager.PluginManager.resolve`.
            PluginError: if the plugin's configuration class cannot be had.
        """
        spec = plugins().resolve(self.kind, name, slot=self.slot)
        return load_config(spec, self.base)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.validate,
            serialization=core_schema.plain_serializer_function_ser_schema(self._serialise, info_arg=True),
        )

    def _serialise(self, value: ComponentConfig, info: core_schema.SerializationInfo) -> dict[str, Any] | str:
        values = value.model_dump(mode=info.mode)
        return value.name if self.bare and set(values) == {"name"} else values

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        manager = plugins()
        choices: list[dict[str, Any]] = []
        names: list[str] = []
        for spec in _specs(manager, self):
            short = spec.name in self.names()
            own = [spec.name, spec.qualified_name] if short else [spec.qualified_name]
            names += own
            choice: dict[str, Any] = {
                "allOf": [handler(load_config(spec).__pydantic_core_schema__)],
                "properties": {"name": {"enum": own}},
                "title": spec.name,
            }
            if spec.summary:
                choice["description"] = spec.summary
            choices.append(choice)
        # A mapping without a name changes values of the component that a lower layer or the architecture named.
        return {"anyOf": [*choices, {"type": "string", "enum": names}], "title": f"A {self.label}"}


def load_config(spec: Any, base: type[ComponentConfig] = ComponentConfig) -> type[ComponentConfig]:
    """A component's configuration class.

    Args:
        spec: of the component.
        base: what the class must derive from.

    Raises:
        PluginError: if it cannot be imported or derives from something else.
    """
    what = f"the configuration {spec.config!r} of {spec.qualified_name!r} ({spec.distribution})"
    try:
        config = spec.load_config()
    except Exception as error:  # third-party code
        raise PluginError(f"{what} cannot be imported: {type(error).__name__}: {error}") from error
    if not (isinstance(config, type) and issubclass(config, base)):
        raise PluginError(f"{what} must be a subclass of stkit.api.{base.__name__}, it is {config!r}")
    return config


def _specs(manager: PluginManager, component: Component) -> list[Any]:
    return [s for s in manager.specs(component.kind) if component.slot is None or s.slot == component.slot]


def _error(kind: str, location: tuple[str, ...], value: Any, message: str) -> ValidationError:
    # PydanticCustomError formats its template with a context: braces of the message must not be read as fields.
    error = PydanticCustomError(kind, "{message}", {"message": message})
    return ValidationError.from_exception_data("component", [InitErrorDetails(type=error, loc=location, input=value)])
