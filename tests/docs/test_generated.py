"""What is written from the code is on its page: hooks, rules, fields, commands, tables of results."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from stkit.cli.main import SUMMARIES
from stkit.plugin.hookspecs import Hooks
from stkit.recipe.model import Recipe
from stkit.testing.rules import CELL_RULES, STACK_RULES
from tests.docs.pages import DOCS

HOOKS = [name for name in vars(Hooks) if name.startswith("stkit_")]


def module(path):
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def plugin_page():
    return module(DOCS / "_ext" / "plugin_text.py")


@pytest.fixture(scope="module")
def reference():
    return module(DOCS / "_ext" / "reference_text.py")


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_on_the_page_with_its_example(hook, plugin_page):
    page = (DOCS / "guides" / "writing-a-plugin.md").read_text(encoding="utf-8")
    assert "{plugin-hooks}" in page
    text = plugin_page.hooks()
    assert f"`{hook}`" in text
    assert f"def {hook}(" in text


def test_every_rule_is_on_the_page(plugin_page):
    page = (DOCS / "guides" / "writing-a-plugin.md").read_text(encoding="utf-8")
    assert "{contract-rules}" in page
    text = plugin_page.rules()
    assert [name for name in (*CELL_RULES, *STACK_RULES) if name not in text] == []


def test_every_section_and_command_is_in_the_reference(reference):
    recipe = "\n".join(reference.recipe_page())
    for section, field in Recipe.model_fields.items():
        assert f"`{section}`" in recipe
        for name in getattr(field.annotation, "model_fields", {}):
            assert f"| `{name}" in recipe, f"{section}.{name}"
    for component in ("st_lstm", "causal_lstm", "mim", "netcdf", "decoupling"):
        assert f"### `{component}`" in recipe
    commands = "\n".join(reference.cli_page())
    assert [name for name in SUMMARIES if f"## `stkit {name}`" not in commands] == []


def test_every_record_of_parity_is_on_its_page():
    text = module(DOCS / "_ext" / "parity_text.py")
    page = (DOCS / "cells" / "parity.md").read_text(encoding="utf-8")
    records = text.records()
    assert {"convlstm", "predrnn", "predrnnpp", "e3d_lstm", "mim", "stkit"} <= set(records)
    for plugin, rows in records.items():
        assert f"```{{parity}} {plugin}\n" in page
        table = "\n".join(text.parity_table(plugin))
        for row in rows:
            assert row.file.removesuffix(".safetensors") in table
            assert f"| {row.tensors} | {row.largest_error:.1e} |" in table


def test_tables_of_results_are_those_of_the_records(capsys):
    tables = module(DOCS / "tables.py")
    records = tables.load_records()
    assert not records or tables.main(["check"]) == 0, capsys.readouterr().out
