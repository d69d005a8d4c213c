"""Convolutions by oneDNN, gate by gate: values and gradients are those of torch's own convolutions."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from stkit.cells import Direct, GateBlock, Source, onednn, sequence
from stkit.cells.gates import pieces
from stkit.cells.gatewise import Gatewise, way_back
from stkit.cells.gatewise import block as block_of_gates
from stkit.cells.gatewise.plan import Gates
from stkit.testing.strategies import grids, seeds, tensor

from . import three_sources
from .three_sources import built

pytestmark = pytest.mark.skipif(not onednn.packs(), reason="this torch has no oneDNN")

STEPS = 5
WIDTH = 16
GRID = (5, 6)


@pytest.fixture(autouse=True)
def _narrow_gates_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_of_gates, "CHANNELS", WIDTH)


@pytest.fixture
def sums(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows ``B`` of each gradient of a kernel that is found. Two steps wait for each other."""
    monkeypatch.setattr(way_back, "CELLS", 2 * 2 * GRID[0] * GRID[1])
    found: list[int] = []
    original = onednn.kernel_gradient

    def counted(gradient: Tensor, field: Tensor, sizes: Sequence[int]) -> Tensor:
        found.append(gradient.shape[0])
        return original(gradient, field, sizes)

    monkeypatch.setattr(way_back, "kernel_gradient", counted)
    return found


def of_steps(seed: int = 0, batch: int = 2, grid: tuple[int, ...] = GRID, width: int = WIDTH) -> list[Tensor]:
    return [field.requires_grad_() for field in three_sources.of_steps(seed, grid, width, batch)]


def rolled(block: GateBlock, fields: Sequence[Tensor], *, steps: int = STEPS) -> Tensor:
    x, h, m, n = fields
    for _ in range(steps):
        gates = block(m=(m, n), x=x, h=h)  # in another order than the block has them
        h = torch.tanh(gates["f"] * gates["i"] + gates["q"] + gates["g"] + gates["o"])
    return h


def in_sequence(block: GateBlock, fields: Sequence[Tensor]) -> Tensor:
    with sequence(block):
        made = rolled(block, fields)
        known = list(block.engine._of_sequence.values())
    assert [type(own) for _, own in known] == [Gatewise]
    return made


def every(block: GateBlock, fields: Sequence[Tensor]) -> list[Tensor]:
    return [*block.parameters(), *fields]


def close(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * max(1.0, float(other.detach().abs().max())))


@settings(max_examples=40)
@given(
    seed=seeds(),
    batch=st.integers(1, 3),
    depth=st.integers(0, 3),
    grid=grids(2, 7),
    kernel=st.sampled_from([3, 5, 7]),
    slices=st.integers(1, 3),
    bias=st.sampled_from(["none", "source", "gate"]),
    last=st.booleans(),
)
def test_values_and_gradients_are_those_of_torchs_own_convolutions(
    seed: int, batch: int, depth: int, grid: tuple[int, int], kernel: int, slices: int, bias: str, last: bool
) -> None:
    block = built(bias=bias, kernel=(slices, kernel, kernel) if depth else kernel)
    fields = of_steps(seed, batch, (depth, *grid) if depth else grid)
    if last:
        layout = torch.channels_last_3d if depth else torch.channels_last
        fields = [field.detach().contiguous(memory_format=layout).requires_grad_() for field in fields]
    plain, ours = rolled(block, fields), in_sequence(block, fields)
    close([ours], [plain])
    expected = torch.autograd.grad(plain.sum(), every(block, fields))
    found = torch.autograd.grad(ours.sum(), every(block, fields))
    close(found, expected)
    assert all(one.is_contiguous() for one in found[: len(list(block.parameters()))])
    with torch.no_grad():
        assert torch.equal(in_sequence(block, fields), ours)  # a forecast's numbers are those of training


def test_gradients_are_no_less_exact_than_torchs_own() -> None:
    block, fields = built(width=64), of_steps(width=64)
    runs = []
    for run, dtype in ((rolled, torch.float64), (rolled, torch.float32), (in_sequence, torch.float32)):
        block = built(width=64).to(dtype)
        given = [field.detach().to(dtype).requires_grad_() for field in fields]
        runs.append([one.double() for one in torch.autograd.grad(run(block, given).sum(), every(block, given))])
    exact, plain, ours = runs
    for one, other, true in zip(ours, plain, exact, strict=True):
        assert (one - true).abs().max() <= 3 * (other - true).abs().max() + 1e-7 * true.abs().max()


def test_no_more_steps_wait_than_are_found_at_once(sums: list[int]) -> None:
    block, fields = built(), of_steps()
    loss = in_sequence(block, fields).sum()
    assert not sums
    loss.backward()
    # Four gates of x, three of h, two of m, which is two tensors: 11 kernels, two steps at once, two, and one.
    assert sorted(sums) == [2] * 11 + [4] * 22


def test_a_kernel_is_brought_into_order_once_each_way(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = onednn.ordered
    for module in (block_of_gates, way_back):
        monkeypatch.setattr(module, "ordered", lambda *given: (made.append(given[0].shape), original(*given))[1])
    block, fields = built(), of_steps()
    loss = in_sequence(block, fields).sum()
    assert len(made) == 11
    loss.backward()
    assert len(made) == 22


def test_gates_that_nothing_asks_for_in_some_steps(sums: list[int]) -> None:
    def run(block: GateBlock, fields: Sequence[Tensor]) -> Tensor:
        x, h, *m = fields
        for used in ("f", "i", "f", "q"):  # and never o
            h = torch.tanh(h + block(x=x, h=h, m=tuple(m))[used])
        return h

    block, fields = built(), of_steps()
    expected = torch.autograd.grad(run(block, fields).sum(), every(block, fields))
    with sequence(block):
        loss = run(block, fields).sum()
    close(torch.autograd.grad(loss, every(block, fields)), expected)
    assert sums


@pytest.mark.parametrize("depth", [0, 2])
def test_gradients_of_gradients(depth: int) -> None:
    found = []
    block = built(kernel=(2, 3, 3) if depth else 3)
    fields = of_steps(grid=(depth, *GRID) if depth else GRID)
    fields[0] = fields[0].detach()  # one that wants none
    for run in (rolled, in_sequence):
        of = every(block, fields[1:])
        slopes = torch.autograd.grad(run(block, fields).sum(), of, create_graph=True)
        total = torch.stack([slope.square().sum() for slope in slopes]).sum()
        found.append([*slopes, *torch.autograd.grad(total, of)])
    close(found[1], found[0])


def test_a_tensor_that_two_sources_read_has_the_gradients_of_both() -> None:
    torch.manual_seed(0)
    sources = {"x": Source.of(WIDTH, "i f"), "h": Source.of(2 * WIDTH, "f o")}
    block, field = GateBlock(WIDTH, sources, kernel=3, bias="source"), tensor(0, 2, WIDTH, *GRID).requires_grad_()
    block.engine = Direct()
    for create_graph in (False, True):
        plain = torch.stack(list(block(x=field, h=(field, field)).values())).square().sum()
        with sequence(block):
            ours = torch.stack(list(block(x=field, h=(field, field)).values())).square().sum()
        of = [field, *block.parameters()]
        close(torch.autograd.grad(ours, of, create_graph=create_graph), torch.autograd.grad(plain, of))


def test_two_passes_over_one_graph_and_one_of_fields_alone() -> None:
    block, fields = built(), of_steps()
    loss = in_sequence(block, fields).sum()
    first = torch.autograd.grad(loss, every(block, fields), retain_graph=True)
    close(torch.autograd.grad(loss, fields, retain_graph=True), first[-4:])
    close(torch.autograd.grad(loss, every(block, fields)), first)


def test_what_is_frozen_has_no_gradient() -> None:
    block, fields = built(), of_steps()
    block.kernels["h"].requires_grad_(False)
    fields[2] = fields[2].detach()
    expected = torch.autograd.grad(rolled(block, fields).sum(), block.kernels["x"])
    in_sequence(block, fields).sum().backward()
    assert block.kernels["h"].grad is None
    assert fields[2].grad is None
    close([block.kernels["x"].grad], expected)
    for own in block.parameters():
        own.requires_grad_(False)
    expected = torch.autograd.grad(rolled(block, fields).sum(), fields[1])
    close(torch.autograd.grad(in_sequence(block, fields).sum(), fields[1]), expected)


def test_a_kernel_that_is_changed_before_its_gradient_is_refused() -> None:
    block, fields = built(), of_steps()
    loss = in_sequence(block, fields).sum()
    with torch.no_grad():
        block.kernels["h"].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_kernel_that_is_changed_in_a_sequence_is_brought_into_order_again() -> None:
    block, fields = built(), of_steps()
    with torch.no_grad(), sequence(block):
        rolled(block, fields)
        block.kernels["h"].mul_(2)
        found = rolled(block, fields)
    close([found], [rolled(block, fields)])


def test_truncated_back_propagation() -> None:
    def run(block: GateBlock, fields: Sequence[Tensor]) -> Tensor:
        h = rolled(block, fields)
        return rolled(block, [fields[0], h.detach(), *fields[2:]])

    block, fields = built(), of_steps()
    expected = torch.autograd.grad(run(block, fields).sum(), list(block.parameters()))
    with sequence(block):
        loss = run(block, fields).sum()
    close(torch.autograd.grad(loss, list(block.parameters())), expected)


def test_fields_of_two_sizes_in_one_sequence() -> None:
    block, small, large = built(), of_steps(), of_steps(9, 3, (7, 4))
    expected = torch.autograd.grad((rolled(block, small).sum() + rolled(block, large).sum()), list(block.parameters()))
    with sequence(block):
        loss = rolled(block, small).sum() + rolled(block, large).sum()
    close(torch.autograd.grad(loss, list(block.parameters())), expected)


def test_pieces_that_are_computed_again_are_convolved_by_torch(sums: list[int]) -> None:
    block, fields = built(), of_steps()
    with sequence(block):
        piece = pieces(block)

        def again(*given: Tensor) -> Tensor:
            with piece(not torch.is_grad_enabled()):
                return rolled(block, given, steps=2)

        loss = checkpoint(again, *fields, use_reentrant=False).sum()
    found = torch.autograd.grad(loss, every(block, fields))
    assert not sums
    close(found, torch.autograd.grad(rolled(block, fields, steps=2).sum(), every(block, fields)))


@pytest.mark.parametrize("case", ["narrow", "norms", "one cell", "float64"])
def test_what_does_not_pay_is_convolved_by_torch(case: str) -> None:
    block = {
        "narrow": lambda: built(width=WIDTH - 2),
        "norms": lambda: built(norm=True),
        "one cell": lambda: built(kernel=1),
        "float64": lambda: built().double(),
    }[case]()
    fields = [field.to(next(block.parameters()).dtype) for field in of_steps(width=block.width)]
    with sequence(block):
        rolled(block, fields)
        assert [own for _, own in block.engine._of_sequence.values()] == [None]


def test_nothing_stays_of_a_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[way_back.WayBack]] = []
    original = way_back.WayBack.__init__

    def init(self: way_back.WayBack, gates: Gates) -> None:
        made.append(weakref.ref(self))
        original(self, gates)

    monkeypatch.setattr(way_back.WayBack, "__init__", init)
    block, fields = built(), of_steps()
    gc.disable()
    try:
        loss = in_sequence(block, fields).sum()
        assert [one() is not None for one in made] == [True]
        loss.backward()
        del loss
        assert not block.engine._of_sequence
        assert [one() for one in made] == [None]
    finally:
        gc.enable()
