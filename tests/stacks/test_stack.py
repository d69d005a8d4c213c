"""The stack: a signal rises, states stay, registers return; what does not fit is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stkit_convlstm.cell import ConvLSTM
from stkit_predrnn.cell import STLSTM

from stkit.api import CarryPort
from stkit.stacks import Stack, StackState
from stkit.testing.strategies import grids, seeds, tensor

from .nodes import Differencing, Highway, Recalling, Window, Zigzag

F64 = torch.float64


def steps(stack: Stack, frames: torch.Tensor, state: StackState | None = None) -> list[StackState]:
    """The states after each frame ``B T C H W``."""
    batch, length, _, height, width = frames.shape
    state = stack.initial_state(batch, height, width, dtype=frames.dtype) if state is None else state
    out = []
    for t in range(length):
        state = stack.step(frames[:, t], state).state
        out.append(state)
    return out


def test_nodes_are_checked_against_those_below() -> None:
    with pytest.raises(ValueError, match="at least one node"):
        Stack([])
    with pytest.raises(ValueError, match="node 2 takes 3 channels, but node 1 hands up 4"):
        Stack([ConvLSTM(1, 4), ConvLSTM(3, 4)])


def test_fields_with_and_without_a_depth_do_not_mix() -> None:
    with pytest.raises(ValueError, match="node 2 takes B C H W, but node 1 hands up B C 2 H W"):
        Stack([Window(3, 2), ConvLSTM(3, 4)])
    with pytest.raises(ValueError, match="node 2 takes B C 3 H W, but node 1 hands up B C 2 H W"):
        Stack([Window(3, 2), Zigzag(3, 4, 4, depth=3)])


def test_a_register_keeps_its_depth() -> None:
    with pytest.raises(ValueError, match="'m' rises from node 1 as B C H W, but node 3 reads B C 2 H W"):
        Stack([Zigzag(3, 4, 4), Window(4, 2), Zigzag(4, 4, 4, depth=2)])
    deep = Stack([Window(3, 2), Zigzag(3, 4, 4, depth=2)])
    assert deep.initial_state(1, 5, 6).carry["m"].shape == (1, 4, 2, 5, 6)


def test_unequal_widths_of_st_lstm_are_refused() -> None:
    with pytest.raises(ValueError, match="'m' rises from node 1 with 4 channels, but node 2 reads 6"):
        Stack([STLSTM(1, 4), STLSTM(4, 6)])


def test_the_return_to_the_bottom_is_checked() -> None:
    with pytest.raises(
        ValueError, match="'m' returns from node 2 at the next step with 6 channels, but node 1 reads 4"
    ):
        Stack([Zigzag(1, 4, 4), Zigzag(4, 6, 4)])


def test_a_register_that_nobody_writes_is_refused() -> None:
    reader = ConvLSTM(1, 4)
    reader.carry_spec = {"q": CarryPort(reads=4, writes=0)}
    with pytest.raises(ValueError, match="node 1 reads the register 'q', which no node writes"):
        Stack([reader])


def test_the_first_reader_must_know_the_width() -> None:
    reader = ConvLSTM(1, 4)
    reader.carry_spec = {"q": CarryPort(reads=None, writes=4)}
    with pytest.raises(ValueError, match="node 1 reads the register 'q' first and must say how many channels"):
        Stack([reader])


def test_registers_pass_nodes_that_do_not_know_them() -> None:
    stack = Stack([STLSTM(1, 4, dtype=F64), ConvLSTM(4, 3, dtype=F64), Highway(3, 5), STLSTM(5, 4, dtype=F64)])
    assert stack.widths == (4, 3, 5, 4)
    states = steps(stack, tensor(0, 2, 3, 1, 4, 5, dtype=F64))
    assert list(states[-1].carry) == ["m"]


@given(seed=seeds(), grid=grids(2, 5), batch=st.integers(1, 2))
def test_keys_and_shapes_are_constant_over_time(seed: int, grid: tuple[int, int], batch: int) -> None:
    torch.manual_seed(seed)
    stack = Stack([STLSTM(2, 3, dtype=F64), Highway(3, 3), STLSTM(3, 3, dtype=F64)])
    first = stack.initial_state(batch, *grid, dtype=F64)
    for state in steps(stack, tensor(seed, batch, 3, 2, *grid, dtype=F64)):
        assert shapes(state) == shapes(first)


def test_initial_tensors_are_not_shared() -> None:
    state = Stack([STLSTM(2, 3), STLSTM(3, 3)]).initial_state(2, 4, 5)
    tensors = [value for part in (*state.nodes, state.carry) for value in part.values()]
    assert len({value.data_ptr() for value in tensors}) == len(tensors) == 5
    assert all(value.abs().max() == 0 for value in tensors)


def test_step_changes_nothing_that_it_was_given() -> None:
    torch.manual_seed(0)
    stack = Stack([STLSTM(2, 3, dtype=F64), STLSTM(3, 3, dtype=F64)])
    frames = tensor(0, 2, 2, 2, 4, 5, dtype=F64)
    state = steps(stack, frames)[0]
    before = [value.clone() for part in (*state.nodes, state.carry) for value in part.values()]
    once, again = stack.step(frames[:, 1], state), stack.step(frames[:, 1], state)
    assert torch.equal(once.y, again.y)
    after = [value for part in (*state.nodes, state.carry) for value in part.values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_every_node_hands_up_its_signal_and_its_by_products() -> None:
    stack = Stack([ConvLSTM(2, 3), STLSTM(3, 4)])
    out = stack.step(torch.randn(1, 2, 4, 4), stack.initial_state(1, 4, 4))
    assert [tuple(y.shape) for y in out.ys] == [(1, 3, 4, 4), (1, 4, 4, 4)]
    assert out.y is out.ys[-1]
    assert [set(part) for part in out.aux] == [set(), {"delta_c", "delta_m"}]


def test_unequal_widths_with_a_highway_between_layers() -> None:
    """The shape of PredRNN++: the register enters with the width of the layer below, at the bottom with the top's."""
    torch.manual_seed(0)
    stack = Stack([Zigzag(2, 6, 3), Highway(6, 6), Zigzag(6, 4, 6), Zigzag(4, 3, 4)])
    first = stack.initial_state(2, 4, 5, dtype=F64)
    assert first.carry["m"].shape == (2, 3, 4, 5)
    for state in steps(stack, tensor(0, 2, 3, 2, 4, 5, dtype=F64)):
        assert shapes(state) == shapes(first)


def test_a_register_that_lives_for_one_step_does_not_return() -> None:
    """The shape of MIM: ``d`` rises from the second layer on; the first layer that writes it must not receive it."""
    torch.manual_seed(0)
    stack = Stack(
        [
            Zigzag(2, 4, 4),
            Zigzag(4, 4, 4, transition=Differencing(4, 4, below=False)),
            Zigzag(4, 4, 4, transition=Differencing(4, 4, below=True)),
        ]
    )
    frames = tensor(0, 2, 3, 2, 4, 5, dtype=F64)
    first = stack.initial_state(2, 4, 5, dtype=F64)
    states = steps(stack, frames)
    assert list(first.carry) == ["m"]
    assert {"h", "c", "transition.x", "transition.started"} == set(first.nodes[1])
    assert all(shapes(state) == shapes(first) for state in states)
    assert states[0].nodes[1]["transition.started"].min() == 1


def test_depth_and_a_history() -> None:
    """The shape of E3D-LSTM: a window of frames is a node, cells work on ``B C D H W``, the history is a state."""
    torch.manual_seed(0)
    stack = Stack(
        [
            Window(2, 2),
            Zigzag(2, 3, 3, depth=2, transition=Recalling(3, 2, span=3)),
            Zigzag(3, 3, 3, depth=2, transition=Recalling(3, 2, span=3)),
        ]
    )
    first = stack.initial_state(2, 4, 5, dtype=F64)
    states = steps(stack, tensor(0, 2, 4, 2, 4, 5, dtype=F64))
    assert all(shapes(state) == shapes(first) for state in states)
    history, c = states[-1].nodes[1]["transition.history"], states[-1].nodes[1]["c"]
    assert torch.equal(history[:, :, -2:], c)


def shapes(state: StackState) -> list[dict[str, tuple[int, ...]]]:
    return [{name: tuple(value.shape) for name, value in part.items()} for part in (*state.nodes, state.carry)]
