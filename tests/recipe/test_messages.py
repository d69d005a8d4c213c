"""Every message about a recipe, word for word."""

from __future__ import annotations

import re
import textwrap

import pytest

from stkit.errors import RecipeError
from stkit.recipe import load

from .conftest import Recipes


def told(ref: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load(ref, overrides)
    assert caught.value.exit_code == 2
    assert caught.value.problems
    return str(caught.value)


SHAPE = {
    "unknown key": (
        "train:\n  stepps: 3\n",
        """\
        over.yaml:2:3: train.stepps: there is no such key; did you mean 'steps'?
          2 |   stepps: 3
            |   ^^^^^^
        """,
    ),
    "unknown section": (
        "trian: {steps: 3}\n",
        """\
        over.yaml:1:1: trian: there is no such key; did you mean 'train'?
          1 | trian: {steps: 3}
            | ^^^^^
        """,
    ),
    "unknown key with nothing near": (
        "data:\n  crop: {height: 8, width: 8, zzz: 1}\n",
        """\
        over.yaml:2:31: data.crop.zzz: there is no such key; known: height, turns, width
          2 |   crop: {height: 8, width: 8, zzz: 1}
            |                               ^^^
        """,
    ),
    "unknown key of a component": (
        "model:\n  cell:\n    kernal: 3\n",
        """\
        over.yaml:3:5: model.cell.kernal: there is no such key; did you mean 'kernel'?
          3 |     kernal: 3
            |     ^^^^^^
        """,
    ),
    "unknown key of a choice": (
        "train:\n  sampling:\n    strat: 0.5\n",
        """\
        over.yaml:3:5: train.sampling.strat: there is no such key; did you mean 'start'?
          3 |     strat: 0.5
            |     ^^^^^
        """,
    ),
    "unknown key of a layer": (
        "model:\n  layers: [4, {width: 4, cel: 1}]\n",
        """\
        over.yaml:2:26: model.layers.1.cel: there is no such key; did you mean 'cell'?
          2 |   layers: [4, {width: 4, cel: 1}]
            |                          ^^^
        """,
    ),
    "too small": (
        "train:\n  steps: -1\n",
        """\
        over.yaml:2:10: train.steps: should be at least 1; received -1
          2 |   steps: -1
            |          ^^
        """,
    ),
    "no number": (
        "train: {steps: many}\n",
        """\
        over.yaml:1:16: train.steps: should be a whole number; received 'many'
          1 | train: {steps: many}
            |                ^^^^
        """,
    ),
    "a mapping where a number is due": (
        "train:\n  steps:\n    of: 3\n",
        """\
        over.yaml:3:5: train.steps: should be a whole number; received a mapping
          3 |     of: 3
            |     ^
        """,
    ),
    "not finite": (
        "train: {optimiser: {lr: .inf}}\n",
        """\
        over.yaml:1:25: train.optimiser.lr: should be a finite number; received inf
          1 | train: {optimiser: {lr: .inf}}
            |                         ^^^^
        """,
    ),
    "null where something is due": (
        "train: {steps: null}\n",
        """\
        over.yaml:1:16: train.steps: should be a whole number; received null
          1 | train: {steps: null}
            |                ^^^^
        """,
    ),
    "neither of two kinds": (
        "data: {split: {train: [1]}}\n",
        """\
        over.yaml:1:23: data.split.train: should be a number or text; received a list of 1
          1 | data: {split: {train: [1]}}
            |                       ^^^
        """,
    ),
    "not among the choices": (
        "train: {precision: bf61}\n",
        """\
        over.yaml:1:20: train.precision: should be 'no' or 'tf32' or 'bf16' or 'fp16'; \
received 'bf61'; did you mean 'bf16'?
          1 | train: {precision: bf61}
            |                    ^^^^
        """,
    ),
    "an unknown choice by name": (
        "train: {sampling: {name: sheduled}}\n",
        """\
        over.yaml:1:26: train.sampling.name: should be 'none' or 'scheduled' or 'reverse_scheduled'; \
received 'sheduled'; did you mean 'scheduled'?
          1 | train: {sampling: {name: sheduled}}
            |                          ^^^^^^^^
        """,
    ),
    "an unknown component": (
        "model:\n  cell: {name: st_lstn}\n",
        """\
        over.yaml:2:16: model.cell.name: no cell is called 'st_lstn'; did you mean 'st_lstm'?
          2 |   cell: {name: st_lstn}
            |                ^^^^^^^
        """,
    ),
    "a component of another slot": (
        "model:\n  head: pixel\n",
        """\
        over.yaml:2:9: model.head.name: the module 'pixel' fits the slot 'norm', not 'head'; known: conv, conv3d
          2 |   head: pixel
            |         ^^^^^
        """,
    ),
    "a component that is no name": (
        "train: {loss: 3}\n",
        """\
        over.yaml:1:15: train.loss: expected a name or a mapping with 'name'; received 3
          1 | train: {loss: 3}
            |               ^
        """,
    ),
    "a component whose name is no text": (
        "train: {loss: {name: 3}}\n",
        """\
        over.yaml:1:22: train.loss.name: should be the name of a loss; received 3
          1 | train: {loss: {name: 3}}
            |                      ^
        """,
    ),
    "an unknown architecture": (
        "model: {name: predrn}\n",
        """\
        over.yaml:1:15: model.name: no architecture is called 'predrn'; did you mean 'predrnn'?
          1 | model: {name: predrn}
            |               ^^^^^^
        """,
    ),
    "an unknown variant": (
        "model: {variant: standart}\n",
        """\
        over.yaml:1:18: model.variant: the architecture 'predrnn' has no variant 'standart'; did you mean 'standard'?
          1 | model: {variant: standart}
            |                  ^^^^^^^^
        """,
    ),
    "no layers": (
        "model: {layers: []}\n",
        """\
        over.yaml:1:17: model.layers: should have at least 1 item; received a list of 0
          1 | model: {layers: []}
            |                 ^^
        """,
    ),
    "an unknown dataset": (
        "data: {dataset: sst_osita}\n",
        """\
        over.yaml:1:17: data.dataset.name: no dataset is called 'sst_osita'; did you mean 'sst_ostia'?
          1 | data: {dataset: sst_osita}
            |                 ^^^^^^^^^
        """,
    ),
}


@pytest.mark.parametrize("case", SHAPE)
def test_shape(recipes: Recipes, case: str) -> None:
    text, expected = SHAPE[case]
    recipes.write("over.yaml", text)
    # A second suggestion depends on what else is installed.
    assert re.sub(r" or '\w+'\?", "?", told("base+over")) == textwrap.dedent(expected).rstrip()


YAML = {
    "broken": (
        "train:\n  steps: [1, 2\nloss: 3\n",
        "over.yaml:3:5: while parsing a flow sequence expected ',' or ']', but got ':'",
    ),
    "tab": ("train:\n\tsteps: 3\n", "over.yaml:2:1: while scanning for the next token found character '\\t'"),
    "duplicate": (
        "train:\n  steps: 1\n  batch_size: 2\n  steps: 2\n",
        "over.yaml:4:3: duplicate key 'steps'; it is written in line 2 already\n  4 |   steps: 2\n    |   ^^^^^",
    ),
    "key is a number": ("1: a\n", "over.yaml:1:1: a key is a word, received '1'"),
    "key is a list": ("? [a]\n: b\n", "over.yaml:1:3: a key is a word, received a collection"),
    "list": ("- a\n", "over.yaml:1:1: a recipe is a mapping (`key: value`)"),
    "text": ("hello\n", "over.yaml:1:1: a recipe is a mapping (`key: value`)"),
    "unknown tag": ("summary: !!python/name:os.system x\n", "over.yaml:1:10: the tag 'python/name:os.system' is not"),
    "two documents": ("a: 1\n---\nb: 2\n", "over.yaml:2:1: expected a single document in the stream"),
    "control character": ("a: \x01\n", "over.yaml:1:1: this is no YAML: unacceptable character"),
    "NUL": ('summary: "a\\0b"\n', "over.yaml:1:10: summary: 'a\\x00b' has a NUL byte, which no name, path or text can"),
    "NUL in a list": ('data:\n  variables: ["s\\0t"]\n', "over.yaml:2:15: data.variables.0: 's\\x00t' has a NUL byte"),
    "NUL in a key": ('data: {"a\\0b": 1}\n', "over.yaml:1:8: data: the key 'a\\x00b' has a NUL byte\n"),
    "too long a number": ("seed: " + "9" * 5000, "over.yaml:1:7: '9999"),
}


@pytest.mark.parametrize("case", YAML)
def test_yaml(recipes: Recipes, case: str) -> None:
    text, expected = YAML[case]
    recipes.write("over.yaml", text)
    assert told("base+over").startswith(expected)


def test_nesting_without_end_is_refused(recipes: Recipes) -> None:
    recipes.write("over.yaml", "a: " + "[" * 60 + "]" * 60)
    assert "this recipe nests too deep" in told("over.yaml")
    recipes.write("over.yaml", "a: " + "[" * 5000)
    assert told("over.yaml").startswith("over.yaml:1:")


def test_anchors_that_repeat_without_end_are_refused(recipes: Recipes) -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 9)]
    recipes.write("over.yaml", "\n".join(lines))
    assert "this recipe is too large: anchors repeat without end" in told("over.yaml")
    recipes.write("over.yaml", "a: &a [*a]")
    assert "this recipe nests too deep" in told("over.yaml")


def test_bytes_that_are_no_text(recipes: Recipes) -> None:
    (recipes.folder / "bytes.yaml").write_bytes(b"summary: \xff\xfe\n")
    assert told("bytes.yaml") == "bytes.yaml is no text in UTF-8 (byte 9)"


def test_a_byte_order_mark_does_no_harm(recipes: Recipes) -> None:
    text = (recipes.folder / "base.yaml").read_text()
    (recipes.folder / "marked.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load("marked.yaml").recipe == load("base.yaml").recipe


OVERRIDES = {
    "train.steps": "override 'train.steps': an override is written key.path=value",
    "=3": "override '=3': an override is written key.path=value",
    "train..steps=3": "override 'train..steps=3': an override is written key.path=value",
    "train.steps=fast": "override 'train.steps=fast': train.steps: should be a whole number; received 'fast'",
    "train.stepps=3": "override 'train.stepps=3': train.stepps: there is no such key; did you mean 'steps'?",
    "train.steps=": "override 'train.steps=': train.steps: should be a whole number; received null",
    "train.loss=mze": "override 'train.loss=mze': train.loss.name: no loss is called 'mze'; did you mean 'mse'",
    'summary="\\0"': "override 'summary=\"\\\\0\"': summary: '\\x00' has a NUL byte, which no name",
    "summary=[1": "override 'summary=[1': the value is no YAML (while parsing a flow sequence",
    "summary=@home": "override 'summary=@home': the value is no YAML (while scanning for the next token found "
    "character '@' that cannot start any token); put text with special characters in quotes",
    "model.layers.7.width=3": "override 'model.layers.7.width=3': model.layers: should be a list; received a mapping",
}


@pytest.mark.parametrize("override", OVERRIDES)
def test_overrides(recipes: Recipes, override: str) -> None:
    assert told("base.yaml", override).startswith(OVERRIDES[override])


MISSING = {
    "nowhere.yaml": "there is no file 'nowhere.yaml'; known: attention, base.yaml, ",
    "bose.yaml": "there is no file 'bose.yaml'; did you mean 'base.yaml'?",
    "sub/bose.yaml": "there is no file 'sub/bose.yaml'; did you mean 'sub/base.yaml'?",
    "predrn-sst": "no recipe is called 'predrn-sst'; did you mean 'predrnn-sst' or ",
    "predrn-sst.yaml": "there is no file 'predrn-sst.yaml'; did you mean 'predrnn-sst' or ",
    "predrnn-sst+reverse-samplin": "no recipe is called 'reverse-samplin'; did you mean 'reverse-sampling'? "
    "(as a part of 'predrnn-sst+reverse-samplin')",
    "predrnn-sst+": "no recipe is called 'predrnn-sst+'; did you mean 'predrnn-sst'",
    "": "no recipe is called ''; known: ",
    "sub": "the directory 'sub' is no run: it has no recipe.yaml",
    "a\0b": "no recipe is called 'a\\x00b'",
}


@pytest.mark.parametrize("ref", MISSING)
def test_missing(recipes: Recipes, ref: str) -> None:
    recipes.write("sub/base.yaml", "summary: x\n")
    assert told(ref).startswith(MISSING[ref])


def test_a_name_longer_than_a_file_may_have(recipes: Recipes) -> None:
    assert told("x" * 5000).startswith("no recipe is called 'xxx")


def test_a_file_that_may_not_be_read(recipes: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_text", denied)
    assert told("base.yaml") == "base.yaml cannot be read: Permission denied"


def test_a_recipe_that_is_missing_everything(recipes: Recipes) -> None:
    recipes.write("over.yaml", "summary: x\n")
    assert told("over.yaml") == (
        "over.yaml: data, model and train are missing; if this is an overlay, put it on a recipe, as in "
        "`stkit recipe predrnn+over`"
    )
    recipes.write("over.yaml", "model: {patch: 4}\ntrain: {batch_size: 4}\ndata: {dataset: sst_ostia}\n")
    assert "model.cell, model.layers, " in told("over.yaml")
    assert "are missing; if this is an overlay, put it on a recipe, as in `stkit recipe predrnn+over`" in told(
        "over.yaml"
    )


def test_a_section_that_is_missing(recipes: Recipes) -> None:
    recipes.write("over.yaml", "data: {dataset: sst_ostia, input_steps: 1, horizon: 1}\nmodel: predrnn\n")
    assert told("over.yaml") == "over.yaml: train: is missing"


def test_keys_that_are_missing_point_at_their_section(recipes: Recipes) -> None:
    text = (recipes.folder / "base.yaml").read_text().replace("  horizon: 2\n", "")
    recipes.write("over.yaml", text)
    assert told("over.yaml", "data.input_steps=4") == "over.yaml:2:1: data.horizon: is missing\n  2 | data:\n    | ^^^^"


def test_a_component_without_a_name(recipes: Recipes) -> None:
    text = (recipes.folder / "base.yaml").read_text()
    recipes.write("over.yaml", text.replace("loss: {name: mse}", "loss: {}").replace("{name: scheduled}", "{start: 1}"))
    lines = told("over.yaml").splitlines()
    assert lines[0].startswith("over.yaml:11:9: train.loss.name: names no loss; known: ")
    assert lines[3] == "over.yaml:12:13: train.sampling.name: names nothing; known: none, scheduled, reverse_scheduled"


def test_all_problems_are_told_at_once(recipes: Recipes) -> None:
    recipes.write("over.yaml", "train:\n  steps: 0\n  stop: 1\nmodel:\n  patch: 0\n")
    found = told("base+over", "seed=-1", "model.head=none")
    paths = [line.split(": ")[1] for line in found.splitlines() if not line.startswith(" ")]
    assert sorted(paths) == ["model.head.name", "model.patch", "seed", "train.steps", "train.stop"]


def test_syntax_errors_of_several_files_and_overrides_are_told_at_once(recipes: Recipes) -> None:
    recipes.write("one.yaml", "a: 1\na: 2\n")
    recipes.write("two.yaml", "- x\n")
    found = told("one+two", "nonsense", "more")
    assert [line.split(": ")[0] for line in found.splitlines() if not line.startswith(" ")] == [
        "one.yaml:2:1",
        "two.yaml:1:1",
        "override 'nonsense'",
        "override 'more'",
    ]


def test_an_unknown_architecture_is_told_without_what_it_would_have_brought(recipes: Recipes) -> None:
    found = told("base", "model.name=zzz", "train.steps=0")
    assert found.count("\n") == 1
    assert "model.name: no architecture is called 'zzz'" in found
    assert "train.steps" in found


def test_problems_as_data(recipes: Recipes) -> None:
    recipes.write("over.yaml", "train:\n  steps: 0\n")
    with pytest.raises(RecipeError) as caught:
        load("base+over", ["seed=-1"])
    assert sorted((p.as_json() for p in caught.value.problems), key=lambda p: p["path"]) == [
        {
            "source": "override 'seed=-1'",
            "line": None,
            "column": None,
            "path": "seed",
            "message": "should be at least 0; received -1",
        },
        {
            "source": "over.yaml",
            "line": 2,
            "column": 10,
            "path": "train.steps",
            "message": "should be at least 1; received 0",
        },
    ]
