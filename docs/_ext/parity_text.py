"""The records of parity as Markdown, from the installed plugins. Needs no Sphinx."""

from __future__ import annotations

from collections.abc import Iterator

from stkit.plugin.manager import plugins
from stkit.plugin.parity import Parity, parity_of


def records() -> dict[str, tuple[Parity, ...]]:
    """The rows of each plugin that has some."""
    found: dict[str, dict[str, Parity]] = {}
    for kind in ("stacks", "cells", "modules"):
        for spec in plugins().specs(kind):
            for row in parity_of(spec.paper):
                found.setdefault(spec.plugin, {})[row.file] = row
    return {name: tuple(sorted(rows.values(), key=lambda row: row.file)) for name, rows in found.items()}


def parity_table(plugin: str) -> Iterator[str]:
    """The table of one plugin."""
    yield from ("| file | numbers of | tensors | largest error |", "|---|---|---:|---:|")
    for row in records()[plugin]:
        name = row.file.removesuffix(".safetensors") + ("" if row.shipped else " °")
        source = f"{row.repository}, `{row.part.rpartition('.')[2]}`, at `{row.commit[:7]}`"
        yield f"| {name} | {source} | {row.tensors} | {row.largest_error:.1e} |"
