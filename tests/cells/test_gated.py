"""Gate arithmetic against torch's own autograd on the equations, forward and backward, in every type and layout."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, sigmoid, tanh

from stkit.cells import gated, squash

F64 = torch.float64

Equation = Callable[..., Tensor]
PAIRS: dict[str, tuple[Equation, Equation, int]] = {
    "increment": (gated.increment, lambda i, g: sigmoid(i) * tanh(g), 2),
    "added": (gated.added, lambda kept, i, g: kept + sigmoid(i) * tanh(g), 3),
    "memory": (
        lambda *xs: gated.memory(*xs, forget_bias=0.7),
        lambda f, c, i, g: sigmoid(f + 0.7) * c + sigmoid(i) * tanh(g),
        4,
    ),
    "squashed memory": (
        lambda *xs: gated.memory(*xs, squashed=True),
        lambda f, c, i, g: sigmoid(f) * tanh(c) + sigmoid(i) * tanh(g),
        4,
    ),
    "output": (gated.output, lambda o, c: sigmoid(o) * tanh(c), 2),
    "output of two parts": (
        lambda o, c, more: gated.output(o, c, more=more, squash="double"),
        lambda o, c, more: sigmoid(tanh(o + more)) * tanh(c),
        3,
    ),
    "tanh output": (lambda *xs: gated.output(*xs, squash="tanh"), lambda o, c: tanh(o) * tanh(c), 2),
    "highway": (gated.highway, lambda s, p, z: sigmoid(s) * tanh(p) + (1 - sigmoid(s)) * z, 3),
}
"""Ours, the equation, and how many tensors they take."""


@pytest.fixture(autouse=True, scope="module")
def _nothing_is_small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gated, "SMALL", 0)
        yield


each = pytest.mark.parametrize("name", PAIRS)


def gates(count: int, shape: tuple[int, ...], *, seed: int, last: bool, dtype: torch.dtype = F64) -> list[Tensor]:
    """Slices of one tensor's channels, as convolutions give them: channels first or last in memory."""
    made = torch.randn(shape[0], count * shape[1], *shape[2:], generator=torch.Generator().manual_seed(seed), dtype=F64)
    made = 3 * (made.movedim(1, -1).contiguous().movedim(-1, 1) if last else made)
    return [part.detach().to(dtype).requires_grad_() for part in made.split(shape[1], dim=1)]


@each
@given(
    shape=st.tuples(st.integers(1, 3), *[st.integers(1, 4)] * 3) | st.tuples(*[st.integers(1, 3)] * 5),
    last=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_equations(name: str, shape: tuple[int, ...], last: bool, seed: int) -> None:
    ours, equation, count = PAIRS[name]
    given_ = gates(count, shape, seed=seed, last=last)
    made, expected = ours(*given_), equation(*given_)
    torch.testing.assert_close(made, expected, rtol=1e-13, atol=1e-13)
    weights = torch.randn_like(made)
    slopes = [torch.autograd.grad((out * weights).sum(), given_) for out in (made, expected)]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-13, atol=1e-13)


@each
def test_the_operator_is_what_torch_expects_of_one(name: str) -> None:
    """Slopes by finite differences; shapes, types and layouts as they are told to compilers; nothing is aliased."""
    ours, _, count = PAIRS[name]
    given_ = gates(count, (2, 2, 2, 3), seed=0, last=True)
    assert torch.autograd.gradcheck(ours, given_)
    calls: list[tuple[Any, ...]] = []
    before = torch.ops.stkit.gated

    class Seen(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is before.default:
                calls.append(args)
            return function(*args, **(kwargs or {}))

    with Seen():
        ours(*given_)
    (arguments,) = calls
    fresh = tuple(x.detach().clone().requires_grad_() if isinstance(x, Tensor) else x for x in arguments)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(before.default, fresh, test_utils=checks)


@each
def test_what_is_traced_is_plain_arithmetic_and_the_same(name: str) -> None:
    ours, _, count = PAIRS[name]
    given_ = tuple(x.detach() for x in gates(count, (2, 2, 2, 3), seed=0, last=True))

    class Traced(torch.nn.Module):
        def forward(self, *xs: Tensor) -> Tensor:
            return ours(*xs)

    exported = torch.export.export(Traced(), given_)
    called = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert called
    assert all(target.startswith("aten.") for target in called)
    torch.testing.assert_close(exported.module()(*given_), ours(*given_), rtol=1e-14, atol=1e-14)


@each
def test_half_precision_is_computed_in_float32_and_a_float32_memory_stays_so(name: str) -> None:
    ours, equation, count = PAIRS[name]
    given_ = gates(count, (2, 3, 4, 5), seed=1, last=False, dtype=torch.bfloat16)
    made = ours(*given_)
    assert made.dtype == torch.bfloat16
    exact = equation(*(x.float() for x in given_))
    if name not in ("output of two parts",):  # the sum of the parts is rounded
        assert torch.equal(made, exact.to(torch.bfloat16))
    mixed = [x.detach().float().requires_grad_() if place == 1 else x for place, x in enumerate(given_)]
    made = ours(*mixed)
    assert made.dtype == torch.float32
    slopes = torch.autograd.grad(made.sum(), mixed)
    assert [slope.dtype for slope in slopes] == [x.dtype for x in mixed]


def test_only_pre_activations_are_kept_for_the_way_back() -> None:
    given_ = gates(4, (2, 3, 4, 5), seed=0, last=False)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        made = gated.memory(*given_)
    assert {x.data_ptr() for x in kept} == {x.data_ptr() for x in given_}
    made.sum().backward()


def test_a_memory_that_is_only_added_to_is_not_kept() -> None:
    past, i, g = gates(3, (2, 3, 4, 5), seed=0, last=False)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        made = gated.added(past, i, g)
    assert {x.data_ptr() for x in kept} == {i.data_ptr(), g.data_ptr()}
    slope = torch.randn_like(made)
    made.backward(slope)
    assert past.grad is not None
    assert past.grad.equal(slope)


def test_what_is_small_is_computed_by_torch_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gated, "SMALL", 1000)
    small, large = (gated.memory(*gates(4, (2, 3, side, side), seed=0, last=False)) for side in (4, 16))
    assert small.grad_fn is not None
    assert large.grad_fn is not None
    assert "Gated" not in small.grad_fn.name()
    assert "gated" in large.grad_fn.name().lower()


def test_shapes_that_differ_are_told() -> None:
    i, g = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 5)
    with pytest.raises(ValueError, match=r"of one shape are expected, received \(2, 3, 4, 4\), \(2, 3, 4, 5\)"):
        gated.increment(i, g)


@pytest.fixture(scope="module")
def kernels() -> Iterator[ModuleType]:
    """The GPU's kernels, run by Triton's interpreter."""
    triton = pytest.importorskip("triton", reason="Triton comes with torch for GPUs")
    # Loaded beside the hook that checks annotations in tests: the interpreter reads a function's source.
    loader = SourceFileLoader("interpreted", str(Path(gated.__file__).with_name("gated_triton.py")))
    place = spec_from_loader(loader.name, loader)
    assert place is not None
    module = module_from_spec(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton.knobs.runtime, "interpret", True)
        patch.setitem(sys.modules, loader.name, module)
        loader.exec_module(module)
        yield module


ID, SIG, TANH, DOUBLE, COMPLEMENT = (
    squash.IDENTITY,
    squash.SIGMOID,
    squash.TANH,
    squash.DOUBLE,
    squash.COMPLEMENT,
)


@pytest.mark.parametrize(
    ("functions", "more"),
    [
        ((SIG, TANH, 0, 0), False),
        ((SIG, TANH, ID, 0), False),
        ((SIG, ID, SIG, TANH), False),
        ((SIG, TANH, COMPLEMENT, ID), False),
        ((DOUBLE, TANH, 0, 0), True),
        ((TANH, TANH, 0, 0), True),
    ],
)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernels_compute_the_same(
    kernels: ModuleType, functions: tuple[int, ...], more: bool, last: bool, dtype: torch.dtype
) -> None:
    parts = [x.detach() for x in gates(3, (2, 5, 3, 3), seed=2, last=last, dtype=dtype)]
    a, b = parts[:2]
    c = parts[2] if functions[2] else None
    d, second, gradient = (x.detach().float() for x in gates(3, (2, 5, 3, 3), seed=3, last=False))
    given_ = (a, b, c, d if functions[3] else None)
    whole = (a.float() + second, *given_[1:]) if more else given_
    made = kernels.value(*given_, second if more else None, functions, 0.7)
    expected = squash.value(*whole, functions, 0.7)
    close = {"rtol": 1e-2, "atol": 1e-2} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(made.float(), expected.float(), **close)
    slopes = kernels.gradients(gradient, *given_, second if more else None, functions, 0.7)
    for ours, theirs, of in zip(slopes, squash.gradients(gradient, *whole, functions, 0.7), given_, strict=True):
        torch.testing.assert_close(ours.float(), theirs.float(), **close)
        assert not ours.numel() or (of is not None and ours.dtype == of.dtype)


@each
@pytest.mark.parametrize("last", [False, True])
def test_kernels_compute_every_formula(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, last: bool
) -> None:
    """What a GPU would call, against the equation and its gradient in float64: no formula is written for one device."""
    ours, equation, count = PAIRS[name]
    monkeypatch.setattr(gated, "_compiled", lambda *_: kernels)
    given_ = gates(count, (2, 5, 3, 3), seed=4, last=last, dtype=torch.float32)
    exact = [x.detach().double().requires_grad_() for x in given_]
    made, expected = ours(*given_), equation(*exact)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0), dtype=F64)
    slopes = torch.autograd.grad((made * weights.float()).sum(), given_)
    for found, known in zip(
        (made, *slopes), (expected, *torch.autograd.grad((expected * weights).sum(), exact)), strict=True
    ):
        torch.testing.assert_close(found.double(), known, rtol=1e-5, atol=2e-6)


def test_every_formula_has_its_equation_here() -> None:
    """A formula that is added to the module is held to an equation, on both devices."""
    parts = vars(gated).items()
    functions = {n: part for n, part in parts if isinstance(part, FunctionType) and part.__module__ == gated.__name__}
    formulas = {name for name, part in functions.items() if part.__annotations__.get("return") in ("Tensor", Tensor)}
    assert {name for name in formulas if not name.startswith("_")} == {
        word for name in PAIRS for word in name.split() if word in functions
    }


def test_tanh_keeps_its_digits_near_zero_in_the_kernels(kernels: ModuleType) -> None:
    x = torch.linspace(-3, 3, 4001).reshape(1, 1, -1, 1)
    made = kernels.value(torch.full_like(x, 50.0), x, None, None, None, (SIG, TANH, 0, 0), 0.0)
    torch.testing.assert_close(made.double(), x.double().tanh(), rtol=3e-7, atol=1e-30)
