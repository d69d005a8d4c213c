"""What a value of an axis means for a recipe: overrides and overlays. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from stkit.ablate.grid import Axis
from stkit.errors import RecipeError, UsageError, suggest
from stkit.plugin.manager import plugins
from stkit.recipe.find import find
from stkit.recipe.model import Recipe
from stkit.recipe.sections.model import ModelConfig
from stkit.recipe.tree import Source, plain
from stkit.recipe.yaml import parse

NONE = "none"
SHORT = {"sam": "self_attention_memory"}
"""Short names of attention modules."""
_HIDDEN = "h"
_REFUSED = {
    "seed": "--seeds says which seeds are run",
    "summary": "a summary changes nothing",
    "train.steps": "--budget says how many steps are taken",
    "train.early_stopping": "every run uses its whole budget",
    "evaluate": "all cells are scored alike",
}
"""Recipe keys that are no axis, and why."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one value of an axis does to a recipe."""

    overrides: tuple[str, ...] = ()
    """On top of everything."""
    overlays: tuple[str, ...] = ()
    """On top of the recipe."""
    instead: Mapping[str, Any] | None = None
    """Right on top of the recipe, below overlays: another architecture."""


def resolve(axis: Axis, base: Recipe) -> tuple[Change, ...]:
    """What each value of an axis means for the recipe that is varied.

    Raises:
        UsageError: there is no such axis, or a value is none of it; what is known is told.
    """
    named = _NAMED.get(axis.name)
    if named is not None:
        return tuple(named(value, base) for value in axis.values)
    _check_key(axis)
    return tuple(Change((f"{axis.name}={value}",)) for value in axis.values)


def _check_key(axis: Axis) -> None:
    head, dot, _ = axis.name.partition(".")
    for key, reason in _REFUSED.items():
        if axis.name == key or axis.name.startswith(f"{key}."):
            raise UsageError(f"--grid {axis.name}: this cannot be an axis: {reason}")
    if not dot or head not in Recipe.model_fields:
        known = [*_NAMED, *(f"{section}.…" for section in ("data", "model", "train"))]
        hint = suggest(axis.name, _NAMED)
        hint = hint if hint.startswith("did") else f"known: {', '.join(known)}"
        raise UsageError(f"--grid {axis.name}: there is no such axis; {hint}")


def _attention(value: str, base: Recipe) -> Change:
    """``none``, a module at ``h``, ``PLACE:MODULE``, or a mapping of places."""
    wanted: dict[str, Any] = {}
    if value.startswith("{"):
        wanted = {place: module for place, module in _mapping("attention", value).items() if module is not None}
    elif value != NONE:
        place, colon, name = value.partition(":")
        if not colon:
            place, name = _HIDDEN, value
        wanted = {place.strip(): _named("attention", value, SHORT.get(name.strip(), name.strip()), "attention")}
    model = base.model
    overrides = [_override(f"model.attention.{place}", None) for place in model.attention if place not in wanted]
    overrides += [_override(f"model.attention.{place}", module) for place, module in wanted.items()]
    for number, layer in enumerate(model.layers):
        # What a layer takes away from the model's stays so; what it adds belongs to the axis.
        added = [place for place, module in layer.attention.items() if module is not None]
        overrides += [_override(f"model.layers.{number}.attention.{place}", None) for place in added]
    return Change(tuple(overrides))


def _nonstationary(value: str, base: Recipe) -> Change:
    """``none``, a transition in place of the forget gate, or a module that fields go through."""
    transition, module = None, None
    if value.startswith("{"):
        component = _mapping("nonstationary", value)
        name = str(component.get("name"))
    else:
        component, name = {"name": value}, value
    if value != NONE:
        transitions, modules = (plugins().names("modules", slot=slot) for slot in ("transition", "nonstationary"))
        if name in transitions:
            transition = _with_kernel("transition", component, base.model)
        elif name in modules:
            module = component
        else:
            hint = suggest(name, [NONE, *transitions, *modules])
            raise UsageError(f"--grid nonstationary={value}: no transition or non-stationary module {name!r}; {hint}")
    overrides = [_override("model.transition", transition), _override("model.nonstationary", module)]
    overrides += [
        _override(f"model.layers.{number}.transition", None)
        for number, layer in enumerate(base.model.layers)
        if layer.transition is not None
    ]
    return Change(tuple(overrides))


def _cell(value: str, base: Recipe) -> Change:
    """A registered cell, in every layer that names none of its own."""
    component = _mapping("cell", value) if value.startswith("{") else {"name": value}
    _known("cell", value, str(component.get("name")), plugins().names("cells"))
    return Change((_override("model.cell", _with_kernel("cell", component, base.model)),))


def _model(value: str, base: Recipe) -> Change:
    """A registered architecture, at the widths, patch and kernel size of the recipe that is varied."""
    _known("model", value, value, plugins().names("stacks"))
    if value == base.model.name:
        return Change()
    spec = plugins().resolve("stacks", value)
    own: Mapping[str, Any] = spec.variants[spec.default_variant]
    model: dict[str, Any] = {"name": value, "patch": base.model.patch}
    kernel = getattr(base.model.cell, "kernel", None)
    if "kernel" in own["cell"] and isinstance(kernel, int) and isinstance(own["cell"]["kernel"], int):
        model["cell"] = {"kernel": kernel}
        if "kernel" in (own.get("transition") or {}):
            model["transition"] = {"kernel": kernel}
    if _plain(base.model) and all(isinstance(layer, int) for layer in own["layers"]):
        model["layers"] = [layer.width for layer in base.model.layers]
    if own["head"]["name"] == base.model.head.name:
        kept = ("zero_init", "activation")
        model["head"] = {name: getattr(base.model.head, name) for name in kept if hasattr(base.model.head, name)}
    instead: dict[str, Any] = {"model": model}
    if own["rollout"]["name"] == "encoder_forecaster":
        # Its forecaster is never shown true frames: any sampling is refused.
        instead["train"] = {"sampling": {"name": "none"}}
    return Change(instead=instead)


def _overlay(value: str, base: Recipe) -> Change:
    """A shipped overlay or a file, put on the recipe."""
    if value == NONE:
        return Change()
    try:
        find(value)
    except RecipeError as error:
        raise UsageError(f"--grid overlay={value}: {error}") from error
    return Change(overlays=(value,))


_NAMED: dict[str, Callable[[str, Recipe], Change]] = {
    "attention": _attention,
    "nonstationary": _nonstationary,
    "cell": _cell,
    "model": _model,
    "overlay": _overlay,
}


def _plain(model: ModelConfig) -> bool:
    """Whether the layers are nothing but widths."""
    return all(layer.cell is None and layer.transition is None and not layer.attention for layer in model.layers)


def _with_kernel(kind: str, component: dict[str, Any], model: ModelConfig) -> dict[str, Any]:
    """The component at the kernel size of the recipe's cell, so that sizes are not varied along with names.

    A component that the recipe has already keeps what the recipe says of it, and what is said of one stays.
    """
    current = model.cell if kind == "cell" else model.transition
    kernel = getattr(model.cell, "kernel", None)
    if (current is not None and current.name == component["name"]) or "kernel" in component or kernel is None:
        return component
    spec = plugins().resolve("cells" if kind == "cell" else "modules", component["name"])
    config = spec.load_config()
    if "kernel" not in config.model_fields:
        return component
    try:
        config.model_validate({**component, "kernel": kernel})
    except ValidationError:  # a cell of windows has a kernel in time, too
        return component
    return {**component, "kernel": kernel}


def _named(axis: str, value: str, name: str, slot: str) -> dict[str, Any]:
    names = plugins().names("modules", slot=slot)
    _known(axis, value, name, names)
    return {"name": name}


def _known(axis: str, value: str, name: str, names: tuple[str, ...]) -> None:
    qualified = "/" in name
    if name not in names and not qualified:
        extra = [NONE, *SHORT] if axis == "attention" else []
        what = {"attention": "attention module", "model": "architecture"}.get(axis, axis)
        raise UsageError(f"--grid {axis}={value}: there is no {what} {name!r}; {suggest(name, [*extra, *names])}")


def _mapping(axis: str, value: str) -> dict[str, Any]:
    """A value that is written as a mapping."""
    try:
        found = plain(parse(Source("value", value)))
    except RecipeError as error:
        raise UsageError(f"--grid {axis}={value}: no YAML ({error.problems[0].message})") from error
    if not isinstance(found, dict) or not found:
        raise UsageError(f"--grid {axis}={value}: expected a name or a mapping")
    return found


def _override(key: str, value: Any) -> str:
    return f"{key}={json.dumps(value)}"


def fixed_twice(axes: tuple[Axis, ...], overrides: tuple[str, ...]) -> Iterator[str]:
    """Axes whose key an override fixes as well."""
    keys = {text.partition("=")[0].strip() for text in overrides}
    for axis in axes:
        if axis.name in keys:
            yield axis.name
