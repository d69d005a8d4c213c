"""Attention in its forms, against sums over all pairs of cells written out one by one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stkit.cells import AttachmentSite, attend, mask_keys, observe
from stkit.modules.attention.axial_attention import AxialAttention
from stkit.modules.attention.look import Columns, Look, Rows, Windows, default_keys
from stkit.modules.attention.positions import relative_bias, rotated
from stkit.modules.attention.self_attention import SelfAttention
from stkit.modules.attention.self_attention_memory import SelfAttentionMemory
from stkit.plugin.manager import plugins
from stkit.testing.strategies import grids, seeds, tensor

CLOSE: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-11}
LOOKS: dict[str, Callable[[], Look]] = {
    "whole grid": lambda: Look(heads=2),
    "windows": lambda: Windows(3, heads=2, scaled=True),
    "shifted windows": lambda: Windows(3, shift=1, heads=2, rotary=True),
    "windows with distances": lambda: Windows(2, heads=2, relative=True, dtype=torch.float64),
    "rows": lambda: Rows(heads=2, rotary=True),
    "columns": lambda: Columns(heads=2),
}


def numbers(seed: int, *shape: int) -> Tensor:
    return tensor(seed, *shape, dtype=torch.float64)


def stirred(module: nn.Module, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def module(name: str, channels: int = 4, *, depth: int = 0, seed: int = 0, **options: Any) -> Any:
    """As a recipe has it built, in float64, its weights noise."""
    spec = plugins().resolve("modules", name, slot="attention")
    config = spec.load_config()(name=name, **options)
    return stirred(spec.load_target().from_config(config, AttachmentSite(channels, None, torch.float64, depth)), seed)


def within(look: Look, one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether a cell looks at another, from the words alone."""
    if isinstance(look, Windows):
        shift = -look.before % look.side
        windows = [tuple((at - shift) // look.side for at in cell) for cell in (one, other)]
        return windows[0] == windows[1]
    if isinstance(look, Rows):
        return one[0] == other[0]
    return not isinstance(look, Columns) or one[1] == other[1]


def turned(vector: np.ndarray, cell: tuple[int, int]) -> np.ndarray:
    """Pairs of numbers as complex ones, turned by the row, then by the column, slower from pair to pair."""
    pairs = vector.reshape(-1, 2) @ np.array([1, 1j])
    bands = len(pairs) // 2
    angles = [cell[n // bands] * 10_000 ** (-(n % bands) / bands) for n in range(len(pairs))]
    moved = pairs * np.exp(1j * np.array(angles))
    return np.stack([moved.real, moved.imag], axis=1).ravel()


def pair_by_pair(look: Look, q: Tensor, k: Tensor, v: Tensor, valid: Tensor) -> np.ndarray:
    """What each cell finds, ``H W C``; ``q k v``: ``H W C`` of one sample, not placed."""
    height, width, channels = v.shape
    out = np.zeros((height, width, channels))
    cells = [(y, x) for y in range(height) for x in range(width)]
    table = look.relative.relative_position_bias_table if isinstance(look, Windows) and look.relative else None
    for head in range(look.heads):
        keys, values = ([part.detach().numpy()[c].reshape(look.heads, -1)[head] for c in cells] for part in (k, v))
        for n, cell in enumerate(cells):
            query = q.detach().numpy()[cell].reshape(look.heads, -1)[head]
            scores = {}
            for m, other in enumerate(cells):
                if not valid[other] or not within(look, cell, other):
                    continue
                a, b = (turned(query, cell), turned(keys[m], other)) if look.rotary else (query, keys[m])
                score = float(a @ b)
                if look.scaled:
                    score /= math.sqrt(len(query))
                if table is not None:
                    dy, dx = cell[0] - other[0], cell[1] - other[1]
                    row = (dy + look.side - 1) * (2 * look.side - 1) + dx + look.side - 1
                    score += float(table[row, head].detach())
                scores[m] = math.exp(score)
            total = sum(scores.values())
            found = sum((weight * values[m] for m, weight in scores.items()), np.zeros(channels // look.heads))
            out[cells[n]].reshape(look.heads, -1)[head] = found / total if scores else 0
    return out


@pytest.mark.parametrize("name", LOOKS)
@settings(max_examples=6)
@given(seed=seeds(), grid=grids(2, 5), holes=st.booleans())
def test_a_look_is_the_sum_over_the_cells_it_reaches(name: str, seed: int, grid: tuple[int, int], holes: bool) -> None:
    look = stirred(LOOKS[name](), seed)
    q, k, v = (numbers(seed + n, 2, 1, *grid, 8) for n in range(3))
    valid = numbers(seed + 3, 2, *grid) > (0.3 if holes else -9)
    got = look(look.placed(q), look.placed(k), v, valid if holes else None)
    for sample in range(2):
        expected = pair_by_pair(look, q[sample, 0], k[sample, 0], v[sample, 0], valid[sample])
        # The angles of rotary positions are in single precision, whatever is turned by them.
        close = {"rtol": 1e-5, "atol": 1e-6} if look.rotary else CLOSE
        np.testing.assert_allclose(got[sample, 0].detach().numpy(), expected, **close)


@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize("masked", [False, True])
def test_what_an_observer_is_shown_is_what_was_found(name: str, masked: bool) -> None:
    """With one head the weights rebuild it; with several they are the mean of the heads'."""
    look = stirred(LOOKS[name]())
    look.heads = 1
    if isinstance(look, Windows) and look.relative is not None:
        look.relative = stirred(relative_bias(look.side, 1, None, torch.float64))
    q, k, v = (numbers(n, 2, 1, 5, 4, 8) for n in range(3))
    valid = numbers(4, 1, 5, 4) > 0 if masked else None
    q, k = look.placed(q), look.placed(k)
    cells = torch.tensor([0, 7, 19])
    weights = look.weights(q, k, valid, cells)
    assert weights.shape == (2, 3, 1, 5, 4)
    rebuilt = torch.einsum("bkhw,bhwc->bkc", weights[:, :, 0], v[:, 0])
    torch.testing.assert_close(rebuilt, look(q, k, v, valid)[:, 0].flatten(1, 2)[:, cells])


def test_heads_are_independent_of_each_other() -> None:
    q, k, v = (numbers(n, 2, 6, 6) for n in range(3))
    together = attend(q, k, v, heads=3)
    for head in range(3):
        part = slice(2 * head, 2 * head + 2)
        torch.testing.assert_close(together[..., part], attend(q[..., part], k[..., part], v[..., part]))


def test_a_rotation_knows_the_distance_alone() -> None:
    """The same two vectors, moved together over the grid, have the same product; slices are at one place."""
    q, k = (numbers(n, 8).expand(1, 2, 7, 9, 8) for n in range(2))
    a, b = (rotated(part, heads=2).unflatten(4, (2, 4)) for part in (q, k))
    products = torch.einsum("bdyxhc,bdvwhc->dhyxvw", a, b)
    torch.testing.assert_close(products[:, :, 0, 0, 2, 3], products[:, :, 4, 5, 6, 8])
    torch.testing.assert_close(products[0], products[1])
    assert not torch.allclose(products[:, :, 0, 0, 2, 3], products[:, :, 0, 0, 3, 2])
    assert not torch.allclose(products[:, :, 0, 0, 2, 3], products[:, :, 0, 0, 0, 0])


def test_far_columns_are_told_apart_in_half_precision() -> None:
    field = torch.ones(1, 1, 1, 400, 4, dtype=torch.bfloat16)
    turned = rotated(field, heads=1)[0, 0, 0, 398:]
    assert turned.dtype == torch.bfloat16
    precise = rotated(field.double(), heads=1)[0, 0, 0, 398:]
    torch.testing.assert_close(turned.double(), precise, rtol=0, atol=0.02)


@pytest.mark.parametrize(
    ("channels", "heads", "rotary", "keys"),
    [
        (64, 1, False, 32),
        (1, 1, False, 1),
        (6, 4, False, 4),
        (10, 4, False, 8),
        (1, 1, True, 4),
        (20, 2, True, 16),
    ],
)
def test_key_channels_that_nobody_named(channels: int, heads: int, rotary: bool, keys: int) -> None:
    assert default_keys(channels, heads, rotary=rotary) == keys


# ----------------------------------------------------------------------------------------------- the modules


def test_windowed_attention_is_its_equation() -> None:
    ours = module("windowed_attention", window=3, shift=1, heads=2)
    x = numbers(0, 1, 4, 5, 7)
    cells = x[0].movedim(0, -1)
    q, k, v = (layer(cells) for layer in (ours.query, ours.key, ours.value))
    found = pair_by_pair(ours.look, q, k, v, torch.ones(5, 7, dtype=torch.bool))
    expected = x[0] + ours.out(torch.from_numpy(found)).movedim(-1, 0)
    torch.testing.assert_close(ours(x, {})[0][0], expected)


def test_axial_attention_is_rows_then_columns() -> None:
    ours = module("axial_attention", heads=2)
    x = numbers(0, 1, 4, 5, 7)
    for step in (ours.rows, ours.columns):
        cells = x[0].movedim(0, -1)
        q, k, v = (layer(cells) for layer in (step.query, step.key, step.value))
        found = pair_by_pair(step.look, q, k, v, torch.ones(5, 7, dtype=torch.bool))
        x = x + step.out(torch.from_numpy(found)).movedim(-1, 0)
    torch.testing.assert_close(ours(numbers(0, 1, 4, 5, 7), {})[0], x)


def test_after_both_axes_every_cell_has_heard_of_every_other() -> None:
    ours = module("axial_attention")
    x = numbers(0, 1, 4, 4, 5).requires_grad_()
    ours(x, {})[0][0, :, 0, 0].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().amin(dim=(0, 1)).gt(0).all()


def test_windows_keep_to_themselves() -> None:
    ours = module("windowed_attention", window=3)
    x = numbers(0, 1, 4, 6, 7).requires_grad_()
    ours(x, {})[0][0, :, 4, 1].sum().backward()
    assert x.grad is not None
    reached = torch.zeros(6, 7, dtype=torch.bool)
    reached[3:6, :3] = True
    assert x.grad.abs().amax(dim=(0, 1)).gt(0).equal(reached)


@pytest.mark.parametrize("options", [{}, {"heads": 2}, {"window": 3}, {"positions": "rotary"}], ids=str)
def test_a_depth_of_one_slice_is_no_depth(options: dict[str, Any]) -> None:
    flat, deep = module("self_attention_memory", **options), module("self_attention_memory", depth=1, **options)
    kept, kept_deep = (m.initial_state(2, 5, 4, dtype=torch.float64) for m in (flat, deep))
    for t in range(2):
        x = numbers(t, 2, 4, 5, 4)
        (y, kept), (y_deep, kept_deep) = flat(x, kept), deep(x[:, :, None], kept_deep)
        torch.testing.assert_close(y_deep[:, :, 0], y)
        torch.testing.assert_close(kept_deep["memory"][:, :, 0], kept["memory"])


def test_the_memory_looks_at_all_slices() -> None:
    ours = module("self_attention_memory", depth=2, kernel=1)
    x = numbers(0, 1, 4, 2, 3, 4).requires_grad_()
    y, kept = ours(x, ours.initial_state(1, 3, 4, dtype=torch.float64))
    assert kept["memory"].shape == x.shape
    y[0, :, 0, 0, 0].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().amin(dim=(0, 1)).gt(0).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("self_attention", {"heads": 2}),
        ("self_attention", {"scaled": True}),
        ("self_attention", {"positions": "rotary", "key_channels": 4}),
        ("self_attention_memory", {"heads": 2}),
        ("self_attention_memory", {"scaled": True}),
        ("self_attention_memory", {"positions": "rotary", "key_channels": 4}),
        ("self_attention_memory", {"window": 2}),
        ("windowed_attention", {"window": 2}),
        ("windowed_attention", {"shift": 1}),
        ("windowed_attention", {"heads": 2}),
        ("windowed_attention", {"residual": False}),
        ("windowed_attention", {"bias": True}),
        ("windowed_attention", {"scaled": False}),
        ("windowed_attention", {"positions": "none"}),
        ("windowed_attention", {"positions": "rotary"}),
        ("windowed_attention", {"key_channels": 3}),
        ("axial_attention", {"heads": 2}),
        ("axial_attention", {"residual": False}),
        ("axial_attention", {"bias": True}),
        ("axial_attention", {"scaled": False}),
        ("axial_attention", {"positions": "none", "key_channels": 4}),
        ("axial_attention", {"key_channels": 8}),
    ],
    ids=str,
)
def test_each_option_changes_the_result(name: str, options: dict[str, Any]) -> None:
    x = numbers(0, 1, 4, 4, 5)
    usual: dict[str, Any] = {"key_channels": 4} if options.get("key_channels") == 4 else {}

    def run(**values: Any) -> Tensor:
        ours = module(name, **values)
        result: Tensor = ours(x, ours.initial_state(1, 4, 5, dtype=torch.float64))[0]
        return result

    assert not torch.allclose(run(**options), run(**usual))


@pytest.mark.parametrize("name", ["self_attention", "self_attention_memory", "windowed_attention", "axial_attention"])
@pytest.mark.parametrize("options", [{}, {"heads": 2}], ids=str)
def test_no_parameter_is_dead(name: str, options: dict[str, Any]) -> None:
    ours = module(name, **options)
    state = {key: numbers(1, *value.shape) for key, value in ours.initial_state(2, 5, 4).items()}
    y, kept = ours(numbers(0, 2, 4, 5, 4), state)
    total = y.square().sum() + sum(value.sum() for value in kept.values())
    named = dict(ours.named_parameters())
    gradients = torch.autograd.grad(total, list(named.values()))
    assert min(float(gradient.abs().max()) for gradient in gradients) > 1e-9, named.keys()


@pytest.mark.parametrize("name", ["self_attention", "self_attention_memory", "windowed_attention", "axial_attention"])
def test_each_sample_has_its_own_mask(name: str) -> None:
    """A batch with two masks is both samples by themselves, and what is under a mask changes nothing elsewhere."""
    options = {"window": 3} if name == "windowed_attention" else {}
    ours = module(name, **options, **({"kernel": 1} if name == "self_attention_memory" else {}))
    valid = numbers(9, 2, 5, 7) > -0.3
    x = numbers(0, 2, 4, 5, 7)

    def run(signal: Tensor, mask: Tensor | None) -> Tensor:
        mask_keys(ours, mask)
        state = {k: numbers(1, 2, *v.shape[1:])[: len(signal)] for k, v in ours.initial_state(1, 5, 7).items()}
        result: Tensor = ours(signal, state)[0]
        return result

    together = run(x, valid)
    torch.testing.assert_close(run(x[:1], valid[0]), together[:1])
    other = torch.where(valid[:, None], x, x + 10 * numbers(2, 2, 4, 5, 7))
    sea = valid[:, None].expand_as(x)
    torch.testing.assert_close(run(other, valid)[sea], together[sea])
    assert not torch.allclose(run(other, None)[sea], run(x, None)[sea])


def test_the_attention_of_both_axes_is_shown() -> None:
    seen = []

    class Seen(observe.Observer):
        def attention(self, module: nn.Module, attended: observe.Attended) -> None:
            seen.append((module, attended.weights(torch.tensor([0, 11]))))

    ours = module("axial_attention", heads=2)
    with observe.watch(Seen()):
        ours(numbers(0, 1, 4, 3, 4), {})
    assert [looker for looker, _ in seen] == [ours.rows, ours.columns]
    along_rows, along_columns = (weights[0, :, 0] for _, weights in seen)
    torch.testing.assert_close(along_rows[0, 0].sum(), torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(along_columns[1, :, 3].sum(), torch.tensor(1.0, dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("self_attention", SelfAttention),
        ("self_attention_memory", SelfAttentionMemory),
        ("axial_attention", AxialAttention),
    ],
)
def test_a_name_stands_for_its_class(name: str, form: type) -> None:
    assert type(module(name)) is form
