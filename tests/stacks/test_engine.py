"""Which engine a recipe's model gets, and what the run record says of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import stkit
from stkit.cells import Auto, Direct, Fused, GateBlock, Winograd
from stkit.cells.compiled.compiler import NoCompiler
from stkit.errors import RecipeError
from stkit.stacks import engine as stacks_engine
from stkit.stacks.build import model_config
from stkit.stacks.engine import engine_line, engine_record
from stkit.stacks.forecaster import Forecaster

CPU = torch.device("cpu")


def engines(forecaster: Forecaster) -> set[Any]:
    return {part.engine for part in forecaster.modules() if isinstance(part, GateBlock)}


@pytest.mark.parametrize(
    ("name", "kind"), [("auto", Auto), ("direct", Direct), ("winograd", Winograd), ("fused", Fused)]
)
def test_all_cells_share_the_engine_that_is_named(name: str, kind: type) -> None:
    (engine,) = engines(stkit.build("mim", layers=[4, 4], engine=name))
    assert type(engine) is kind
    assert engine.name == name


def test_engines_give_the_same_forecast() -> None:
    """Where Winograd pays, so that ``auto`` takes it, too; the context is long enough for both layers to work."""
    context = torch.rand(2, 3, 1, 16, 16)
    said = {}
    for name in ("direct", "winograd", "auto"):
        torch.manual_seed(0)
        forecaster = stkit.build("predrnn", layers=[128, 128], cell={"kernel": 3}, engine=name)
        with torch.no_grad():
            said[name] = forecaster(context, 2)
    assert torch.equal(said["auto"], said["winograd"])
    assert not torch.equal(said["auto"], said["direct"])
    torch.testing.assert_close(said["auto"], said["direct"], rtol=1e-4, atol=1e-6)


def test_insisting_where_no_kernel_fits_is_refused() -> None:
    expected = r"model\.engine: winograd takes square kernels of 3 or 5 cells, and no cell of this model has them, but "
    with pytest.raises(RecipeError, match=expected + r"7 x 7, 1 x 1; say auto"):
        stkit.build("predrnn", layers=[4], cell={"kernel": 7}, engine="winograd")
    stkit.build("predrnn", layers=[4], cell={"kernel": 7}, engine="auto")
    with pytest.raises(RecipeError, match="winogrd"):
        stkit.build("predrnn", layers=[4], engine="winogrd")


def record(name: Any, layers: list[Any], cell: dict[str, Any] | None = None, **said: Any) -> dict[str, Any]:
    forecaster = stkit.build("predrnn", layers=layers, cell={"kernel": 5} if cell is None else cell, engine=name)
    return engine_record(forecaster, name, **{"batch": 8, "grid": (16, 16), "device": CPU, "precision": "no", **said})


def test_the_record_counts_blocks() -> None:
    """Of each layer the gates and the output gate; the 1x1 convolutions, of the memories and the head, are direct."""
    assert record("direct", [32, 32]) == {"asked": "direct", "winograd": 0, "direct": 7}
    found = record("auto", [32, 32])
    assert (found["winograd"], found["direct"]) == (4, 3)
    assert "within 10 times" in found["rounding"]
    assert record("auto", [8, 8])["winograd"] == 0
    assert record("winograd", [8, 8])["winograd"] == 4
    assert record("auto", [32, 32], batch=1, grid=(12, 16))["winograd"] == 0
    assert record("auto", [32, 32], batch=2)["winograd"] == 4
    assert record("auto", [32, 32], precision="bf16")["winograd"] == 0
    cuda = record("auto", [32, 32], device=torch.device("cuda"))
    assert cuda == {"asked": "auto", "winograd": 0, "direct": 0, "fused": 7}
    assert record("fused", [8])["fused"] == 4


def test_the_record_counts_slices() -> None:
    """Three-dimensional kernels work on two slices: twice the tiles, as the engine itself counts them."""
    forecaster = stkit.build("e3d_lstm", layers=[{"width": 1, "cell": "frame_window"}, 64], engine="auto")
    for side, taken in ((4, 0), (16, 2)):
        found = engine_record(forecaster, "auto", batch=1, grid=(side, 8), device=CPU, precision="no")
        assert found["winograd"] == taken
        gates = next(part for part in forecaster.modules() if isinstance(part, GateBlock))
        x, h = torch.zeros(1, 1, 2, side, 8), torch.zeros(1, 64, 2, side, 8)
        assert isinstance(gates.engine, Auto)
        assert gates.engine.processor.takes(gates, {"x": (x,), "h": (h,), "m": (h,)}) == bool(taken)


SMALL = "too small to gain from it"
CUDA = {"device": torch.device("cuda")}
SEVEN = {"width": 32, "cell": {"name": "st_lstm", "kernel": 7}}


@pytest.mark.parametrize(
    ("name", "layers", "said", "line"),
    [
        ("direct", [8, 8], {}, None),
        ("auto", [32, 32], {}, None),
        ("winograd", [8, 8], {}, None),
        ("fused", [8, 8], {}, None),
        ("auto", [32, 32], CUDA, None),
        ("auto", [8, 8], {}, f"engine auto: all gate blocks directly: 4 {SMALL}, 3 with kernels of 1 x 1"),
        (
            "auto",
            [32, 32],
            {"batch": 1, "grid": (12, 16)},
            f"engine auto: all gate blocks directly: 4 {SMALL}, 3 with kernels of 1 x 1",
        ),
        ("auto", [32, 32], {"precision": "bf16"}, "engine auto: all gate blocks directly: 7 in bf16 on cpu"),
        (
            "winograd",
            [SEVEN, 32],
            {},
            "engine winograd: 2 gate blocks by winograd, 5 directly: 2 with kernels of 7 x 7, 3 with kernels of 1 x 1",
        ),
        (
            "auto",
            [SEVEN, 32],
            {},
            "engine auto: 2 gate blocks by winograd, 5 directly: 2 with kernels of 7 x 7, 3 with kernels of 1 x 1",
        ),
        (
            "fused",
            [8, 8],
            {"cell": {"norm": "channel"}},
            "engine fused: 3 gate blocks by fused, 4 directly: 4 with norms",
        ),
    ],
)
def test_what_is_convolved_directly_is_one_line_with_its_reasons(
    name: str, layers: list[Any], said: dict[str, Any], line: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks_engine, "library", lambda: SimpleNamespace(matrix_unit=False))
    found = record(name, layers, **said)
    assert engine_line(found) == line
    assert sum(found.get("directly", {}).values()) == (0 if name == "direct" else found["direct"])


@pytest.mark.parametrize(("unit", "said"), [(True, "yes, with the matrix unit"), (False, "yes")])
def test_what_is_compiled_is_on_record(unit: bool, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks_engine, "library", lambda: SimpleNamespace(matrix_unit=unit))
    assert record("winograd", [8, 8])["compiled"] == said


def test_a_machine_that_cannot_compile_is_told_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks_engine, "library", lambda: NoCompiler("this machine has no C compiler"))
    found = record("winograd", [8, 8])
    assert found["compiled"] == "no: this machine has no C compiler"
    slower = "winograd by torch's operators, which is slower, not compiled: this machine has no C compiler"
    assert engine_line(found) == f"engine winograd: {slower}"
    mixed = engine_line(record("auto", [SEVEN, 32]))
    assert mixed is not None
    assert mixed.startswith("engine auto: 2 gate blocks by winograd, 5 directly: ")
    assert mixed.endswith(slower)
    assert "compiled" not in record("direct", [8, 8])
    assert (
        engine_line(record("auto", [8, 8]))
        == "engine auto: all gate blocks directly: 4 " + SMALL + ", 3 with kernels of 1 x 1"
    )


@pytest.mark.parametrize("said", [{"precision": "bf16"}, {"device": torch.device("cuda")}])
def test_insisting_elsewhere_than_on_a_processor_in_float32_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"computes in float32 on a processor, not in \w+ on \w+; say auto"):
        record("winograd", [8], **said)


def test_a_recipe_without_it_keeps_its_hash() -> None:
    plain = model_config({"name": "predrnn"})
    assert "engine" not in plain.model_dump()
    assert model_config({"name": "predrnn", "engine": "direct"}).model_dump()["engine"] == "direct"
