"""Attachments on the places of a cell, and the self-attention that is attached to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from stkit_convlstm.cell import ConvLSTM
from stkit_convlstm.config import ConvLSTMConfig
from stkit_e3d_lstm.cell import E3DLSTM
from stkit_predrnn.cell import STLSTM
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from stkit.cells import Attached, Attachment, AttachmentSite, Cell, CellSite, attend, mask_keys, slices
from stkit.modules.attention.axial_attention import AxialAttention
from stkit.modules.attention.config import SelfAttentionConfig, SelfAttentionMemoryConfig
from stkit.modules.attention.look import Columns, Rows, Windows
from stkit.modules.attention.self_attention import SelfAttention
from stkit.modules.attention.self_attention_memory import SelfAttentionMemory, SeparableGates
from stkit.plugin.manager import plugins
from stkit.stacks import Stack
from stkit.testing.contract import CellContract
from stkit.testing.strategies import grids, seeds, tensor

from ..oracles import self_attention as oracle
from ..oracles.convolution import Array
from ..oracles.translate import array, last

CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-10}


def numbers(seed: int, *shape: int) -> Tensor:
    return tensor(seed, *shape, dtype=torch.float64)


def stirred(module: nn.Module, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def matrix(layer: Any) -> Array:
    """``Linear`` as I O."""
    return array(layer.weight).T


class TestSelfAttentionConvLstm(CellContract):
    """A cell with attachments meets the contract of a cell."""

    class target(Attached):
        @classmethod
        def from_config(cls, config: ConvLSTMConfig, site: CellSite) -> Cell:
            place = AttachmentSite(site.width, site.device, site.dtype)
            memory = SelfAttentionMemoryConfig(name="self_attention_memory")
            attention = SelfAttentionConfig(name="self_attention")
            return Attached(
                ConvLSTM.from_config(config, site),
                pre={"x": SelfAttention.from_config(attention, place._replace(channels=site.in_channels))},
                post={"h": SelfAttentionMemory.from_config(memory, place)},
            )

    config = ConvLSTMConfig(name="conv_lstm", kernel=3)


# ---------------------------------------------------------------------------------------- the papers' equations


@settings(max_examples=10)
@given(seed=seeds(), grid=grids(2, 5))
def test_self_attention(seed: int, grid: tuple[int, int]) -> None:
    ours = stirred(SelfAttention(4, 3, bias=True, dtype=torch.float64), seed)
    parts = {"q": ours.query, "k": ours.key, "v": ours.value, "f": ours.out}
    weights = {f"W{n}": matrix(layer) for n, layer in parts.items()}
    weights |= {f"b{n}": array(layer.bias) for n, layer in parts.items()}
    x = numbers(seed, 2, 4, *grid)
    np.testing.assert_allclose(last(ours(x, {})[0]), oracle.self_attention(weights, last(x)), **CLOSE)


@settings(max_examples=10)
@given(seed=seeds(), grid=grids(2, 5))
def test_self_attention_memory(seed: int, grid: tuple[int, int]) -> None:
    ours = stirred(SelfAttentionMemory(4, 3, kernel=2 + seed % 2, dtype=torch.float64), seed)
    assert isinstance(ours.gates, SeparableGates)
    weights = {
        "Wq": matrix(ours.query),
        "Wk": matrix(ours.key),
        "Wv": matrix(ours.value),
        "Wmk": matrix(ours.memory_key),
        "Wmv": matrix(ours.memory_value),
        "Wz": matrix(ours.fusion),
    }
    for n, gate in enumerate("igo"):
        weights[f"d{gate}"] = array(ours.gates.depthwise[n]).transpose(1, 2, 0)
        weights[f"W{gate}"] = array(ours.gates.pointwise[n]).T
        weights[f"b{gate}"] = array(ours.gates.bias[n])
    state = ours.initial_state(2, *grid, dtype=torch.float64)
    memory = last(state["memory"])
    for t in range(2):
        h = numbers(seed + t, 2, 4, *grid)
        got, state = ours(h, state)
        expected, memory = oracle.memory(weights, last(h), memory)
        np.testing.assert_allclose(last(got), expected, **CLOSE)
        np.testing.assert_allclose(last(state["memory"]), memory, **CLOSE)


def test_attention_works_on_fields_with_depth() -> None:
    ours = stirred(SelfAttention(4, dtype=torch.float64))
    x = numbers(0, 2, 4, 3, 2, 5)
    flat = ours(x.reshape(2, 4, 6, 5), {})[0]
    torch.testing.assert_close(ours(x, {})[0].reshape(2, 4, 6, 5), flat)


# ------------------------------------------------------------------------------------------------ attention


def test_cells_are_not_scrambled() -> None:
    """Self-attention knows no order of cells: permuted cells give permuted results."""
    ours, order = stirred(SelfAttention(4, dtype=torch.float64)), torch.randperm(20)
    x = numbers(0, 2, 4, 5, 4)
    permuted = x.flatten(2)[..., order].reshape(x.shape)
    expected = ours(x, {})[0].flatten(2)[..., order].reshape(x.shape)
    torch.testing.assert_close(ours(permuted, {})[0], expected)


@pytest.mark.parametrize("kind", [SelfAttention, SelfAttentionMemory])
def test_land_is_never_attended_to(kind: Any) -> None:
    """Whatever stands on land: nothing changes at sea (away from the reach of the gates' kernel)."""
    valid = torch.ones(5, 8, dtype=torch.bool)
    valid[2:, 5:] = False
    ours = stirred(kind(4, dtype=torch.float64))
    mask_keys(ours, valid)
    x = numbers(0, 1, 4, 5, 8)
    other = torch.where(valid, x, 100 * x)

    def run(signal: Tensor) -> Tensor:
        state = {name: numbers(1, *value.shape) for name, value in ours.initial_state(1, 5, 8).items()}
        result: Tensor = ours(signal, state)[0]
        return result[..., :4]

    torch.testing.assert_close(run(other), run(x))
    mask_keys(ours, None)
    assert not torch.allclose(run(other), run(x))


def test_where_all_is_land_nothing_is_found() -> None:
    tokens = numbers(0, 2, 6, 4)
    allowed = torch.zeros(2, 6, dtype=torch.bool)
    allowed[1, 2] = True
    tokens.requires_grad_()
    found = attend(tokens, tokens, tokens, allowed)
    assert not found[0].any()
    torch.testing.assert_close(found[1], tokens[1, 2].expand(6, 4))
    found.sum().backward()
    assert tokens.grad is not None
    assert tokens.grad.isfinite().all()


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for value in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(value, Tensor):
                self.elements = max(self.elements, value.untyped_storage().nbytes() // value.element_size())
        return made


def through_windows(channels: int) -> SelfAttention:
    return SelfAttention(channels, look=Windows(8, shift=3, heads=2, relative=True))


def along_both_axes(channels: int) -> AxialAttention:
    return AxialAttention(SelfAttention(channels, look=Rows()), SelfAttention(channels, look=Columns()))


@pytest.mark.parametrize("kind", [SelfAttention, SelfAttentionMemory, through_windows, along_both_axes])
@pytest.mark.parametrize("masked", [False, True])
def test_the_matrix_of_scores_is_never_held(kind: Any, masked: bool) -> None:
    ours, side = kind(4), 64
    mask_keys(ours, torch.rand(side, side) > 0.3 if masked else None)
    x = torch.randn(1, 4, side, side, requires_grad=True)
    with Largest() as largest:
        ours(x, ours.initial_state(1, side, side))[0].square().sum().backward()
    assert largest.elements < side**4 / 20


@pytest.mark.parametrize("kind", [SelfAttention, SelfAttentionMemory])
def test_no_parameter_is_dead(kind: Any) -> None:
    ours = stirred(kind(4, dtype=torch.float64))
    state = {name: numbers(1, *value.shape) for name, value in ours.initial_state(2, 4, 5).items()}
    signal, kept = ours(numbers(0, 2, 4, 4, 5), state)
    total = signal.square().sum() + sum(value.sum() for value in kept.values())
    gradients = torch.autograd.grad(total, list(ours.parameters()))
    assert min(float(gradient.abs().max()) for gradient in gradients) > 1e-9


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (SelfAttention, {"key_channels": 1}),
        (SelfAttention, {"residual": False}),
        (SelfAttention, {"bias": True}),
        (SelfAttentionMemory, {"key_channels": 1}),
        (SelfAttentionMemory, {"kernel": 1}),
        (SelfAttentionMemory, {"separable": False}),
        (SelfAttentionMemory, {"project_found": True}),
        (SelfAttentionMemory, {"wide_fusion": True}),
        (SelfAttentionMemory, {"bias": True}),
    ],
    ids=str,
)
def test_each_option_changes_the_result(kind: Any, options: dict[str, Any]) -> None:
    spec = plugins().resolve("modules", {SelfAttention: "self_attention"}.get(kind, "self_attention_memory"))
    site = AttachmentSite(4, dtype=torch.float64)
    x = numbers(0, 1, 4, 4, 5)

    def run(**values: Any) -> Tensor:
        module = spec.load_target().from_config(spec.load_config()(name=spec.name, **values), site)
        result: Tensor = stirred(module)(x, module.initial_state(1, 4, 5, dtype=torch.float64))[0]
        return result

    assert not torch.allclose(run(**options), run())


# ------------------------------------------------------------------------------------------------- Attached


class Times(Attachment):
    """Multiplies, and counts the signal up."""

    def __init__(self, channels: int, factor: float) -> None:
        super().__init__()
        self.channels, self.factor = channels, factor

    def initial_state(self, batch: int, height: int, width: int, device: Any = None, dtype: Any = None) -> Any:
        return {"total": torch.zeros(batch, self.channels, height, width, device=device, dtype=dtype)}

    def forward(self, signal: Tensor, state: Any) -> Any:
        return self.factor * signal, {"total": state["total"] + signal}


def run(cell: Cell, steps: int = 2) -> Any:
    state = cell.initial_state(1, 4, 5, dtype=torch.float64)
    carry = cell.initial_carry(1, 4, 5, dtype=torch.float64)
    depth = slices(cell.input_depth)
    for t in range(steps):
        out = cell.step(numbers(t, 1, cell.in_channels, *depth, 4, 5), state, carry)
        assert out.state.keys() == state.keys()
        state, carry = out.state, out.carry
    return out


def st_lstm() -> Cell:
    cell: Cell = stirred(STLSTM(2, 3, kernel=3, dtype=torch.float64))
    return cell


def test_after_the_cell_the_changed_place_stays_and_rises() -> None:
    plain, out = run(st_lstm(), 1), run(Attached(st_lstm(), post={"h": Times(3, 2.0)}), 1)
    torch.testing.assert_close(out.y, 2 * plain.y)
    torch.testing.assert_close(out.state["h"], 2 * plain.y)
    torch.testing.assert_close(out.state["attention.h.total"], plain.y)
    assert out.aux.keys() == plain.aux.keys()


def test_a_register_is_changed_on_its_way() -> None:
    plain, out = run(st_lstm(), 1), run(Attached(st_lstm(), post={"m": Times(3, 2.0)}), 1)
    torch.testing.assert_close(out.carry["m"], 2 * plain.carry["m"])
    torch.testing.assert_close(out.y, plain.y)


@pytest.mark.parametrize("place", ["x", "h", "c", "m"])
def test_before_the_cell_what_it_reads_is_changed(place: str) -> None:
    cell = st_lstm()
    channels = 2 if place == "x" else 3
    state = {name: numbers(n, 1, 3, 4, 5) for n, name in enumerate(("h", "c"))}
    x, m = numbers(5, 1, 2, 4, 5), numbers(6, 1, 3, 4, 5)
    read = {"x": x, **state, "m": m}
    read[place] = 2 * read[place]
    expected = cell.step(read["x"], {"h": read["h"], "c": read["c"]}, {"m": read["m"]})
    attached = Attached(cell, pre={place: Times(channels, 2.0)})
    memory = {f"attention.pre.{place}.total": torch.zeros(1, channels, 4, 5, dtype=torch.float64)}
    given_in = {**state, **memory}
    out = attached.step(x, given_in, {"m": m, "other": x})
    torch.testing.assert_close(out.y, expected.y)
    torch.testing.assert_close(out.carry["m"], expected.carry["m"])
    assert out.carry["other"] is x
    assert out.state[f"attention.pre.{place}.total"].any()
    assert given_in.keys() == state.keys() | memory.keys()


def test_several_places_and_attachments_on_attachments() -> None:
    inner = Attached(st_lstm(), pre={"h": Times(3, 0.5)}, post={"c": Times(3, 2.0)})
    outer = Attached(inner, post={"h": Times(3, 2.0), "m": Times(3, 3.0)})
    together = Attached(
        st_lstm(), pre={"h": Times(3, 0.5)}, post={"c": Times(3, 2.0), "h": Times(3, 2.0), "m": Times(3, 3.0)}
    )
    a, b = run(outer, 3), run(together, 3)
    assert a.state.keys() == b.state.keys()
    torch.testing.assert_close(a.y, b.y)
    for name, value in b.state.items():
        torch.testing.assert_close(a.state[name], value)


def test_a_cell_with_depth() -> None:
    cell = stirred(E3DLSTM(2, 3, kernel=(2, 3, 3), dtype=torch.float64))
    out = run(Attached(cell, post={"c": SelfAttention(3, dtype=torch.float64)}), 2)
    assert out.y.shape == (1, 3, 2, 4, 5)
    with pytest.raises(ValueError, match="works on B C H W"):
        run(Attached(cell, post={"c": SelfAttentionMemory(3, dtype=torch.float64)}), 1)


def test_attached_cells_stand_in_a_stack() -> None:
    nodes = [Attached(STLSTM(2, 4), post={"h": SelfAttentionMemory(4), "m": SelfAttentionMemory(4)}), STLSTM(4, 4)]
    stack = Stack(nodes)
    state = stack.initial_state(2, 5, 6)
    for _ in range(2):
        out = stack.step(torch.randn(2, 2, 5, 6), state)
        state = out.state
    assert out.y.shape == (2, 4, 5, 6)


@pytest.mark.parametrize(
    ("where", "place", "channels", "says"),
    [
        ("post", "n", 3, "no place 'n' to attach to; the places are h, c, m"),
        ("post", "x", 2, "no place 'x' to attach to; the places are h, c, m"),
        ("pre", "x", 3, "the place 'x' has 2 channels, what is attached to it takes 3"),
        ("post", "h", 2, "the place 'h' has 3 channels, what is attached to it takes 2"),
    ],
)
def test_what_does_not_fit_is_told(where: Any, place: str, channels: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Attached(st_lstm(), **{where: {place: Times(channels, 1.0)}})


def test_a_place_is_taken_once() -> None:
    inner = Attached(st_lstm(), post={"h": Times(3, 1.0)})
    with pytest.raises(ValueError, match="the place 'h' has an attachment already"):
        Attached(inner, post={"h": Times(3, 1.0)})
    Attached(inner, pre={"h": Times(3, 1.0)})


def test_a_cell_without_input_has_no_place_for_it() -> None:
    with pytest.raises(ValueError, match="no place 'x'"):
        Attached(ConvLSTM(0, 3), pre={"x": Times(3, 1.0)})
