"""RECALL by itself: what is seen, what is not, and at what cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stkit_e3d_lstm.recall import Recall
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import stkit
from stkit.cells import elapsed
from stkit.cells.attend import mask_keys
from stkit.stacks import StackState

F64 = torch.float64


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def after(recall: Recall, memories: list[Tensor]) -> dict[str, Tensor]:
    """The state after these memories, ``B C *grid`` each."""
    batch, height, width = memories[0].shape[0], *memories[0].shape[-2:]
    state = recall.initial_state(batch, height, width, dtype=torch.float64)
    for memory in memories:
        state = recall.commit(memory, state)
    return state


def recalled(recall: Recall, gate: Tensor, memories: list[Tensor]) -> Tensor:
    """What is added to ``C'``, with the memories given from the oldest to the newest."""
    kept, _, _ = recall(gate, torch.zeros_like(gate), None, after(recall, memories), {})
    return kept


def by_the_sum(gate: Tensor, memories: list[Tensor]) -> Tensor:
    queries = gate.sigmoid().flatten(2).transpose(1, 2)
    keys = torch.cat([memory.flatten(2) for memory in memories], dim=2).transpose(1, 2)
    return ((queries @ keys.mT).softmax(-1) @ keys).mT.reshape(gate.shape)


@pytest.mark.parametrize("grid", [(5, 4), (2, 5, 4)])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_newest_memories_are_attended_to(grid: tuple[int, ...], count: int) -> None:
    """Those that are not there yet are not, and those before ``tau`` are not any more."""
    recall = Recall(6, tau=3, depth=grid[0] if len(grid) == 3 else 0)
    gate = numbers(0, 2, 6, *grid)
    memories = [numbers(1 + n, 2, 6, *grid) for n in range(count)]
    torch.testing.assert_close(recalled(recall, gate, memories), by_the_sum(gate, memories[-3:]))


def test_before_the_first_memory_nothing_is_recalled() -> None:
    gate = numbers(0, 2, 6, 5, 4)
    assert not recalled(Recall(6, tau=3), gate, [numbers(1, 2, 6, 5, 4)][:0] or [gate * 0]).any()
    recall = Recall(6, tau=3)
    state = recall.initial_state(2, 5, 4, dtype=torch.float64)
    c = numbers(3, 2, 6, 5, 4)
    kept, _, _ = recall(gate, c, None, state, {})
    assert kept.equal(c)


def test_the_zeros_before_the_start_count_where_asked_for() -> None:
    gate, memory = numbers(0, 2, 6, 5, 4), numbers(1, 2, 6, 5, 4)
    with_start = recalled(Recall(6, tau=3, start=True), gate, [memory])
    torch.testing.assert_close(with_start, by_the_sum(gate, [torch.zeros_like(memory), memory]))
    assert not torch.allclose(with_start, by_the_sum(gate, [memory]))


def test_cells_are_not_scrambled() -> None:
    """Attention knows no order of cells: permuted queries and permuted memories give permuted results."""
    recall, order = Recall(6, tau=2), torch.randperm(20, generator=torch.Generator().manual_seed(0))

    def permuted(field: Tensor) -> Tensor:
        return field.flatten(2)[:, :, order].reshape(field.shape)

    gate, memories = numbers(0, 1, 6, 5, 4), [numbers(1 + n, 1, 6, 5, 4) for n in range(2)]
    plain = recalled(recall, gate, memories)
    torch.testing.assert_close(recalled(recall, permuted(gate), memories), permuted(plain))
    torch.testing.assert_close(recalled(recall, gate, [permuted(memory) for memory in memories]), plain)


def test_a_query_finds_the_memory_it_looks_like() -> None:
    """Scores are products over channels: a sharp gate finds the cell whose channel is the largest, wherever it is."""
    memory = torch.zeros(1, 3, 4, 5, dtype=torch.float64)
    memory[0, 1, 3, 2] = 50
    gate = torch.full((1, 3, 4, 5), -40.0, dtype=torch.float64)
    gate[0, 1, 0, 4] = 40
    found = recalled(Recall(3, tau=1), gate, [memory])
    assert found[0, 1, 0, 4] == pytest.approx(50)
    assert found[0, 1, 0, 0] == pytest.approx(50 / 20)


@pytest.mark.parametrize("grid", [(6, 4), (5, 7), (2, 5, 7)])
def test_regions_are_attended_to_by_themselves(grid: tuple[int, ...]) -> None:
    recall = Recall(3, tau=2, depth=grid[0] if len(grid) == 3 else 0, region=3)
    gate, memories = numbers(0, 2, 3, *grid), [numbers(1 + n, 2, 3, *grid) for n in range(2)]
    found = recalled(recall, gate, memories)
    for top in range(0, grid[-2], 3):
        for left in range(0, grid[-1], 3):
            place = (..., slice(top, top + 3), slice(left, left + 3))
            expected = by_the_sum(gate[place].contiguous(), [memory[place].contiguous() for memory in memories])
            torch.testing.assert_close(found[place], expected)


def test_pooled_memories_are_means_of_what_is_there() -> None:
    recall = Recall(1, tau=1, pool=2)
    memory = torch.arange(15.0, dtype=torch.float64).reshape(1, 1, 3, 5)
    state = after(recall, [memory])
    kept = state["memory.1"].flatten().tolist()
    assert kept == [3, 5, 6.5, 10.5, 12.5, 14]


def test_land_is_not_attended_to() -> None:
    """With every form of attention: whatever stands on land changes nothing at sea."""
    valid = torch.ones(5, 7, dtype=torch.bool)
    valid[1:4, 2:] = False
    valid[:3, :3] = False
    gate, memories = numbers(0, 2, 3, 5, 7), [numbers(1 + n, 2, 3, 5, 7) for n in range(2)]
    other = [torch.where(valid, memory, 1e3 * memory) for memory in memories]
    forms: list[dict[str, Any]] = [{}, {"pool": 2}, {"region": 3}]
    for form in forms:
        recall = Recall(3, tau=2, **form)
        mask_keys(recall, valid)
        found = recalled(recall, gate, memories)
        torch.testing.assert_close(recalled(recall, gate, other), found)
        assert found.isfinite().all()
        mask_keys(recall, None)
        assert not torch.allclose(recalled(recall, gate, memories), found)
    recall = Recall(3, tau=2)
    mask_keys(recall, valid)
    sea = gate[..., valid][:, :, None], [memory[..., valid][:, :, None] for memory in memories]
    found = recalled(recall, gate, memories)[..., valid]
    torch.testing.assert_close(found[:, :, None], by_the_sum(*sea))


def test_a_mask_of_another_grid_is_told() -> None:
    recall = Recall(3, tau=2)
    mask_keys(recall, torch.ones(4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="mask belongs to a grid of 4 x 4, received 5 x 7"):
        recalled(recall, numbers(0, 1, 3, 5, 7), [numbers(1, 1, 3, 5, 7)])
    with pytest.raises(ValueError, match="a mask is bool"):
        mask_keys(recall, torch.ones(4, 4))


@pytest.mark.parametrize(("values", "says"), [({"tau": 0}, "at least 1 memory"), ({"pool": 2, "region": 2}, "exclude")])
def test_what_makes_no_sense_is_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Recall(3, **values)


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for value in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(value, Tensor):
                self.elements = max(self.elements, value.untyped_storage().nbytes() // value.element_size())
        return made


@pytest.mark.parametrize("form", [{}, {"pool": 2}, {"region": 8}])
def test_the_matrix_of_scores_is_never_held(form: dict[str, Any]) -> None:
    """Forward and backward, with a mask: what is made is a small part of it (fused attention has a fixed workspace)."""
    recall, side, tau = Recall(4, tau=3, **form), 64, 3
    mask_keys(recall, torch.rand(side, side) > 0.3)
    gate = torch.randn(1, 4, side, side, requires_grad=True)
    c = torch.randn(1, 4, side, side, requires_grad=True)
    state = recall.initial_state(1, side, side)
    with Largest() as largest:
        for _ in range(tau):
            kept, state, _ = recall(gate, c, None, state, {})
            state = recall.commit(kept, state)
        kept.square().sum().backward()
    assert largest.elements < (side * side) * (tau * side * side) / 20


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", [{}, {"pool": 2}, {"region": 4}])
def test_memory_is_linear_in_the_cells_and_in_the_memories(options: dict[str, int], masked: bool) -> None:
    """Of a step and its gradient: four times the cells take four times as much, not sixteen; no matrix of scores."""
    from stkit.train.held import watch

    def peak(side: int, tau: int) -> int:
        recall = Recall(8, tau=tau, **options)
        if masked:
            valid = torch.ones(side, side, dtype=torch.bool)
            valid[:2] = False
            mask_keys(recall, valid)
        state = recall.initial_state(1, side, side)
        state["taken"] += tau
        gate, c = (torch.rand(1, 8, side, side, requires_grad=True) for _ in range(2))
        with watch(torch.device("cpu")) as held:
            kept, _, _ = recall(gate, c, None, state, {})
            kept.square().sum().backward()
        return held.most

    small, large, longer = peak(32, 4), peak(64, 4), peak(32, 8)
    assert large <= 4.6 * small
    assert longer <= 2.3 * small
    whole_matrix = 4 * (64 * 64) * (4 * 64 * 64)
    assert large < whole_matrix / 8


class Looks(TorchDispatchMode):
    """Counts the keys of each attention."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "flash_attention" in str(func):
            self.keys.append(args[1].shape[2])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("start", [False, True])
def test_a_stack_attends_to_the_memories_that_are_there(start: bool) -> None:
    """And the numbers are those of a cell by itself, which masks the others; also going on from a saved state."""
    recall = {"name": "recall", "tau": 3, "start": start, "norm": None}
    forecaster = stkit.build("convlstm", layers=[4], transition=recall, patch=1, rollout="next_frame", dtype=F64)
    stack = forecaster.network.stack
    cell, state = stack.nodes[0], stack.initial_state(1, 4, 5, dtype=F64)
    own = state.nodes[0]
    with Looks() as looks:
        for t in range(6):
            x = numbers(t, 1, 1, 4, 5)
            if t == 3:
                state = StackState(*(tuple(map(dict, state.nodes)), dict(state.carry), state.steps))
            state = stack.step(x, state).state
            seen, looks.keys = looks.keys, []
            own = cell.step(x, own, {}).state
            assert looks.keys == [3 * 20]
            there = min(t + start, 3)
            assert seen == ([20 * there] if there else [])
            looks.keys = []
            for name, value in own.items():
                torch.testing.assert_close(state.nodes[0][name], value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("level", ["none", "layer", "step", "everything"])
@pytest.mark.parametrize("truncate", [None, 2])
def test_memories_that_are_there_again_in_the_backward_pass(level: Any, truncate: int | None) -> None:
    """What is computed a second time looks at as many memories as before: gradients are those of masking all."""
    recall = {"name": "recall", "tau": 3, "norm": None}
    forecaster = stkit.build("predrnn", layers=[3, 3], transition=recall, patch=1, cell={"kernel": 3}, dtype=F64)
    frames = numbers(0, 2, 6, 1, 4, 4)

    def gradients(**options: Any) -> list[Tensor]:
        forecaster.zero_grad()
        forecaster.rollout(frames, 3, truncate=truncate, **options).predictions.square().sum().backward()
        return [p.grad.clone() for p in forecaster.parameters() if p.grad is not None]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elapsed, "steps", lambda: None)
        expected = gradients()
    for ours, theirs in zip(gradients(recompute=level), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=15)
@given(
    steps=st.integers(1, 6),
    tau=st.integers(1, 4),
    depth=st.integers(0, 3),
    grid=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    form=st.sampled_from([{}, {"pool": 2}, {"region": 2}, {"start": True}]),
    warm=st.integers(0, 3),
)
def test_counting_and_masking_give_the_same(
    steps: int, tau: int, depth: int, grid: tuple[int, int], form: dict[str, Any], warm: int
) -> None:
    """From the initial state, and going on from a state that has seen some memories."""
    recall = Recall(3, tau=tau, depth=depth, **form)
    size = (2, 3, *((depth,) if depth else ()), *grid)
    state = recall.initial_state(2, *grid, dtype=torch.float64)
    for t in range(warm):
        state = recall.commit(numbers(50 + t, *size), state)
    first, *gates = [numbers(t, *size).requires_grad_() for t in range(steps + 1)]

    def run(counted: bool) -> list[Tensor]:
        own, c, found = state, first, []
        for t, gate in enumerate(gates):
            with elapsed.after(warm + t if counted else None):
                c, own, _ = recall(gate, c, None, own, {})
                own = recall.commit(c, own)
            found.append(c)
        return [*found, *torch.autograd.grad(sum(c.sum() for c in found), [first, *gates], allow_unused=True)]

    for ours, theirs in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(torch.zeros_like(theirs) if ours is None else ours, theirs)
