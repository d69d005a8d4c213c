"""Forecasts with kernels in oneDNN's order: the numbers are those of torch's own convolutions, to the bit."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from stkit.cells import Auto, Direct, Engine, Fused, GateBlock, Source, Winograd, onednn, sequence
from stkit.cells import engine as engines
from stkit.cells.gates import pieces
from stkit.testing.strategies import grids, seeds, tensor

from .three_sources import built, of_steps

pytestmark = pytest.mark.skipif(not onednn.packs(), reason="this torch has no oneDNN")

STEPS = 6


def rolled(block: GateBlock, fields: list[Tensor], *, inside: bool = True) -> Tensor:
    x, h, m, n = fields
    with sequence(block) if inside else nullcontext():
        for _ in range(STEPS):
            gates = block(m=(m, n), x=x, h=h)  # in another order than the block has them
            h = torch.tanh(gates["f"] * gates["i"] + gates["q"])
    return h


class Packings:
    """Counts kernels that are packed and calls with them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = self.called = 0
        make, call = onednn.Packed.__init__, onednn.Packed.__call__

        def made(packed: onednn.Packed, *given: Tensor) -> None:
            self.made += 1
            make(packed, *given)

        def called(packed: onednn.Packed, field: Tensor) -> Tensor:
            self.called += 1
            return call(packed, field)

        monkeypatch.setattr(onednn.Packed, "__init__", made)
        monkeypatch.setattr(onednn.Packed, "__call__", called)


@settings(max_examples=20)
@given(
    seed=seeds(),
    grid=grids(2, 7),
    kernel=st.sampled_from([1, 2, 3, 5]),
    norm=st.booleans(),
    bias=st.sampled_from(["none", "source", "gate"]),
    last=st.booleans(),
)
def test_a_forecast_has_the_bits_of_torchs_own_convolutions(
    seed: int, grid: tuple[int, int], kernel: int, norm: bool, bias: str, last: bool
) -> None:
    block, fields = built(seed, kernel=kernel, norm=norm, bias=bias), of_steps(seed, grid)
    if last:
        fields = [field.contiguous(memory_format=torch.channels_last) for field in fields]
    with torch.no_grad():
        plain, ours = rolled(block, fields, inside=False), rolled(block, fields)
    assert torch.equal(plain, ours)
    assert plain.stride() == ours.stride()
    with torch.inference_mode():
        assert torch.equal(rolled(block, fields), plain)


def test_a_kernel_is_packed_once_a_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    block, fields, found = built(0), of_steps(0, (5, 6)), Packings(monkeypatch)
    with torch.no_grad():
        rolled(block, fields)
    assert (found.made, found.called) == (4, 4 * STEPS)  # three sources, of which one is two tensors
    assert not block.engine._of_sequence
    with torch.no_grad():
        rolled(block, fields, inside=False)
    assert found.made == 4


LEFT: dict[str, tuple[type[Engine], int, bool]] = {
    "too small to gain": (Auto, 3, False),
    "no transform": (Winograd, 7, False),
    "norms": (Fused, 3, True),
}
"""What each engine leaves to the direct convolution: the side of the kernels, and whether there are norms."""


def direct_of(engine: Engine) -> Direct:
    left = engine.processor if isinstance(engine, Auto) else engine
    assert isinstance(left, Winograd | Fused)
    return left.direct


@pytest.mark.parametrize("case", LEFT)
def test_what_is_left_to_direct_is_packed_once_a_forecast_too(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, kernel, norm = LEFT[case]
    block, fields = built(0, kernel=kernel, norm=norm), of_steps(0, (5, 6))
    with torch.no_grad():
        directly, found = rolled(block, fields), Packings(monkeypatch)
        block.engine = kind()
        assert torch.equal(rolled(block, fields), directly)
        assert (found.made, found.called) == (4, 4 * STEPS)
        assert not direct_of(block.engine)._of_sequence
        with sequence(block):  # as what is computed again in a backward pass
            piece = pieces(block)
            with piece(False):
                assert torch.equal(rolled(block, fields, inside=False), directly)
    assert found.made == 4


@pytest.mark.parametrize("gradients", [False, True])
def test_kernels_of_one_cell_are_cut_once_a_sequence(gradients: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    block, fields, cut, cuts = built(0, kernel=1), of_steps(0, (5, 6)), engines._cut, Counter[int]()
    expected = rolled(block, fields)

    def counted(kernel: Tensor, channels: tuple[int, ...]) -> tuple[Tensor, ...]:
        cuts[len(channels)] += 1
        return cut(kernel, channels)

    monkeypatch.setattr(engines, "_cut", counted)
    block.engine = Auto()
    with torch.set_grad_enabled(gradients):
        assert torch.equal(rolled(block, fields), expected)
    assert cuts[2] == 1  # the one source of two tensors
    assert not direct_of(block.engine)._own


def test_nothing_is_packed_where_gradients_may_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    block, fields, found = built(0), of_steps(0, (5, 6)), Packings(monkeypatch)
    rolled(block, fields).sum().backward()
    with torch.no_grad(), sequence(block):  # as what is computed again in the backward pass
        piece = pieces(block)
        with piece(False):
            rolled(block, fields, inside=False)
    assert found.made == 0


def test_a_kernel_or_field_that_changes_within_a_forecast_is_seen() -> None:
    block, fields = built(0), of_steps(0, (5, 6))
    with torch.no_grad(), sequence(block):
        before = rolled(block, fields, inside=False)
        block.kernels["h"].mul_(2)
        block.biases["x"].add_(1)
        after = rolled(block, fields)
        smaller = rolled(block, of_steps(0, (3, 4)))
    with torch.no_grad():
        assert not torch.equal(before, after)
        assert torch.equal(after, rolled(block, fields, inside=False))
        assert torch.equal(smaller, rolled(block, of_steps(0, (3, 4)), inside=False))


def test_kernels_made_for_inference_are_packed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Packings(monkeypatch)
    with torch.inference_mode():
        block, fields = built(0), of_steps(0, (5, 6))
        assert torch.equal(rolled(block, fields), rolled(block, fields, inside=False))
    assert found.made == 4


class Counted(TorchDispatchMode):
    """How often operators are called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls[str(func)] += 1
        return func(*args, **(kwargs or {}))


def test_who_counts_operators_sees_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    block, fields, found = built(0), of_steps(0, (5, 6)), Packings(monkeypatch)
    with torch.no_grad(), Counted() as counted:
        rolled(block, fields)
    assert counted.calls["aten.convolution.default"] == 4 * STEPS
    assert found.made == 0


def test_fake_tensors_are_convolved_by_torch() -> None:
    with FakeTensorMode(), torch.no_grad():
        block = built(0)
        with sequence(block):
            gates = block(x=torch.empty(2, 3, 5, 6), h=torch.empty(2, 16, 5, 6), m=torch.empty(2, 5, 5, 6))
    assert gates["q"].shape == (2, 16, 5, 6)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # torch's own, in jvp
@pytest.mark.parametrize("case", ["float64", "one cell", "even", "autocast", "vmap", "jvp", "none"])
def test_what_is_not_plainly_onednns_is_left_to_torch(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Packings(monkeypatch)
    dtype = torch.float64 if case == "float64" else torch.float32
    block = GateBlock(16, {"h": Source.of(16, "i")}, kernel={"one cell": 1, "even": 2}.get(case, 3), dtype=dtype)
    block.engine = Direct()
    h = tensor(0, 2, 16, 4, 4, dtype=dtype)

    def respond(h: Tensor) -> Tensor:
        return block(h=h)["i"]

    with ExitStack() as inside:
        inside.enter_context(torch.no_grad())
        inside.enter_context(sequence(block))
        if case == "autocast":
            inside.enter_context(torch.autocast("cpu", torch.bfloat16))
        if case == "vmap":
            made = torch.func.vmap(respond)(h[:, None])[:, 0]
        elif case == "jvp":
            made = torch.func.jvp(respond, (h,), (h,))[1]
        else:
            made = respond(h)
    assert (found.made > 0) == (case == "none")
    loose = 0.05 if case == "autocast" else 1e-5
    torch.testing.assert_close(made.to(dtype), respond(h), rtol=loose, atol=loose)
