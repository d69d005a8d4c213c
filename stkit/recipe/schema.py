"""The JSON schema of recipe files, for editors, with the installed plugins in it. Imports no torch."""

from __future__ import annotations

from typing import Any

from stkit.plugin.manager import plugins
from stkit.recipe.compose import EXTENDS
from stkit.recipe.model import Recipe

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def recipe_schema() -> dict[str, Any]:
    """The schema of one recipe file.

    No key is required in it: a file may be an overlay, and what it leaves out may come from what it extends or from
    the architecture it names.
    """
    schema: dict[str, Any] = _relaxed(Recipe.model_json_schema(mode="validation"))
    schema["$schema"] = _DIALECT
    schema["title"] = "stkit recipe"
    ref: dict[str, Any] = {"type": "string", "examples": list(plugins().names("recipes"))}
    schema["properties"][EXTENDS] = {
        "anyOf": [ref, {"type": "array", "items": ref}],
        "description": "Recipes to start from: names, files or compositions; the last one wins.",
    }
    model = schema["$defs"]["ModelConfig"]["properties"]
    model["name"]["examples"] = list(plugins().names("stacks"))
    layers = model["layers"]
    layers["items"] = {"anyOf": [{"type": "integer", "minimum": 1}, layers["items"]]}
    return schema


def _relaxed(value: Any) -> Any:
    """Without ``required``, and with ``anyOf`` in place of ``oneOf``, which a part without a name would fail."""
    if isinstance(value, list):
        return [_relaxed(item) for item in value]
    if not isinstance(value, dict):
        return value
    out: dict[str, Any] = {}
    for key, child in value.items():
        if key in ("required", "discriminator") and not isinstance(child, bool) and "type" not in _keys(child):
            continue
        out["anyOf" if key == "oneOf" else key] = _relaxed(child)
    return out


def _keys(value: Any) -> set[str]:
    # A property of a plugin's configuration may itself be called `required`: then this is its schema.
    return set(value) if isinstance(value, dict) else set()
