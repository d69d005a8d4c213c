"""The comparison itself: it sees differences, and it takes sizes from the tensors alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import stkit
from stkit.interop import predrnn
from stkit.interop.layout import theirs_of
from stkit.stacks import NextFrame

from .adapters.registry import adapter_of
from .golden import TOLERANCE, Golden, Unfitting, channels_last

CELL = Path(__file__).parent / "goldens" / "thuml_stlstm_cell_h4_ln0.safetensors"


def test_a_wrong_number_is_seen(tmp_path: Path) -> None:
    tensors = load_file(CELL)
    tensors["step.1.c"][0, 0, 0, 0] += 1e-8
    golden = _held(tensors, tmp_path / CELL.name)
    assert golden.worst[0] == "step.1.c"
    assert golden.worst[1] > TOLERANCE


def test_a_wrong_gradient_is_seen(tmp_path: Path) -> None:
    tensors = load_file(CELL)
    tensors["grad.conv_m.0.weight"] *= 1 + 1e-6
    golden = _held(tensors, tmp_path / CELL.name)
    assert golden.worst[0] == "grad.conv_m.0.weight"
    assert golden.worst[1] > TOLERANCE


def test_a_result_that_is_held_against_nothing_is_told(tmp_path: Path) -> None:
    tensors = load_file(CELL)
    tensors["grad.conv_z.0.weight"] = torch.zeros(1)
    assert _held(tensors, tmp_path / CELL.name).forgotten() == ["grad.conv_z.0.weight"]


def test_a_parameter_too_many_is_told(tmp_path: Path) -> None:
    tensors = load_file(CELL)
    tensors["param.conv_x.1.weight"] = torch.ones(28, 12, 8, dtype=torch.float64)
    with pytest.raises(Unfitting, match=r"conv_x\.1\.bias"):
        _held(tensors, tmp_path / CELL.name)


@pytest.mark.parametrize(
    ("layers", "kernel", "norm", "grid", "steps", "tokens"),
    [(1, 3, None, (5, 7), 6, 4), (3, 1, "pixel", (4, 6), 5, 2), (2, 7, None, (9, 4), 4, 0)],
)
def test_sizes_are_read_from_the_tensors(
    tmp_path: Path,
    layers: int,
    kernel: int,
    norm: str | None,
    grid: tuple[int, int],
    steps: int,
    tokens: int,
) -> None:
    """A file made from our own model with sizes that no shipped file has."""
    torch.manual_seed(0)
    forecaster = stkit.build(
        "predrnn",
        in_channels=3,
        layers=[2] * layers,
        cell={"kernel": kernel, "norm": norm},
        grid=grid,
        dtype=torch.float64,
    )
    network = forecaster.network
    assert isinstance(network, NextFrame)
    ours = dict(network.named_parameters())
    places = predrnn.places(network)
    frames = torch.randn(2, steps, 3, *grid, dtype=torch.float64)
    mask = torch.randint(2, (2, tokens)).double()
    shown = torch.cat([torch.ones(2, steps - 2 - tokens), mask], dim=1).bool()
    out = forecaster.rollout(frames, 1, tokens=shown)
    loss = (out.predictions - frames[:, 1:]).square().mean()
    gradients = dict(zip(ours, torch.autograd.grad(loss, list(ours.values())), strict=True))
    golden = _held(
        {
            **{f"param.{name}": value.detach() for name, value in theirs_of(places, ours).items()},
            **{f"grad.{name}": value for name, value in theirs_of(places, gradients).items()},
            "in.frames_BTHWC": channels_last(frames).contiguous(),
            "in.mask_BTHWC": mask[:, :, None, None, None].expand(2, tokens, *grid, 3).contiguous(),
            "out.next_frames_BTHWC": channels_last(out.predictions.detach()).contiguous(),
            "out.loss": loss.detach().reshape(1),
        },
        tmp_path / "thuml_predrnn_model_other_sizes.safetensors",
    )
    assert golden.worst[1] <= TOLERANCE
    assert not golden.forgotten()


def _held(tensors: dict[str, Tensor], path: Path) -> Golden:
    save_file(tensors, path)
    golden = Golden.read(path)
    adapter = adapter_of(path.name)
    assert adapter is not None
    adapter(golden)
    return golden
