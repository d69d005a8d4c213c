"""What ``stkit info`` prints for people. Imports no torch."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

_WIDTH = 100
_INDENT = "  "


def as_text(entry: dict[str, Any]) -> str:
    """One description as text."""
    return "\n".join(_lines(entry))


def _lines(entry: dict[str, Any]) -> Iterator[str]:
    slot = f" for the slot {entry['slot']}" if "slot" in entry else ""
    yield f"{entry['name']}: {entry['kind']}{slot} of plugin {entry['plugin']} ({entry['distribution']})"
    yield from _wrapped(entry["summary"])
    if entry.get("doc"):
        yield from _wrapped(entry["doc"])
    yield from _paper(entry.get("paper"))
    yield from _verified(entry.get("verified", ()))
    yield from _variants(entry)
    yield from _layers(entry)
    yield from _fields(entry.get("fields", ()))
    titles = {
        "states": "states",
        "carries": "carries through the layers",
        "slots": "slots",
        "places": "places for attention",
    }
    for key, title in titles.items():
        if key in entry:
            yield from ("", f"{title}: {', '.join(entry[key]) or 'none'}")
    if entry.get("overlay"):
        yield from ("", "an overlay, to be put on a recipe:", *_indented(entry["text"]))
    if "recipe" in entry:
        yield from ("", f"file: {entry['file']}", f"hash: {entry['hash'][:12]}", "", *_dumped(entry["recipe"]))
    if "used_by" in entry:
        yield from ("", f"used by the shipped recipes: {', '.join(entry['used_by']) or 'none'}")
    counted = {name: count for name, count in entry.get("parameters", {}).items() if count is not None}
    if counted:
        flops = entry["flops_per_window"]
        yield from ("", f"{'at the recipe':<34} {'parameters':>12} {'GFLOPs a window':>16}")
        yield from (f"{_INDENT}{name:<32} {count:>12,} {flops[name] / 1e9:>16,.2f}" for name, count in counted.items())


def _paper(paper: dict[str, Any] | None) -> Iterator[str]:
    if paper is None:
        return
    yield ""
    yield from _wrapped(f"paper: {paper['authors']} ({paper['year']}). {paper['title']}. {paper['link']}".strip())
    if paper["reference_code"]:
        yield from _wrapped(f"code:  {paper['reference_code']}")


def _verified(rows: Any) -> Iterator[str]:
    """Grouped by the code that gave the numbers; nothing where there is no record."""
    sources: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        sources.setdefault(f"{row['repository']} at {row['commit']}", []).append(row)
    for source, held in sources.items():
        yield from ("", f"verified against numbers of {source}:")
        for row in held:
            where = "" if row["shipped"] else " (file not shipped)"
            yield f"{_INDENT}{row['file'].removesuffix('.safetensors')}{where}: {row['part']}"
            yield (
                f"{_INDENT * 3}{row['tensors']} tensors in {row['dtype']}, largest error {row['largest_error']:.1e}, "
                f"limit {row['limit']:.0e}"
            )


def _layers(entry: dict[str, Any]) -> Iterator[str]:
    if "layers" in entry:
        yield from ("", f"layers of {entry['default_variant']}, bottom to top:")
    for layer in entry.get("layers", ()):
        within = f" with {layer['transition']}" if layer["transition"] else ""
        parts = {"keeps": layer.get("states"), "carries": layer["carries"], "slots": layer["slots"]}
        told = "; ".join(f"{title} {', '.join(names)}" for title, names in parts.items() if names)
        yield from _wrapped(f"{layer['layer']} {layer['cell']}{within}, width {layer['width']}: {told}", _INDENT)


def _variants(entry: dict[str, Any]) -> Iterator[str]:
    for name, variant in entry.get("variants", {}).items():
        default = " (default)" if name == entry["default_variant"] else ""
        yield from ("", *_wrapped(f"variant {name}{default}: {variant['difference']}".rstrip(": ")))
        yield from _dumped(variant["model"])


def _fields(fields: Any) -> Iterator[str]:
    if fields:
        yield from ("", "fields:")
    for field in fields:
        yield f"{_INDENT}{field['name']}: {field['type']}, {_default(field['default'])}"
        yield from _wrapped(field["doc"], _INDENT * 3)


def _default(default: str) -> str:
    return default if default in ("required", "as below") else f"by default {default}"


def _dumped(values: Any) -> Iterator[str]:
    from stkit.recipe.yaml import dump

    yield from _indented(dump(values))


def _indented(text: str) -> Iterator[str]:
    return (f"{_INDENT}{line}" for line in text.splitlines())


def _wrapped(text: str, indent: str = "") -> Iterator[str]:
    yield from textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)
