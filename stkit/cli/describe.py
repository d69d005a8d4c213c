"""Everything that is known about a component, as data; ``stkit info`` and the generated docs print it.

Importing this loads no torch; counting parameters does.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from stkit.cli.inside import EXAMPLE_WIDTH, cell_states, layers_of, transition_states
from stkit.cli.shipped import Shipped
from stkit.errors import AmbiguousComponent, StkitError, UnknownComponent, suggest
from stkit.plugin.field_docs import field_docs
from stkit.plugin.manager import KINDS, plugins
from stkit.plugin.parity import parity_of

SHOWN = (
    "stacks",
    "cells",
    "modules",
    "losses",
    "metrics",
    "baselines",
    "datasets",
    "callbacks",
    "exporters",
    "recipes",
)
_OTHER_NAMES = {"architectures": "stacks", "scores": "metrics"}
_COUNTED = ("architecture", "cell")
"""Kinds that few recipes use, so that these can be built to count. A head or a norm is in all of them."""


def describe_all(name: str, kind: str | None = None, *, build: bool = True, count: bool = True) -> list[dict[str, Any]]:
    """Describe every component called ``name``; several kinds may have one.

    Args:
        name: short or qualified name.
        kind: only this kind.
        build: also build models on the meta device, to list states and to count.
        count: then count parameters and operations at the shipped recipes; that of many recipes takes seconds.

    Raises:
        UnknownComponent: if nothing is called so.
        AmbiguousComponent: if several plugins provide one of the same kind.
    """
    kinds = (_kind(kind),) if kind else SHOWN
    shipped = Shipped()
    found = []
    for one in kinds:
        for slot in _slots(one):
            try:
                spec = plugins().resolve(one, _recipe_name(one, name), slot=slot)
            except AmbiguousComponent:
                raise
            except UnknownComponent:
                continue
            found.append(_DESCRIBE.get(one, _component)(one, spec, build, shipped))
    if not found:
        known = {n for one in kinds for n in plugins().names(one)}
        raise UnknownComponent(f"nothing is called {name!r}; {suggest(name, known, limit=40)}")
    if build and count:
        _count([entry for entry in found if entry["kind"] in _COUNTED or entry.get("slot") == "transition"], shipped)
    return found


def fields_of(config: Any, prefix: str = "") -> list[dict[str, str]]:
    """The fields of a configuration class, those of its sections after them: name, type, default, what it means."""
    from stkit.recipe.fields import describe_field, submodels

    docs = field_docs(config)
    rows = []
    for name, field in config.model_fields.items():
        kind, default = describe_field(field)
        doc = " ".join(docs.get(name, "").replace("``", "`").split())
        rows.append({"name": f"{prefix}{name}", "type": kind, "default": default, "doc": doc})
        for section in submodels(field.annotation):
            rows += fields_of(section, f"{prefix}{name}.")
    return rows


def _kind(kind: str) -> str:
    kind = _OTHER_NAMES.get(kind, kind)
    if kind not in SHOWN:
        raise UnknownComponent(f"there is no kind {kind!r}; {suggest(kind, SHOWN)}")
    return kind


def _slots(kind: str) -> list[str | None]:
    return sorted({spec.slot for spec in plugins().specs(kind)}) if kind == "modules" else [None]


def _recipe_name(kind: str, name: str) -> str:
    return name.removesuffix(".yaml") if kind == "recipes" else name


def _common(kind: str, spec: Any) -> dict[str, Any]:
    paper = getattr(spec, "paper", None)
    return {
        "kind": KINDS[kind].singular,
        "name": spec.name,
        "qualified_name": spec.qualified_name,
        "summary": spec.summary,
        "plugin": spec.plugin,
        "distribution": spec.distribution,
        "paper": None if paper is None else asdict(paper),
        "verified": [asdict(row) for row in parity_of(paper)],
    }


def _component(kind: str, spec: Any, build: bool, shipped: Shipped) -> dict[str, Any]:
    from stkit.recipe.component import load_config

    config = load_config(spec)
    out = _common(kind, spec)
    if kind == "modules":
        out["slot"] = spec.slot
        if build and spec.slot == "transition":
            out["states"] = transition_states(spec, config)
        if places := getattr(config, "places", ()):
            out["places"] = list(places)
    out["doc"] = " ".join((config.__doc__ or "").replace("``", "`").split())
    out["fields"] = [row for row in fields_of(config) if row["name"] != "name"]
    out["used_by"] = shipped.users(lambda values: _uses(values, spec, kind), by_default=kind != "cells")
    return out


def _cell(kind: str, spec: Any, build: bool, shipped: Shipped) -> dict[str, Any]:
    out = _component(kind, spec, build, shipped)
    config = spec.load_config()
    out["slots"] = list(config.slots)
    out["places"] = ["x", *config.places]
    try:
        example = config(name=spec.name)
    except ValueError:
        # A field without a default: what it carries depends on the recipe.
        return out
    out["carries"] = sorted(example.carry_ports(EXAMPLE_WIDTH))
    out["places"] += [name for name in out["carries"] if name not in out["places"]]
    if build:
        out["states"] = cell_states(spec, example)
    return out


def _architecture(kind: str, spec: Any, build: bool, shipped: Shipped) -> dict[str, Any]:
    out = _common(kind, spec)
    out["default_variant"] = spec.default_variant
    out["variants"] = {
        name: {"difference": spec.differences.get(name, ""), "model": _plain(block)}
        for name, block in spec.variants.items()
    }
    out["used_by"] = shipped.users(lambda values: _is_architecture(values, spec), by_default=False)
    out["layers"] = layers_of(spec, build=build)
    return out


def _recipe(kind: str, spec: Any, build: bool, shipped: Shipped) -> dict[str, Any]:
    from stkit.recipe.loaded import load
    from stkit.recipe.shipped_files import recipe_path

    out = {**_common(kind, spec), "file": str(recipe_path(spec))}
    try:
        loaded = load(spec.qualified_name)
    except StkitError as error:
        # An overlay is no recipe by itself.
        out |= {"overlay": True, "text": recipe_path(spec).read_text(encoding="utf-8"), "note": str(error)}
        return out
    out |= {"overlay": False, "hash": loaded.hash, "recipe": loaded.recipe.model_dump(mode="json")}
    if build:
        out |= _counts({spec.name: loaded})
    return out


def _is_architecture(values: Any, spec: Any) -> bool:
    model = values.get("model")
    return isinstance(model, dict) and model.get("name") in (spec.name, spec.qualified_name)


def _uses(values: Any, spec: Any, kind: str) -> bool:
    names = (spec.name, spec.qualified_name)
    section, keys = _PLACES.get(kind, (None, ()))
    if section is None:
        return False
    return any(_named(values.get(section), key, names) for key in keys or ((spec.slot,) if kind == "modules" else ()))


_PLACES: dict[str, tuple[str, tuple[str, ...]]] = {
    "cells": ("model", ("cell",)),
    "modules": ("model", ()),
    "losses": ("train", ("loss",)),
    "callbacks": ("train", ("callbacks",)),
    "metrics": ("evaluate", ("metrics",)),
    "baselines": ("evaluate", ("baselines",)),
    "datasets": ("data", ("dataset",)),
}
"""The section of a recipe and the keys under which a component of each kind is named; a module's is its slot."""


def _named(values: Any, key: str, names: tuple[str, ...]) -> bool:
    """Whether a component of one of the names is written under ``key``, at any depth."""
    if isinstance(values, dict):
        for own, child in values.items():
            chosen = child if isinstance(child, list | tuple) else [child]
            if own == "attention" and isinstance(child, dict):  # by place
                chosen = list(child.values())
            if own == key and any((c.get("name") if isinstance(c, dict) else c) in names for c in chosen):
                return True
            if _named(child, key, names):
                return True
    if isinstance(values, list | tuple):
        return any(_named(child, key, names) for child in values)
    return False


def _count(entries: list[dict[str, Any]], shipped: Shipped) -> None:
    """What each shipped recipe needs that uses a component; a recipe that several entries name is built once."""
    if not entries:
        return
    counts = _counts(shipped.named({name for entry in entries for name in entry["used_by"]}))
    for entry in entries:
        entry |= {key: {name: found[name] for name in entry["used_by"]} for key, found in counts.items()}


def _counts(recipes: dict[str, Any]) -> dict[str, dict[str, int | None]]:
    from stkit.recipe.dryrun import dry_run

    counted: dict[str, Any] = {}
    for name, loaded in recipes.items():
        try:
            counted[name] = dry_run(loaded)
        except StkitError:
            counted[name] = None
    return {
        key: {name: None if found is None else getattr(found, key) for name, found in counted.items()}
        for key in ("parameters", "flops_per_window")
    }


def _plain(block: Any) -> Any:
    if hasattr(block, "items"):
        return {key: _plain(value) for key, value in block.items()}
    return [_plain(item) for item in block] if isinstance(block, list | tuple) else block


_DESCRIBE = {"stacks": _architecture, "cells": _cell, "recipes": _recipe}
