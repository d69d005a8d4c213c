"""Every source: the reference models of the parity tests as real files, and what they forecast there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stkit.interop import read
from stkit.stacks import unfold

GOLDENS = Path(__file__).parents[1] / "parity" / "goldens"
PATCH, CONTEXT, HORIZON = 2, 3, 2
TOLERANCE = 1e-9


def as_npz(state: dict[str, Tensor], path: Path) -> Path:
    np.savez(path.with_suffix(".npz"), **{name: value.numpy() for name, value in state.items()})
    return path.with_suffix(".npz")


def as_net_param(state: dict[str, Tensor], path: Path) -> Path:
    torch.save({"net_param": state}, path.with_suffix(".ckpt"))
    return path.with_suffix(".ckpt")


def as_state_dict(state: dict[str, Tensor], path: Path) -> Path:
    wrapped = {"epoch": 7, "state_dict": {f"module.{name}": value for name, value in state.items()}, "optimizer": {}}
    torch.save(wrapped, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


def as_safetensors(state: dict[str, Tensor], path: Path) -> Path:
    save_file({name: value.contiguous() for name, value in state.items()}, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


Save = Callable[[dict[str, Tensor], Path], Path]
CASES: list[tuple[str, str, Save, str]] = [
    ("openstl", "openstl_convlstm_model_ln0_rss0", as_state_dict, "next_frames"),
    ("openstl", "openstl_predrnn_model_ln1_rss0", as_safetensors, "next_frames"),
    ("openstl", "openstl_predrnnpp_model_ln0_rss0", as_net_param, "next_frames"),
    ("predrnn-pytorch", "thuml_predrnn_model_ln0_rss0", as_net_param, "next_frames"),
    ("predrnn-pytorch", "thuml_predrnn_model_ln1_rss1", as_net_param, "next_frames"),
    ("predrnn-pytorch", "thuml_predrnn_v2_model_ln0_rss1", as_state_dict, "next_frames"),
    ("predrnn-pp", "tf_predrnnpp_model_ln1", as_npz, "gen_images"),
    ("mim", "tf_mim_model_ln1", as_npz, "gen_images"),
    ("e3d-lstm", "tf_e3d_model", as_npz, "out_ims"),
]


@pytest.mark.parametrize(("source", "name", "save", "out"), CASES, ids=[case[1] for case in CASES])
def test_a_reference_model_as_a_file_forecasts_as_it_did_there(
    source: str, name: str, save: Save, out: str, tmp_path: Path
) -> None:
    golden = load_file(GOLDENS / f"{name}.safetensors")
    path = save(_parameters(golden), tmp_path / name)
    said: dict[str, Any] = {"semantics": "openstl-1.0"} if source == "openstl" else {}
    size = tuple(PATCH * side for side in golden["in.frames_BTHWC"].shape[2:4])
    imported = read(source, path, patch_size=PATCH, size=size, input_steps=CONTEXT, horizon=HORIZON, **said)
    forecaster = imported.forecaster(dtype=torch.float64)

    frames = unfold(golden["in.frames_BTHWC"].movedim(-1, 2), PATCH)
    drawn = golden["in.mask_BTHWC"].flatten(2)[..., 0].bool()
    shown = torch.ones(len(frames), frames.shape[1] - 2 - drawn.shape[1], dtype=torch.bool)
    with torch.no_grad():
        found = forecaster.rollout(frames, 1, tokens=torch.cat([shown, drawn], dim=1)).predictions
    expected = unfold(golden[f"out.{out}_BTHWC"].movedim(-1, 2), PATCH)
    assert (found[:, -expected.shape[1] :] - expected).abs().max() < TOLERANCE


def test_variables_of_the_training_are_left_out_of_a_tensorflow_file(tmp_path: Path) -> None:
    state = _parameters(load_file(GOLDENS / "tf_e3d_model.safetensors"))
    training = {
        **{f"{name}/ExponentialMovingAverage": value + 1 for name, value in state.items()},
        "Variable": torch.tensor(1.0),
        "Variable_17": torch.zeros(4, 4),
        "generator/e3d-lstm/conv3d/kernel/Adam_1": torch.zeros(2, 1, 1, 4, 4),
        "beta1_power": torch.tensor(0.9),
        "global_step": torch.tensor(80000),
    }
    with_scope = {f"{name}:0": value for name, value in {**state, **training}.items()}
    imported = read("e3d-lstm", as_npz(with_scope, tmp_path / "e3d"), patch_size=PATCH, size=(24, 16))
    assert imported.dropped.keys() == training.keys()
    assert imported.values.keys() == dict(imported.forecaster().named_parameters()).keys()


def test_parameters_that_do_nothing_are_dropped_by_name(tmp_path: Path) -> None:
    state = _parameters(load_file(GOLDENS / "openstl_predrnnpp_model_ln0_rss0.safetensors"))
    path = as_state_dict(state, tmp_path / "predrnnpp")
    imported = read("openstl", path, patch_size=PATCH, size=(24, 16))
    dead = {name for name in state if ".conv_o." in name}
    assert dead
    assert imported.dropped.keys() == dead
    state = _parameters(load_file(GOLDENS / "thuml_predrnn_v2_model_ln0_rss1.safetensors"))
    imported = read("predrnn-pytorch", as_net_param(state, tmp_path / "v2"), patch_size=PATCH, size=(24, 16))
    assert imported.dropped.keys() == {"adapter.weight"}
    assert "decoupling" in imported.dropped["adapter.weight"]


def test_recall_of_the_released_e3d_lstm_has_room_for_the_whole_sequence(tmp_path: Path) -> None:
    state = _parameters(load_file(GOLDENS / "tf_e3d_model.safetensors"))
    path = as_npz(state, tmp_path / "e3d")
    context = torch.randn(1, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    forecasts = []
    for horizon in (6, 30):
        imported = read("e3d-lstm", path, patch_size=PATCH, size=(8, 8), input_steps=4, horizon=horizon)
        assert any(f"room for {4 + horizon} memories" in note for note in imported.notes)
        with torch.no_grad():
            forecasts.append(imported.forecaster()(context, 6))
    torch.testing.assert_close(forecasts[0], forecasts[1])


def _parameters(golden: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("param."): value for name, value in golden.items() if name.startswith("param.")}
