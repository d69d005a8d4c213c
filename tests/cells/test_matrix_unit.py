"""Products in whole numbers by the matrix unit, against those of float64 and of vectors."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stkit.cells import DIRECT, GateBlock, Source, Winograd
from stkit.cells.compiled.compiler import NoCompiler, library
from stkit.testing.strategies import seeds

from .matrix_unit import without_matrix_unit

here = library()
pytestmark = pytest.mark.skipif(
    isinstance(here, NoCompiler) or not here.matrix_unit, reason="this machine has no matrix unit"
)


def block(width: int, channels: int, kernel: int, *, planes: int = 0) -> GateBlock:
    sources = {"x": Source.of(channels, "i f g"), "h": Source.of(channels + 3, "i g")}
    return GateBlock(width, sources, kernel=(2, kernel, kernel) if planes else kernel)


def run(gates: GateBlock, fields: list[Tensor], engine: object) -> list[Tensor]:
    """Outputs, and gradients of parameters and fields."""
    gates.engine = engine  # type: ignore[assignment]
    given_ = [field.detach().clone().requires_grad_() for field in fields]
    made = gates(x=given_[0], h=given_[1])
    found = [made[gate] for gate in gates.gates]
    slopes = torch.autograd.grad(sum(part.square().sum() for part in found), [*gates.parameters(), *given_])
    return [part.detach() for part in (*found, *slopes)]


def exact(gates: GateBlock, fields: list[Tensor]) -> list[Tensor]:
    """What ``run`` gives in float64; the gates stay as they are."""
    gates.double()
    found = run(gates, [field.double() for field in fields], DIRECT)
    gates.float()
    return found


def error(found: list[Tensor], truth: list[Tensor]) -> float:
    """The largest of the errors, each in relation to the largest number."""
    return max(
        float((ours.double() - theirs).abs().max() / (theirs.abs().max() or 1.0))
        for ours, theirs in zip(found, truth, strict=True)
    )


@given(
    seed=seeds(),
    batch=st.integers(1, 9),
    planes=st.sampled_from([0, 0, 1, 3]),
    height=st.integers(1, 20),
    across=st.sampled_from([1, 3, 4, 9, 16, 37]),
    kernel=st.sampled_from([3, 5]),
    width=st.sampled_from([1, 15, 16, 33, 48]),
    channels=st.sampled_from([1, 16, 17, 32, 40, 150]),
)
@settings(max_examples=25)
def test_any_size(
    seed: int, batch: int, planes: int, height: int, across: int, kernel: int, width: int, channels: int
) -> None:
    """Tiles, channels and groups of channels that are filled up; slices."""
    torch.manual_seed(seed)
    gates = block(width, channels, kernel, planes=planes)
    grid = (planes, height, across)[0 if planes else 1 :]
    fields = [torch.randn(batch, count, *grid) for count in (channels, channels + 3)]
    assert error(run(gates, fields, Winograd()), exact(gates, fields)) < 5e-5


def test_it_is_used_and_rounds_about_as_much_as_vectors() -> None:
    torch.manual_seed(0)
    gates = block(64, 64, 5)
    fields = [torch.randn(4, count, 16, 16) for count in (64, 67)]
    truth, ours = exact(gates, fields), run(gates, fields, Winograd())
    with without_matrix_unit():
        theirs = run(gates, fields, Winograd())
    assert not torch.equal(ours[0], theirs[0])
    assert error(ours, truth) < 1.3 * error(theirs, truth) < 1e-4


def test_few_channels_are_left_to_vectors() -> None:
    torch.manual_seed(0)
    gates = block(16, 16, 3)
    fields = [torch.randn(4, count, 16, 16) for count in (16, 19)]
    gates.engine = Winograd()
    with torch.no_grad():
        ours = gates(x=fields[0], h=fields[1])["f"]
        with without_matrix_unit():
            assert torch.equal(ours, gates(x=fields[0], h=fields[1])["f"])


@pytest.mark.parametrize("size", [1e-24, 1e-12, 1e12, 1e30])
def test_fields_of_any_size(size: float) -> None:
    """A power of two goes with every row."""
    torch.manual_seed(0)
    gates = block(40, 40, 5)
    fields = [size * torch.randn(2, count, 12, 12) for count in (40, 43)]
    gates.engine = Winograd()
    with torch.no_grad():
        found = gates(x=fields[0], h=fields[1])["i"]
        gates.double().engine = DIRECT
        truth = gates(x=fields[0].double(), h=fields[1].double())["i"]
    assert 0 < float((found.double() - truth).abs().max()) <= 1e-5 * float(truth.abs().max())


def test_what_is_below_all_use_counts_as_zero() -> None:
    gates = block(40, 40, 5)
    gates.engine = Winograd()
    with torch.no_grad():
        found = gates(x=torch.full((1, 40, 12, 12), 1e-31), h=torch.zeros(1, 43, 12, 12))["i"]
    assert not found.any()


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("decades", [0, 2, 4, 6])
def test_channels_of_different_sizes(kernel: int, decades: int) -> None:
    """The largest decides how exact the others are: still within ten times what plain float32 makes of them."""
    torch.manual_seed(0)
    gates = block(40, 40, kernel)
    fields = [torch.randn(4, count, 16, 16) * torch.logspace(0, decades, count)[:, None, None] for count in (40, 43)]
    truth = exact(gates, fields)
    assert error(run(gates, fields, Winograd()), truth) <= 10 * error(run(gates, fields, DIRECT), truth)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_stays_so(value: float) -> None:
    gates = block(40, 40, 5)
    fields = [torch.zeros(1, count, 12, 12) for count in (40, 43)]
    fields[0][0, 3, 6, 6] = value
    found = run(gates, fields, Winograd())
    assert not found[0][0, :, 4:9, 4:9].isfinite().any()
    assert not found[3].isfinite().all(), "the gradient of a kernel"


def test_it_can_be_left_alone() -> None:
    told = "from stkit.cells.compiled.compiler import library; print(library().matrix_unit)"
    said = subprocess.run(
        [sys.executable, "-c", told],
        env={**os.environ, "STKIT_COMPILE": "vectors"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "False"
