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
    yield from _variants(entry)
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
        yield from ("", "parameters:", *(f"{_INDENT}{name:<24} {count:>12,}" for name, count in counted.items()))


def _paper(paper: dict[str, Any] | None) -> Iterator[str]:
    if paper is None:
        return
    yield ""
    yield from _wrapped(f"paper: {paper['authors']} ({paper['year']}). {paper['title']}. {paper['link']}".strip())
    if paper["reference_code"]:
        yield from _wrapped(f"code:  {paper['reference_code']}")


def _variants(entry: dict[str, Any]) -> Iterator[str]:
    for name, variant in entry.get("variants", {}).items():
        default = " (default)" if name == entry["default_variant"] else ""
        yield from ("", f"variant {name}{default}: {variant['difference']}".rstrip(": "))
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
