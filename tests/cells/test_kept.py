"""What is kept for the backward pass, and what is not kept twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from stkit_e3d_lstm.recall import Recall
from torch import Tensor

from stkit.cells import DIRECT, GateBlock, Source, Winograd, elapsed, sequence, winograd
from stkit.cells.compiled.compiler import NoCompiler, library
from stkit.cells.compiled.kernels import Kernels
from stkit.cells.engine import summed_convolution
from stkit.cells.gates import pieces
from stkit.cells.transformed import Group
from stkit.testing.strategies import tensor

F64 = torch.float64
SOURCES = {"x": Source.of(4, "i r o i' g' f'"), "h": Source.of(5, "i r o"), "m": Source.of(5, "i' f' g' m'")}


def block() -> tuple[GateBlock, dict[str, Tensor]]:
    """Gates that two sources feed stand in the same order in ``x`` and ``h``, and in another one in ``m``."""
    torch.manual_seed(0)
    gates = GateBlock(5, SOURCES, kernel=(2, 5, 5), bias="source", dtype=F64)
    given = {
        name: tensor(n, 1, source.channels, 2, 6, 5, dtype=F64) for n, (name, source) in enumerate(SOURCES.items())
    }
    return gates, {name: field.requires_grad_() for name, field in given.items()}


def groups(engine: Winograd, gates: GateBlock) -> list[Group]:
    found: list[Group] = engine._own[gates][1]
    return found


@contextmanager
def short_of_memory(gates: GateBlock, engine: Winograd) -> Iterator[None]:
    """A piece of a sequence in which kernels are not kept transformed."""
    gates.engine = engine
    with sequence(gates):
        piece = pieces(gates, keep_weights=False)
        with piece(False):
            yield


def gradients(gates: GateBlock, given: dict[str, Tensor], engine: Winograd | None = None) -> list[Tensor]:
    gates.engine = DIRECT if engine is None else engine
    total = sum((n + 1) * value.square().sum() for n, value in enumerate(gates(**given).values()))
    return [*torch.autograd.grad(total, [*gates.parameters(), *given.values()])]


def test_kernels_are_read_where_they_lie_if_their_gates_stand_together() -> None:
    gates, given = block()
    engine = Winograd()
    gates.engine = engine
    with sequence(gates):
        gates(**given)
        shared = {
            (name, group.gates): part.untyped_storage().data_ptr() == gates.kernels[name].untyped_storage().data_ptr()
            for group in groups(engine, gates)
            for name, (part,) in group.parts.items()
        }
    fed, both, alone = ("i", "r", "o"), ("i'", "g'", "f'"), ("m'",)
    assert shared == {
        ("x", fed): True,
        ("h", fed): True,
        ("x", both): True,
        ("m", both): False,
        ("m", alone): True,
    }


@pytest.mark.parametrize("at_once", [1, 2**24])
def test_where_memory_is_short_few_kernels_are_transformed_at_a_time(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Gate by gate where those of one are too many, without a copy, and with the numbers of the direct convolution."""
    monkeypatch.setattr(winograd, "AT_ONCE", at_once)
    gates, given = block()
    expected = gradients(gates, given)
    engine = Winograd()
    with short_of_memory(gates, engine):
        found = gradients(gates, given, engine)
        made = groups(engine, gates)
        if at_once > 1:
            assert len(made) < len(gates.gates)
        else:
            assert [group.gates for group in made] == [(gate,) for gate in gates.gates]
            for group in made:
                for name, (part,) in group.parts.items():
                    whole = gates.kernels[name].untyped_storage()
                    assert part.untyped_storage().data_ptr() == whole.data_ptr()
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.skipif(isinstance(library(), NoCompiler), reason="nothing can be compiled here")
def test_kernels_that_are_not_kept_are_packed_in_memory_that_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "AT_ONCE", 1)
    gates, given = block()
    places: list[int] = []
    original = Kernels.pack

    def pack(self: Kernels, kernel: Tensor, gates: int, *, turned: bool, into: Tensor | None = None) -> Tensor:
        assert into is not None
        assert into.numel() == self.packed(kernel.shape, gates)
        places.append(into.untyped_storage().data_ptr())
        return original(self, kernel, gates, turned=turned, into=into)

    monkeypatch.setattr(Kernels, "pack", pack)
    engine = Winograd()
    with short_of_memory(gates, engine):
        first = gradients(gates, given, engine)
        used = len(places)
        second = gradients(gates, given, engine)
        assert [group._kept for group in groups(engine, gates)] == [None] * 7  # type: ignore[attr-defined]
    assert used > 7
    assert len(set(places[used:])) == 1  # there is room for the largest group by then
    for one, other in zip(first, second, strict=True):
        assert one.equal(other)


@pytest.mark.skipif(isinstance(library(), NoCompiler), reason="nothing can be compiled here")
def test_transformed_kernels_are_let_go_with_the_backward_pass() -> None:
    """A second pass over the same graph makes them anew."""
    gates, given = block()
    engine = Winograd()
    gates.engine = engine
    with sequence(gates):
        total = sum(value.square().sum() for value in gates(**given).values())
        made = groups(engine, gates)
        wanted = [*gates.parameters(), *given.values()]
        first = torch.autograd.grad(total, wanted, retain_graph=True)
        assert [group._kept for group in made] == [None] * len(made)  # type: ignore[attr-defined]
        second = torch.autograd.grad(total, wanted)
    for one, other in zip(first, second, strict=True):
        assert one.equal(other)


def test_a_kernel_of_one_cell_leaves_the_order_in_memory_as_it_is() -> None:
    last = tensor(0, 2, 3, 2, 4, 5, dtype=F64).contiguous(memory_format=torch.channels_last_3d)
    kernel, bias = tensor(1, 6, 3, 1, 1, 1, dtype=F64), tensor(2, 6, dtype=F64)
    for field, order in ((last, torch.channels_last_3d), (last.contiguous(), torch.contiguous_format)):
        found = summed_convolution([field], [kernel], bias)
        torch.testing.assert_close(found, F.conv3d(field, kernel, bias))
        assert found.is_contiguous(memory_format=order)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last_3d])
def test_a_memory_that_is_remembered_is_the_cells_own(order: torch.memory_format) -> None:
    recall = Recall(3, tau=2, depth=2)
    c = tensor(0, 2, 3, 2, 4, 5, dtype=F64).contiguous(memory_format=order)
    with elapsed.after(0):  # as in a stack
        kept = recall.commit(c, recall.initial_state(2, 4, 5, dtype=F64))["memory.1"]
    assert kept.equal(c.movedim(1, -1))
    assert kept.data_ptr() == c.data_ptr()
