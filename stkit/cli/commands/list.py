"""``stkit list``."""

from __future__ import annotations

from typing import Any

import rich_click as click

from stkit.cli.output import json_option, print_json, print_table

TITLES = {
    "recipes": "Recipes and overlays",
    "stacks": "Architectures",
    "cells": "Cells",
    "modules": "Modules",
    "losses": "Losses",
    "metrics": "Scores",
    "baselines": "Baselines",
    "datasets": "Datasets",
    "callbacks": "Callbacks",
    "exporters": "Forecast formats",
}
_OTHER_NAMES = {"architectures": "stacks", "scores": "metrics"}


@click.command()
@click.argument("kinds", nargs=-1, type=click.Choice([*TITLES, *_OTHER_NAMES]), metavar="[KIND]...")
@json_option
def command(kinds: tuple[str, ...], as_json: bool) -> None:
    """List what recipes can name: recipes, architectures, cells, modules, losses, scores, baselines, datasets.

    \b
    Examples:
        stkit list
        stkit list recipes
        stkit list cells modules --json
    """
    chosen = list(dict.fromkeys(_OTHER_NAMES.get(kind, kind) for kind in kinds)) or list(TITLES)
    listed = {kind: entries(kind) for kind in chosen}
    if as_json:
        print_json(listed)
        return
    for kind, rows in listed.items():
        if not rows and not kinds:
            continue
        has_slot = kind == "modules"
        columns = ["name", *(["slot"] if has_slot else []), "plugin", "what it is"]
        cells = [[r["use"], *([r["slot"]] if has_slot else []), r["plugin"], r["summary"]] for r in rows]
        print_table(columns, cells, f"{TITLES[kind]}")
        click.echo()


def entries(kind: str) -> list[dict[str, Any]]:
    """One entry for each component of a kind; ``use`` is the name that a recipe writes."""
    from stkit.plugin.manager import plugins

    slots: dict[str, tuple[str, ...]] = {}
    rows = []
    for spec in plugins().specs(kind):
        slot = getattr(spec, "slot", None)
        usable = slots.setdefault(slot or "", plugins().names(kind, slot=slot))
        row = {
            "use": spec.name if spec.name in usable else spec.qualified_name,
            "name": spec.name,
            "qualified_name": spec.qualified_name,
            "plugin": spec.plugin,
            "distribution": spec.distribution,
            "summary": spec.summary,
        }
        rows.append(row if slot is None else {**row, "slot": slot})
    return rows
