"""What is compiled against the direct convolution, and what happens where nothing can be compiled."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from stkit.cells import DIRECT, GateBlock, Source, Winograd
from stkit.cells.compiled import compiler
from stkit.cells.compiled.compiler import NoCompiler, library
from stkit.cells.compiled.group import CompiledGroup
from stkit.cells.compiled.kernels import kernels
from stkit.cells.tiles import tiles
from stkit.testing.strategies import seeds, tensor

F64 = torch.float64
here = library()
needs_a_compiler = pytest.mark.skipif(isinstance(here, NoCompiler), reason=str(here))


def outputs_and_gradients(gates: GateBlock, engine: Any, given_: list[Tensor]) -> list[Tensor]:
    gates.engine = engine
    found = list(gates(x=given_[0], h=tuple(given_[1:])).values())
    total = sum((n + 1) * value.square().sum() for n, value in enumerate(found[:2]))  # no gradient of the third
    return [*found, *torch.autograd.grad(total, [*gates.parameters(), *given_])]


@needs_a_compiler
@given(
    seed=seeds(),
    batch=st.integers(1, 9),
    planes=st.sampled_from([0, 0, 1, 2, 3]),
    height=st.integers(1, 20),
    across=st.sampled_from([1, 3, 4, 9, 16, 37]),
    kernel=st.sampled_from([3, 5]),
    width=st.sampled_from([1, 15, 16, 33, 48]),
    channels=st.sampled_from([1, 16, 17, 40]),
)
@settings(max_examples=25)
def test_any_size_is_that_of_the_direct_convolution(
    seed: int, batch: int, planes: int, height: int, across: int, kernel: int, width: int, channels: int
) -> None:
    """More tiles than one stack holds, images that share one, panels and channels that are filled up, slices."""
    torch.manual_seed(seed)
    sources = {"x": Source.of(channels, "i f g"), "h": Source.of(channels + 3, "i f g")}
    size = kernel if not planes else (2, kernel, kernel)
    gates = GateBlock(width, sources, kernel=size, bias="source", dtype=F64)
    grid = (planes, height, across)[0 if planes else 1 :]
    given_ = [tensor(seed + n, batch, count, *grid, dtype=F64) for n, count in enumerate((channels, channels, 3))]
    given_ = [value.requires_grad_() for value in given_]
    assert isinstance(
        Winograd()._groups_of(gates, {"x": (given_[0],), "h": tuple(given_[1:])}, *_own(kernel))[0], CompiledGroup
    )
    expected = outputs_and_gradients(gates, DIRECT, given_)
    for ours, theirs in zip(outputs_and_gradients(gates, Winograd(), given_), expected, strict=True):
        scale = float(theirs.detach().abs().max()) or 1.0
        torch.testing.assert_close(ours / scale, theirs / scale, rtol=0, atol=1e-11)


def _own(kernel: int) -> tuple[Any, Any]:
    return tiles(4, kernel), kernels(kernel, F64)


@needs_a_compiler
def test_the_number_of_threads_changes_no_bit() -> None:
    torch.manual_seed(0)
    gates = GateBlock(40, {"x": Source.of(20, "i f g"), "h": Source.of(23, "i f g")}, kernel=5)
    given_ = [torch.randn(5, count, 13, 18, requires_grad=True) for count in (20, 20, 3)]
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(outputs_and_gradients(gates, Winograd(), given_))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for ours, theirs in zip(other, found[0], strict=True):
            assert torch.equal(ours, theirs)


@needs_a_compiler
def test_a_kernel_that_changes_before_its_gradient_is_an_error() -> None:
    gates = GateBlock(4, {"x": Source.of(3, "i f")}, kernel=3)
    gates.engine = Winograd()
    x = torch.randn(1, 3, 5, 5, requires_grad=True)
    out = gates(x=x)["i"].sum()
    with torch.no_grad():
        next(gates.parameters()).mul_(2)
    with pytest.raises(RuntimeError, match="inplace operation"):
        out.backward()


@needs_a_compiler
def test_tensors_without_memory_are_convolved_directly() -> None:
    """Nothing of them may stay behind in memory that is used again."""
    gates = GateBlock(16, {"x": Source.of(16, "i")}, kernel=5)
    gates.engine = Winograd()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        x = mode.from_tensor(torch.zeros(1, 16, 12, 12))
        assert not gates.engine.takes(gates, {"x": (x,)})
        assert gates(x=x)["i"].shape == (1, 16, 12, 12)


@needs_a_compiler
def test_not_a_number_stays_one() -> None:
    gates = GateBlock(16, {"x": Source.of(16, "i")}, kernel=5)
    gates.engine = Winograd()
    x = torch.zeros(1, 16, 12, 12)
    x[0, 3, 6, 6] = float("nan")
    with torch.inference_mode():
        assert gates(x=x)["i"][0, :, 4:9, 4:9].isnan().all()


# ------------------------------------------------------------------------------------- without a compiler


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STKIT_COMPILE", "off")
    found = library.__wrapped__()
    assert isinstance(found, NoCompiler)
    assert "STKIT_COMPILE" in str(found)


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler.shutil, "which", lambda name: None)
    assert "no C compiler" in str(library.__wrapped__())


def fake(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler of our own, and an empty folder for what it makes."""
    program = folder / "cc"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("[ $1 = --version ] && exit 0; echo 'winograd.c:1: error: no such flag' >&2; exit 1", "no such flag"),
        ("[ $1 = --version ] && exit 0; exit 3", "exit 3"),
        ('[ $1 = --version ] && exit 0; for last; do :; done; echo nonsense > "$last"', "cannot be used"),
    ],
)
def test_a_compiler_that_fails(tmp_path: Path, script: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, script, monkeypatch)
    found = library.__wrapped__()
    assert isinstance(found, NoCompiler)
    assert said in str(found)


def test_what_is_compiled_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    fake(
        tmp_path,
        f'[ $1 = --version ] && exit 0; echo once >> {log}; for last; do :; done; echo x > "$last"',
        monkeypatch,
    )
    first, second = compiler._compiled(compiler.GATES), compiler._compiled(compiler.GATES)
    assert first == second
    assert first.parent == tmp_path / "cache" / "stkit"
    assert log.read_text(encoding="utf-8") == "once\n"
    assert [path.name for path in first.parent.iterdir()] == [first.name], "nothing else is left"


def test_a_folder_that_cannot_be_written_to_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, '[ $1 = --version ] && exit 0; for last; do :; done; echo x > "$last"', monkeypatch)
    (tmp_path / "cache").write_text("a file where the folder should be", encoding="utf-8")
    monkeypatch.setattr(compiler.tempfile, "gettempdir", lambda: str(tmp_path / "elsewhere"))
    assert compiler._compiled(compiler.GATES).parent.parent == tmp_path / "elsewhere"


def test_a_folder_that_others_can_write_to_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies there could be anybody's."""
    fake(tmp_path, '[ $1 = --version ] && exit 0; for last; do :; done; echo x > "$last"', monkeypatch)
    open_to_all = tmp_path / "cache" / "stkit"
    open_to_all.mkdir(parents=True)
    open_to_all.chmod(0o777)
    monkeypatch.setattr(compiler.tempfile, "gettempdir", lambda: str(tmp_path / "elsewhere"))
    assert compiler._compiled(compiler.GATES).parent.parent == tmp_path / "elsewhere"
    assert not list(open_to_all.iterdir())
