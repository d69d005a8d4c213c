"""Every command that a page shows is one that the command line takes."""

from __future__ import annotations

import click
import pytest

from stkit.cli.main import SUMMARIES, cli
from stkit.recipe import load
from tests.docs.pages import DOCS, commands

COMMANDS = list(commands())
PLACEHOLDERS = ("NAME", "REF", "RUN")
OWN = {"my.yaml": "mim"}
"""Files of the reader, and what the pages copied them from."""
FROM_OTHERS = ("convgru-sst",)
"""Recipes of the plugin that ``stkit new-plugin`` writes on the page on plugins."""
CELL_OF_OTHERS = "my_cell"
"""The cell of the plugin that it writes in the guide for researchers, where ``test_guides.py`` installs it."""


def parsed(arguments: tuple[str, ...]) -> click.Context:
    name, *rest = arguments
    root = click.Context(cli, info_name="stkit", **cli.context_settings)
    command = cli.get_command(root, name)
    assert command is not None, f"there is no command {name!r}"
    return command.make_context(name, rest, parent=root)


def test_the_pages_show_commands():
    shown = {command.arguments[0] for command in COMMANDS}
    assert {
        "recipe",
        "resume",
        "eval",
        "predict",
        "report",
        "list",
        "info",
        "validate",
        "cp",
        "import",
        "new-plugin",
    } <= shown


@pytest.mark.parametrize("command", COMMANDS, ids=[c.label + " " + " ".join(c.arguments) for c in COMMANDS])
def test_a_shown_command_parses(command):
    arguments = command.arguments
    if arguments == ("--help",):
        return
    if len(arguments) == 1 or arguments[1] == "--help":
        assert arguments[0] in SUMMARIES
        return
    context = parsed(arguments)
    if arguments[0] not in ("recipe", "validate"):
        return
    ref = OWN.get(context.params["ref"], context.params["ref"])
    if ref in (*PLACEHOLDERS, *FROM_OTHERS) or ref.startswith("runs/") or ref.endswith(".yaml") or ":" in ref:
        return
    overrides = [text for text in context.params["overrides"] if "…" not in text]
    if any(CELL_OF_OTHERS in text for text in overrides):
        return
    load(ref, overrides)


def test_the_reference_shows_every_command():
    page = DOCS / "reference" / "cli.md"
    assert "../generated/cli.md" in page.read_text(encoding="utf-8")
