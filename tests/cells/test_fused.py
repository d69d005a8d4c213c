"""The engine for GPUs against the direct one, cell by cell, and how few operations it needs."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import stkit
from stkit.cells import Auto, Fused, GateBlock, Source, gated, use_engine
from stkit.cells.fused import groups
from stkit.cells.joined import joined
from stkit.stacks import Forecaster

F64 = torch.float64
MODELS: dict[str, dict[str, Any]] = {
    "convlstm": {},
    "predrnn": {},
    "predrnnpp": {"cell": {"norm": None, "kernel": 3}},
    "mim": {"cell": {"norm": None, "kernel": 3}, "transition": {"norm": None, "kernel": 3}},
    "e3d-lstm": {"cell": {"norm": None, "kernel": [2, 3, 3]}},
}


def built(name: str, engine: str, **values: Any) -> Forecaster:
    torch.manual_seed(0)
    layers: list[Any] = [3, 3]
    if name == "predrnnpp":
        layers.insert(1, {"width": 3, "cell": {"name": "ghu", "kernel": 3}})
    if name == "e3d-lstm":
        layers.insert(0, {"width": 1, "cell": {"name": "frame_window", "depth": 2}})
        name = "e3d_lstm"
    values = {"cell": {"kernel": 3}, **values}
    return stkit.build(name, layers=layers, engine=engine, dtype=F64, **values)


def trained(forecaster: Forecaster, **options: Any) -> tuple[Tensor, list[Tensor]]:
    frames = torch.rand(2, 4, 1, 5, 6, generator=torch.Generator().manual_seed(1), dtype=F64)
    predictions = forecaster.rollout(frames, 2, **options).predictions
    parameters = [p for p in forecaster.parameters() if p.requires_grad]
    return predictions, list(torch.autograd.grad(predictions.square().mean(), parameters, allow_unused=True))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("options", [{}, {"recompute": "layer"}, {"recompute": "everything"}])
def test_it_computes_what_the_direct_engine_does(
    name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gated, "SMALL", 0)
    ours, theirs = (trained(built(name, engine, **MODELS[name]), **options) for engine in ("fused", "direct"))
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-13)


@given(
    fed=st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True), min_size=1, max_size=3),
    widths=st.lists(st.integers(1, 3), min_size=3, max_size=3),
    bias=st.sampled_from(["none", "gate", "source"]),
    seed=st.integers(0, 99),
)
def test_any_block(fed: list[list[str]], widths: list[int], bias: Any, seed: int) -> None:
    torch.manual_seed(seed)
    sources = {f"s{n}": Source(width, tuple(gates)) for n, (gates, width) in enumerate(zip(fed, widths, strict=False))}
    block = GateBlock(2, sources, kernel=3, bias=bias, dtype=F64)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    inputs = {name: torch.randn(2, source.channels, 4, 3, dtype=F64) for name, source in sources.items()}
    theirs = block(**inputs)
    use_engine(block, Fused())
    ours = block(**inputs)
    assert sorted(gate for gates, _ in groups(block) for gate in gates) == sorted(block.gates)
    torch.testing.assert_close({gate: ours[gate] for gate in theirs}, theirs, rtol=1e-12, atol=1e-12)


@given(
    slices=st.integers(1, 4),
    kernel=st.tuples(st.integers(1, 4), st.sampled_from([1, 3]), st.sampled_from([1, 2, 3])),
    bias=st.sampled_from(["none", "gate", "source"]),
    seed=st.integers(0, 99),
)
def test_any_block_of_three_dimensions(slices: int, kernel: tuple[int, int, int], bias: Any, seed: int) -> None:
    torch.manual_seed(seed)
    sources = {"x": Source.of(2, "i g o"), "h": Source.of(3, "i g")}
    block = GateBlock(2, sources, kernel=kernel, bias=bias, dtype=F64)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    inputs = {name: torch.randn(2, source.channels, slices, 4, 3, dtype=F64) for name, source in sources.items()}
    theirs = block(**inputs)
    use_engine(block, Fused())
    ours = block(**inputs)
    torch.testing.assert_close({gate: ours[gate] for gate in theirs}, theirs, rtol=1e-12, atol=1e-12)
    weights = list(block.parameters())
    slopes = [torch.autograd.grad(made["i"].square().sum(), weights, allow_unused=True) for made in (ours, theirs)]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-10, atol=1e-10)


def test_gates_that_lack_little_go_along() -> None:
    """PredRNN++: ``o`` does not see C, and ``g'`` and ``w3`` one source each; three convolutions are saved."""
    block = GateBlock(
        4,
        {
            "x": Source.of(4, "i f g i' f' g' o"),
            "h": Source.of(4, "i f g o"),
            "c": Source.of(4, "i f g"),
            "m": Source.of(4, "i' f' w3"),
        },
        kernel=3,
    )
    assert groups(block) == [(("i", "f", "g", "o"), ("x", "h", "c")), (("i'", "f'", "g'", "w3"), ("x", "m"))]
    shared = GateBlock(4, {"x": Source.of(4, "xi xf xg o"), "h": Source.of(4, "i f g o")}, kernel=3)
    assert [sources for _, sources in groups(shared)] == [("x", "h"), ("x",), ("h",)]


def test_norms_are_left_to_the_direct_engine() -> None:
    values = {"cell": {"kernel": 3, "norm": "channel"}}
    ours, theirs = (trained(built("predrnn", engine, **values)) for engine in ("fused", "direct"))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


def test_under_autocast_it_convolves_in_its_type() -> None:
    block = GateBlock(4, {"x": Source.of(3, "i f"), "h": Source.of(4, "i f")}, kernel=3, bias="gate")
    block.engine = Fused()
    x, h = torch.rand(2, 3, 5, 5), torch.rand(2, 4, 5, 5).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        made = block(x=x, h=h)
    assert {part.dtype for part in made.values()} == {torch.bfloat16}
    torch.testing.assert_close(made["i"].float(), block(x=x, h=h.float())["i"], rtol=3e-2, atol=3e-2)


def test_copies_and_pickles_take_nothing_of_a_sequence_along() -> None:
    for engine in (Fused(), Auto()):
        with engine.sequence():
            for other in (copy.deepcopy(engine), pickle.loads(pickle.dumps(engine))):
                assert type(other) is type(engine)


@given(
    channels=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    kind=st.sampled_from([torch.float32, torch.bfloat16, F64]),
    depth=st.sampled_from([(), (2,)]),
)
def test_joined_is_concatenated_and_channels_last(
    channels: list[int], kind: torch.dtype, depth: tuple[int, ...]
) -> None:
    parts = [torch.randn(2, n, *depth, 3, 4, requires_grad=True) for n in channels]
    made, expected = joined(parts, kind), torch.cat(parts, dim=1).to(kind)
    assert torch.equal(made, expected)
    assert made.movedim(1, -1).is_contiguous()
    slopes = [torch.autograd.grad(out.square().sum(), parts) for out in (made, expected)]
    assert all(torch.equal(a, b) for a, b in zip(*slopes, strict=True))


class Launches(TorchDispatchMode):
    """Counts operations that compute something: no views, and nothing that only takes memory."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        name = function._schema.name.partition("::")[2]
        views = {"view", "split", "split_with_sizes", "slice", "select", "unbind", "expand", "permute", "detach"}
        views |= {"transpose", "as_strided", "alias", "_unsafe_view", "unsqueeze", "device", "empty", "lift_fresh"}
        self.count += name not in views
        return made


def launches(name: str, **values: Any) -> float:
    """Of the forward pass of a training, for each of four layers and each of 19 steps, as on a GPU."""
    layers: list[Any] = [4] * 4
    with FakeTensorMode(), torch.device("cuda"):
        forecaster = stkit.build(name, layers=layers, patch=4, head={"bias": False}, device="cuda", **values)
        frames, tokens = torch.empty(2, 20, 1, 16, 16), torch.empty(2, 18, dtype=torch.bool)
        with Launches() as seen:
            forecaster.rollout(frames, 10, tokens=tokens)
    return seen.count / (4 * 19)


def test_predrnn_takes_twelve_launches_a_layer_and_step_at_most() -> None:
    """OpenSTL's takes 32."""
    assert launches("predrnn") <= 12
    assert launches("predrnn", engine="direct") > 15
