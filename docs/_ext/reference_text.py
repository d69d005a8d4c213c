"""The reference of recipes and commands as Markdown, from the code. Needs no Sphinx."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

import click

KINDS = {
    "cells": "Cells",
    "modules": "Modules",
    "losses": "Losses",
    "datasets": "Datasets",
    "callbacks": "Callbacks",
}
WHERE = {
    "cells": "model.cell",
    "losses": "train.loss",
    "datasets": "data.dataset",
    "callbacks": "train.callbacks",
    "transition": "model.transition",
    "attention": "model.attention.PLACE",
    "nonstationary": "model.nonstationary",
    "head": "model.head",
}


def recipe_page() -> Iterator[str]:
    """Every section of a recipe, then the fields of every installed component."""
    from stkit.cli.describe import fields_of
    from stkit.recipe.model import Recipe

    yield from _section("The recipe itself", [row for row in fields_of(Recipe) if "." not in row["name"]], Recipe)
    for name, field in Recipe.model_fields.items():
        if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
            yield from _section(f"`{name}:`", _alternatives(fields_of(field.annotation)), field.annotation)
    yield from _components()


def _alternatives(rows: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    # A section that is a choice among several lists each with its `name`, whose one value says which fields follow.
    for row in rows:
        head, _, last = row["name"].rpartition(".")
        if last == "name" and head and row["default"] == "required":
            if "component's registered name" not in row["doc"]:
                yield {**row, "name": f"{head}: {{name: {row['type']}}}", "type": "", "default": ""}
            continue
        yield row


def _components() -> Iterator[str]:
    from stkit.cli.describe import describe_all
    from stkit.plugin.manager import plugins

    for kind, title in KINDS.items():
        entries = [
            entry
            for name in sorted({spec.name for spec in plugins().specs(kind)})
            for entry in describe_all(name, kind, build=False)
        ]
        for group, found in _grouped(kind, title, entries):
            yield from (f"## {group}", "")
            for entry in found:
                yield from (f"### `{entry['name']}`", "")
                said = entry.get("doc") or entry["summary"]
                yield from (
                    f"{_text(_capital(entry['summary']))}. {_text(said) if entry['summary'] else ''}".strip(),
                    "",
                )
                yield f"Plugin `{entry['plugin']}`." + (
                    f" Slots: {_codes(entry['slots'])}." if entry.get("slots") else ""
                )
                yield ""
                yield from _table([row for row in entry.get("fields", ()) if row["name"] != "name"])


def _grouped(kind: str, title: str, entries: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    if kind != "modules":
        yield (f"{title} (`{WHERE[kind]}`)", entries)
        return
    for slot in dict.fromkeys(entry["slot"] for entry in entries):
        where = f" (`{WHERE[slot]}`)" if slot in WHERE else ""
        yield (f"{title} for the slot `{slot}`{where}", [entry for entry in entries if entry["slot"] == slot])


def _section(title: str, rows: Iterable[dict[str, str]], model: Any) -> Iterator[str]:
    yield from (f"## {title}", "", _text(inspect.getdoc(model) or ""), "")
    yield from _table(rows)


def _table(rows: Iterable[dict[str, str]]) -> Iterator[str]:
    rows = list(rows)
    if not rows:
        yield from ("It has no fields.", "")
        return
    yield from ("| field | |", "|---|---|")
    for row in rows:
        kind = re.sub(r"^a mapping \((\w+)\)( or null)?$", r"a section\2", row["type"])
        kind = kind.replace("a list of a mapping (LayerConfig)", "a list of layers")
        default = {"required": ", required", "as below": "", "": ""}.get(
            row["default"], f", by default `{row['default']}`"
        )
        about = f"*{_cell(kind)}*{default}." if kind else ""
        yield f"| `{row['name']}` | {about} {_cell(row['doc'])} |"
    yield ""


def cli_page() -> Iterator[str]:
    """Every built-in command: usage, what it does, arguments, options, examples."""
    from stkit.cli.main import SUMMARIES, cli

    root = click.Context(cli, info_name="stkit", **cli.context_settings)
    yield from ("## `stkit`", "", *_options(cli, root))
    for name in SUMMARIES:
        command = cli.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root)
        text, _, examples = inspect.cleandoc(command.help or "").partition("\n\b\n")
        yield from (f"## `stkit {name}`", "", "```text")
        yield from (" ".join(command.get_usage(context).removeprefix("Usage:").split()), "```", "")
        yield from (_escape(text.strip()), "")
        if examples:
            body = inspect.cleandoc("\n" + examples.strip().removeprefix("Examples:").removeprefix("Example:"))
            yield from ("```sh", body.strip(), "```", "")
        yield from _options(command, context)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    rows = [
        found for parameter in command.get_params(context) if (found := parameter.get_help_record(context)) and found[1]
    ]
    if rows:
        yield from ("| option | |", "|---|---|")
        yield from (f"| `{_cell(names)}` | {_cell(_escape(' '.join(said.split())))} |" for names, said in rows)
        yield ""


def _text(text: str) -> str:
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", " ".join(text.replace("``", "`").split()))


def _escape(text: str) -> str:
    return re.sub(r"(?<![`\w])(KEY\.PATH=VALUE|<[^>]+>)", r"`\1`", text.replace("\b", ""))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
