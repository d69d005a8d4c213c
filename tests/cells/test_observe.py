"""What an observer sees is what the cells computed; without one, and with one, the numbers are the same."""

from __future__ import annotations

import pytest
import torch
from stkit_e3d_lstm.recall import Recall

import stkit
from stkit.cells import attend, attention_weights, mask_keys, observe
from stkit.modules.attention.self_attention import SelfAttention
from stkit.modules.attention.self_attention_memory import SelfAttentionMemory

torch.set_num_threads(1)

SMALL = {
    "convlstm": {"layers": [4, 4]},
    "predrnn": {"layers": [4, 4]},
    "predrnnpp": {"layers": [4, {"width": 4, "cell": {"name": "ghu"}}, 4]},
    "e3d_lstm": {"layers": [{"width": 1, "cell": {"name": "frame_window"}}, 4, 4]},
    "mim": {"layers": [4, 4, 4]},
    "mim_star": {"layers": [4, 4]},
}
MEMORIES = {
    "convlstm": {"C"},
    "predrnn": {"C", "M"},
    "predrnnpp": {"C", "M", "Z"},
    "e3d_lstm": {"M"},
    "mim": {"C", "M", "N", "S"},
    "mim_star": {"C", "M", "N", "S"},
}


class Everything(observe.Observer):
    def __init__(self):
        self.gates, self.made, self.seen, self.steps = [], [], [], []

    def gate(self, module, memory, kept):
        self.gates.append((module, memory, kept))

    def signals(self, module, read, made):
        self.made.append((module, read, made))

    def attention(self, module, attended):
        self.seen.append((module, attended))

    def step(self, stack, out):
        self.steps.append(out)


@pytest.mark.parametrize("name", SMALL)
def test_looking_changes_nothing_and_sees_every_forget_gate(name):
    torch.manual_seed(0)
    model = stkit.build(name, dtype=torch.float64, **SMALL[name])
    frames = torch.rand(2, 3, 1, 5, 6, dtype=torch.float64)
    names = list(model.state_dict())
    before = model(frames, 2)
    seen = Everything()
    with observe.watch(seen):
        during = model(frames, 2)
    again = model(frames, 2)
    assert torch.equal(before, during)
    assert torch.equal(before, again)
    assert list(model.state_dict()) == names
    assert {memory for _, memory, _ in seen.gates} == MEMORIES[name]
    assert all(bool(((kept >= 0) & (kept <= 1)).all()) for _, _, kept in seen.gates)
    assert len(seen.steps) == 4 + (name == "convlstm"), "3 + 2 steps of two stacks, 3 + 2 - 1 of one"


def test_nobody_looks_after_the_context_even_if_it_raises():
    seen = Everything()
    with pytest.raises(RuntimeError), observe.watch(seen):
        raise RuntimeError
    stkit.build("predrnn", layers=[2])(torch.rand(1, 2, 1, 4, 4), 1)
    assert not seen.steps


def test_a_gate_is_what_multiplies_the_memory():
    """With all inputs of a ConvLSTM switched off, C is what the gate leaves of it."""
    model = stkit.build("convlstm", layers=[3], dtype=torch.float64)
    cell = model.network.encoder.nodes[0]
    state = {name: torch.rand_like(value) for name, value in cell.initial_state(1, 4, 5, dtype=torch.float64).items()}
    seen = Everything()
    with observe.watch(seen), torch.no_grad():
        cell.gates.bias[cell.gates.gates.index("i")] = -1e9
        cell.w_ci.weight.zero_()
        after = cell.step(torch.rand(1, 1, 4, 5, dtype=torch.float64), state, {}).state["c"]
    ((_, memory, kept),) = seen.gates
    assert memory == "C"
    torch.testing.assert_close(kept * state["c"], after)


def test_mim_shows_the_difference_it_reads():
    model = stkit.build("mim", layers=[3, 3], dtype=torch.float64)
    seen = Everything()
    with observe.watch(seen):
        model(torch.rand(1, 4, 1, 5, 5, dtype=torch.float64), 1)
    below = [out.ys[0] for out in seen.steps]
    for t in range(1, 4):
        torch.testing.assert_close(seen.made[t][1], below[t] - below[t - 1])
    assert not seen.made[0][2].any(), "at the first step nothing has changed yet"


def test_weights_are_those_of_attend():
    torch.manual_seed(1)
    q, k, v = torch.rand(2, 5, 4), torch.rand(2, 7, 4), torch.rand(2, 7, 3)
    allowed = torch.rand(2, 7) > 0.4
    for seen in (None, allowed, torch.zeros_like(allowed)):
        torch.testing.assert_close(attention_weights(q, k, seen) @ v, attend(q, k, v, seen))
    each = torch.rand(2, 5, 7) > 0.5
    row = attention_weights(q, k, each)[1, 3]
    torch.testing.assert_close(row, attention_weights(q[1:, 3:4], k[1:], each[1:, 3])[0, 0])


@pytest.mark.parametrize("shape", [(4, 5), (2, 4, 5)], ids=["2-D", "3-D"])
def test_weights_of_self_attention_rebuild_what_it_found(shape):
    torch.manual_seed(2)
    module = SelfAttention(3, residual=False).double()
    valid = torch.ones(4, 5, dtype=torch.bool)
    valid[1, 2:4] = False
    mask_keys(module, valid)
    signal = torch.rand(2, 3, *shape, dtype=torch.float64)
    seen = Everything()
    with observe.watch(seen), torch.no_grad():
        found, _ = module(signal, {})
    ((_, attended),) = seen.seen
    weights = attended.weights(torch.arange(20))  # B K S H W
    torch.testing.assert_close(weights.sum(dim=(2, 3, 4)), torch.ones(2, 20, dtype=torch.float64))
    assert not weights[..., ~valid].any()
    if len(shape) == 2:
        values = module.out(module.value(signal.movedim(1, -1)))  # B H W C
        rebuilt = torch.einsum("bkhw,bhwc->bkc", weights[:, :, 0], values).unflatten(1, shape).movedim(-1, 1)
        torch.testing.assert_close(rebuilt, found)


def test_the_memory_module_shows_both_of_its_looks():
    module = SelfAttentionMemory(4)
    state = module.initial_state(1, 3, 4)
    seen = Everything()
    with observe.watch(seen):
        module(torch.rand(1, 4, 3, 4), state)
    assert [attended.sources for _, attended in seen.seen] == [("signal",), ("memory",)]
    at_memory = seen.seen[1][1].weights(torch.tensor([0, 7]))
    torch.testing.assert_close(at_memory, torch.full_like(at_memory, 1 / 12)), "all zeros look the same"
    assert {memory for _, memory, _ in seen.gates} == {"attention memory"}


@pytest.mark.parametrize("options", [{}, {"pool": 2}, {"region": 2}, {"start": True}, {"depth": 2}], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_recall_weights_rebuild_what_was_recalled(options, masked):
    torch.manual_seed(3)
    recall = Recall(3, tau=3, **options).double()
    height, width, depth = 4, 5, options.get("depth", 0)
    grid = (depth, height, width) if depth else (height, width)
    valid = torch.ones(height, width, dtype=torch.bool)
    if masked:
        valid[0, :2] = False
        valid[3, 4] = False
        mask_keys(recall, valid)
    state = recall.initial_state(2, height, width, dtype=torch.float64)
    past = [torch.rand(2, 3, *grid, dtype=torch.float64) for _ in range(2)]
    for memory in past:
        state = recall.commit(memory, state)
    gate = torch.randn(2, 3, *grid, dtype=torch.float64)
    c = past[-1]
    seen = Everything()
    with observe.watch(seen):
        kept, _, _ = recall(gate, c, None, state, {})
    ((_, attended),) = seen.seen
    assert attended.sources == ("t-3", "t-2", "t-1")
    weights = attended.weights(torch.arange(height * width))
    torch.testing.assert_close(weights.sum(dim=(2, 3, 4)), torch.ones(2, height * width, dtype=torch.float64))
    assert not weights[..., ~valid].any()
    if not options.get("start"):
        assert not weights[:, :, 0].any(), "there was no memory three steps ago"
    if not depth and "pool" not in options:
        memories = torch.stack([torch.zeros_like(c), *past], dim=1)  # B S C H W
        rebuilt = torch.einsum("bkshw,bschw->bkc", weights, memories).unflatten(1, grid).movedim(-1, 1)
        torch.testing.assert_close(rebuilt, kept - c)


def test_equal_memories_get_equal_weights():
    recall = Recall(3, tau=4)
    state = recall.initial_state(1, 3, 3)
    memory = torch.rand(1, 3, 3, 3)
    for _ in range(4):
        state = recall.commit(memory, state)
    seen = Everything()
    with observe.watch(seen):
        recall(torch.randn(1, 3, 3, 3), memory, None, state, {})
    by_age = seen.seen[0][1].weights(torch.arange(9)).sum(dim=(3, 4))
    torch.testing.assert_close(by_age, torch.full_like(by_age, 0.25))


def test_compiled_code_holds_nothing_of_it():
    """torch.export records the operations of a step: with the functions of this module they are none more."""
    cell = stkit.build("predrnn", layers=[2]).network.stack.nodes[0]

    class Step(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = cell

        def forward(self, x, h, c, m):
            return self.cell.step(x, {"h": h, "c": c}, {"m": m}).y

    field = torch.rand(1, 2, 4, 4)
    graph = torch.export.export(Step(), (torch.rand(1, 1, 4, 4), field, field, field)).graph
    called = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    assert called.count("aten.sigmoid.default") == 5
    assert all(name.startswith("aten.") or "getitem" in name for name in called)
