"""Winograd's engine against the direct convolution: numbers, gradients, and what it keeps and forgets."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stkit_mim.transition import MIM
from stkit_predrnn.cell import STLSTM
from torch import Tensor, nn

from stkit.cells import DIRECT, GateBlock, Source, Winograd, sequence, use_engine, winograd
from stkit.cells.compiled.compiler import NoCompiler, library
from stkit.cells.compiled.kernels import Kernels
from stkit.cells.tiles import Tiles
from stkit.modules.norm.norms import ChannelNorm
from stkit.stacks import Stack
from stkit.testing.strategies import grids, seeds, tensor

from ..oracles.convolution import convolve
from .matrix_unit import without_matrix_unit

F64 = torch.float64


@pytest.fixture(params=["compiled", "vectors", "torch"], scope="module", autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """With compiled functions, where this machine has a compiler; without its matrix unit; with torch's operators."""
    if request.param != "torch":
        if isinstance(found := library(), NoCompiler):
            pytest.skip(str(found))
        if request.param == "vectors" and not found.matrix_unit:
            pytest.skip("this machine has no matrix unit")
        with nullcontext() if request.param == "compiled" else without_matrix_unit():
            yield "compiled"
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "library_for", lambda *_: NoCompiler("for this test"))
        patch.setattr(winograd, "library", lambda: NoCompiler("for this test"))
        yield "torch"


def block(seed: int = 0, **options: Any) -> GateBlock:
    """Gates that two sources feed, that one feeds, and a source of two tensors."""
    torch.manual_seed(seed)
    sources = {"x": Source.of(3, "i f g o"), "h": Source.of(4, "o g"), "memory": Source.of(5, "f m i")}
    made = GateBlock(2, sources, **{"kernel": 3, "dtype": F64, **options})
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made


def inputs(seed: int, batch: int, grid: tuple[int, int], dtype: torch.dtype = F64) -> dict[str, Any]:
    x, h, c, m = (tensor(seed + n, batch, size, *grid, dtype=dtype) for n, size in enumerate((3, 4, 2, 3)))
    return {"x": x.requires_grad_(), "h": h.requires_grad_(), "memory": (c.requires_grad_(), m.requires_grad_())}


def with_gradients(gates: GateBlock, given: dict[str, Any]) -> tuple[dict[str, Tensor], list[Tensor]]:
    found = gates(**given)
    weighted = sum((n + 1) * value.square().sum() for n, value in enumerate(found.values()))
    leaves = [*gates.parameters(), given["x"], given["h"], *given["memory"]]
    return found, list(torch.autograd.grad(weighted, leaves))


@given(
    seed=seeds(),
    depth=st.integers(1, 3),
    slices=st.integers(1, 4),
    batch=st.integers(1, 2),
    grid=grids(1, 9),
)
@settings(max_examples=15)
def test_three_dimensional_kernels_go_slice_by_slice(
    seed: int, depth: int, slices: int, batch: int, grid: tuple[int, int]
) -> None:
    """Where a kernel has more slices than the field, too."""
    gates = block(seed, kernel=(slices, 3, 3), bias="source")
    x, h, c, m = (tensor(seed + n, batch, size, depth, *grid, dtype=F64) for n, size in enumerate((3, 4, 2, 3)))
    given_ = {"x": x.requires_grad_(), "h": h.requires_grad_(), "memory": (c.requires_grad_(), m.requires_grad_())}
    expected, expected_gradients = with_gradients(gates, given_)
    gates.engine = Winograd()
    assert gates.engine.takes(gates, {"x": (x,)})
    found, found_gradients = with_gradients(gates, given_)
    for gate, value in expected.items():
        torch.testing.assert_close(found[gate], value, rtol=1e-9, atol=1e-9)
    for ours, theirs in zip(found_gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


@given(
    seed=seeds(),
    batch=st.integers(1, 3),
    grid=grids(1, 11),
    kernel=st.sampled_from([3, 5]),
    bias=st.sampled_from(["none", "gate", "source"]),
    normed=st.booleans(),
)
@settings(max_examples=25)
def test_gates_and_gradients_are_those_of_the_direct_convolution(
    seed: int, batch: int, grid: tuple[int, int], kernel: int, bias: str, normed: bool
) -> None:
    norm = (lambda channels: ChannelNorm(1, channels, dtype=F64)) if normed and grid[0] * grid[1] > 3 else None
    gates, given_ = block(seed, kernel=kernel, bias=bias, norm=norm), inputs(seed, batch, grid)
    expected, expected_gradients = with_gradients(gates, given_)
    gates.engine = Winograd()
    assert gates.engine.takes(gates, {"x": (given_["x"],)})
    found, found_gradients = with_gradients(gates, given_)
    assert list(found) == list(gates.gates)
    for gate, value in expected.items():
        torch.testing.assert_close(found[gate], value, rtol=1e-9, atol=1e-9)
    for ours, theirs in zip(found_gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("m", "r"), [(4, 5), (4, 3), (2, 3), (2, 5)])
def test_the_maps_make_a_convolution_of_a_product(m: int, r: int) -> None:
    """Against the sum over a window, in NumPy, and each adjoint against its map."""
    own = Tiles(m, r)
    field, kernel = tensor(1, 2, 3, 7, 6, dtype=F64), tensor(2, 4, 3, r, r, dtype=F64)
    there = own.forth(field)
    (ours,) = own.back(torch.bmm(there, own.kernel(kernel)), (2, 3, 7, 6), [4])
    theirs = convolve(field.permute(0, 2, 3, 1).numpy(), kernel.permute(2, 3, 1, 0).numpy())
    torch.testing.assert_close(ours.permute(0, 2, 3, 1), torch.from_numpy(theirs), rtol=1e-10, atol=1e-10)

    some = torch.randn_like(there)
    back = own.scatter(own.map("forth", some, adjoint=True), field.shape)
    assert torch.allclose((there * some).sum(), (field * back).sum())
    products, fields = torch.randn(own.a**2, there.shape[1], 3, dtype=F64), [torch.randn(2, n, 7, 6) for n in (1, 2)]
    fields = [field.to(F64) for field in fields]
    apart = sum((a * b).sum() for a, b in zip(own.back(products, field.shape, [1, 2]), fields, strict=True))
    assert torch.allclose(apart, (products * own.uncut(own.cut(fields, field.shape, [1, 2], products))).sum())
    weights = torch.randn_like(own.kernel(kernel))
    assert torch.allclose((own.kernel(kernel) * weights).sum(), (kernel * own.kernel_gradient(weights)).sum())


def test_a_size_without_maps_is_refused() -> None:
    with pytest.raises(ValueError, match="kernels of 7 make tiles of 10; there are maps for"):
        Tiles(4, 7)


# ------------------------------------------------------------------------------------------ over a sequence


def stack() -> Stack:
    torch.manual_seed(0)
    mim = MIM(4, 4, kernel=3, dtype=F64)
    nodes = [STLSTM(3, 4, kernel=5, bias=True, dtype=F64), STLSTM(4, 4, kernel=3, transition=mim, dtype=F64)]
    return Stack(nodes)


def run(over: Stack, frames: Tensor) -> Tensor:
    batch, steps, _, height, width = frames.shape
    state = over.initial_state(batch, height, width, dtype=frames.dtype)
    ys = []
    with sequence(over):
        for t in range(steps):
            out = over.step(frames[:, t], state)
            state = out.state
            ys.append(out.y)
    return torch.stack(ys, 1)


def gradients(over: Stack, frames: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(run(over, frames).square().sum(), list(over.parameters())))


def test_a_sequence_and_its_gradients() -> None:
    over, frames = stack(), tensor(3, 2, 4, 3, 6, 7, dtype=F64)
    expected, wanted = run(over, frames), gradients(over, frames)
    use_engine(over, Winograd())
    torch.testing.assert_close(run(over, frames), expected, rtol=0, atol=1e-12)
    for ours, theirs in zip(gradients(over, frames), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def counted(monkeypatch: pytest.MonkeyPatch, way: str) -> dict[str, int]:
    """Calls of what maps a state, and of what maps a kernel."""
    kind, named = (Tiles, ("forth", "kernel")) if way == "torch" else (Kernels, ("transform", "pack"))
    count = {"state": 0, "kernel": 0}
    for what, name in zip(count, named, strict=True):
        original = getattr(kind, name)

        def method(self: Any, *given: Any, what: str = what, original: Any = original, **options: Any) -> Tensor:
            count[what] += 1
            made: Tensor = original(self, *given, **options)
            return made

        monkeypatch.setattr(kind, name, method)
    return count


def test_each_tensor_is_transformed_once_and_each_kernel_once_a_sequence(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    torch.manual_seed(0)
    over, steps = Stack([STLSTM(3, 4, kernel=3), STLSTM(4, 4, kernel=3)]), 5
    use_engine(over, Winograd())
    count = counted(monkeypatch, way)
    out = run(over, torch.randn(2, steps, 3, 8, 8)).sum()
    # A frame, and of each layer h, c and m; before the first step h of two layers and one m. The last h is not read.
    assert count["state"] == steps * (1 + 2 * 3) + 3 - 1
    # Of each layer: x and h for i f g o, x and m for i' f' g', c and m for o.
    assert count["kernel"] == 2 * 6
    out.backward()
    # Compiled, the transposes are made from the kernels, but for the two that read a frame: it has no gradient.
    assert count["kernel"] == 2 * 6 + (0 if way == "torch" else 2 * 6 - 2)


def test_weights_that_change_are_seen(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    over, frames = stack(), tensor(3, 1, 2, 3, 5, 5, dtype=F64)
    use_engine(over, Winograd())
    count = counted(monkeypatch, way)
    with torch.no_grad():
        run(over, frames)
        first = count["kernel"]
        run(over, frames)
        assert count["kernel"] == first, "forecasts with the same weights transform them once"
        for parameter in over.parameters():
            parameter.mul_(0.5)
        changed = run(over, frames)
        for parameter in over.parameters():
            parameter.data = parameter.data * 2
        again = run(over, frames)
        use_engine(over, DIRECT)
        torch.testing.assert_close(again, run(over, frames), rtol=0, atol=1e-12)
    assert not torch.allclose(changed, again)


def test_a_pass_that_asks_for_other_gradients_leaves_nothing_behind() -> None:
    """Gradients of the frames alone, of half of the outputs, a pass twice over one graph, and steps without a graph."""
    over, frames = stack(), tensor(3, 2, 3, 3, 5, 6, dtype=F64).requires_grad_()
    wanted = gradients(over, frames)
    use_engine(over, Winograd())
    out = run(over, frames)
    with torch.no_grad():
        run(over, frames)
    torch.autograd.grad(out.sum(), frames, retain_graph=True)
    torch.autograd.grad(out[:, 0].sum(), list(over.parameters()), retain_graph=True, allow_unused=True)
    loss = out.square().sum()
    for _ in range(2):
        found = torch.autograd.grad(loss, list(over.parameters()), retain_graph=True)
        for ours, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_nothing_of_a_sequence_stays_and_copies_start_afresh() -> None:
    over, engine = stack(), Winograd(where_it_pays=False)
    use_engine(over, engine)
    run(over, tensor(3, 1, 2, 3, 5, 5, dtype=F64))
    assert not engine._signals
    assert not engine._groups
    with torch.no_grad():
        run(over, tensor(3, 1, 2, 3, 5, 5, dtype=F64))
    twin = copy.deepcopy(over)
    engines = {id(part.engine) for part in twin.modules() if isinstance(part, GateBlock)}
    assert len(engines) == 1
    assert engines.isdisjoint({id(engine)})
    assert pickle.loads(pickle.dumps(Winograd(where_it_pays=True))).name == "auto"


def test_a_training_lets_go_of_the_kernels_of_the_last_forecast() -> None:
    over, engine = stack(), Winograd()
    use_engine(over, engine)
    with torch.no_grad():
        run(over, tensor(3, 1, 2, 3, 5, 5, dtype=F64))
    assert engine._groups
    run(over, tensor(3, 1, 2, 3, 5, 5, dtype=F64))
    assert not engine._groups


def test_an_error_within_a_sequence_ends_it() -> None:
    over, engine = stack(), Winograd()
    use_engine(over, engine)
    with pytest.raises(ValueError, match="channels"):
        run(over, torch.zeros(1, 2, 2, 5, 5, dtype=F64))
    assert engine._inside == 0


# ------------------------------------------------------------------------------------------- what it leaves


@pytest.mark.parametrize("kernel", [1, 2, 4, 7, (3, 5), (2, 4, 4)])
def test_other_kernels_are_left_to_the_direct_convolution(kernel: Any) -> None:
    gates = GateBlock(2, {"x": Source.of(3, "i")}, kernel=kernel)
    x = torch.randn(2, 3, *([4] if isinstance(kernel, tuple) and len(kernel) == 3 else []), 5, 6)
    expected = gates(x=x)["i"]
    gates.engine = Winograd()
    assert not gates.engine.takes(gates, {"x": (x,)})
    assert torch.equal(gates(x=x)["i"], expected)


def test_other_kinds_of_number_are_left_to_the_direct_convolution() -> None:
    gates, engine = GateBlock(2, {"x": Source.of(3, "i")}, kernel=3), Winograd()
    assert engine.takes(gates, {"x": (torch.zeros(1, 3, 4, 4),)})
    assert not engine.takes(gates, {"x": (torch.zeros(1, 3, 4, 4, dtype=torch.bfloat16),)})
    assert not engine.takes(gates, {"x": (torch.zeros(1, 3, 4, 4, device="meta"),)})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not engine.takes(gates, {"x": (torch.zeros(1, 3, 4, 4),)})


@pytest.mark.parametrize(
    ("kernel", "width", "batch", "side", "compiled", "by_operators"),
    [
        (3, 64, 4, 16, True, True),
        (3, 64, 3, 16, True, False),
        (3, 64, 1, 16, True, False),
        (3, 63, 64, 16, True, False),
        (3, 16, 4, 16, True, False),
        (3, 64, 1, 12, False, False),
        (3, 16, 3, 16, False, False),
        (3, 15, 64, 16, False, False),
        (5, 32, 2, 16, True, True),
        (5, 32, 2, 12, True, False),
        (5, 31, 64, 16, True, False),
        (5, 16, 2, 16, True, False),
        (5, 16, 3, 12, False, False),
        (5, 15, 64, 16, False, False),
    ],
)
def test_small_blocks_are_left_where_only_what_pays_is_taken(
    kernel: int, width: int, batch: int, side: int, compiled: bool, by_operators: bool, way: str
) -> None:
    takes = compiled if way == "compiled" else by_operators
    gates = GateBlock(width, {"x": Source.of(1, "i")}, kernel=kernel)
    assert Winograd(where_it_pays=True).takes(gates, {"x": (torch.zeros(batch, 1, side, side),)}) == takes


# ------------------------------------------------------------------------------------------------ rounding


@pytest.mark.parametrize("fields", [torch.rand, torch.randn], ids=["frames", "standardised"])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_rounding_stays_within_its_bound(kernel: int, scale: float, fields: Callable[..., Tensor]) -> None:
    """Fields in [0, 1] or standardised: outputs within 10 times, gradients within 20 times that of plain float32."""
    torch.manual_seed(0)
    over = Stack([STLSTM(4, 32, kernel=kernel), STLSTM(32, 32, kernel=kernel)])
    with torch.no_grad():
        for parameter in over.parameters():
            parameter.mul_(scale)
    frames = fields(2, 6, 4, 12, 12)
    exact = copy.deepcopy(over).double()
    truth, slopes = run(exact, frames.double()).detach(), gradients(exact, frames.double())

    def errors(engine: Any) -> tuple[float, float]:
        use_engine(over, engine)
        out = float((run(over, frames).double() - truth).detach().abs().max())
        found = zip(gradients(over, frames), slopes, strict=True)
        return out, max(float((ours.double() - theirs).abs().max() / theirs.abs().max()) for ours, theirs in found)

    plain, ours = errors(DIRECT), errors(Winograd())
    assert 0 < ours[0] <= 10 * plain[0]
    assert 0 < ours[1] <= 20 * plain[1]
