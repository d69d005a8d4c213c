"""An imported model forecasts like OpenSTL: the numbers that its code gave, in both of its versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stkit.interop import read

from .openstl_models import CONTEXT, PARITY, SIDE, lightning, parameters, tokens, video

TOLERANCE = 1e-9
FIRST_CALLS = [name for name in PARITY if "2nd call" not in name]


def saved(case: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """A file of the case, each version in the form in which it saves, and what must be said of it."""
    model, rest = case.split("_Model ", 1)
    state = parameters(model, norm="ln=1" in rest)
    said: dict[str, Any] = {"patch_size": 2, "size": (SIDE, SIDE), "input_steps": CONTEXT, "horizon": CONTEXT}
    if "v0.3.0" in rest:
        torch.save({f"module.{name}": value for name, value in state.items()}, folder / "best.pth")
        return folder / "best.pth", {**said, "semantics": "openstl-0.3"}
    torch.save(lightning(state), folder / "best.ckpt")
    return folder / "best.ckpt", {}


def held(case: str, frames: Tensor, predictions: Tensor) -> None:
    """Against what OpenSTL gave."""
    expected = PARITY[case]
    assert expected["shape"] == [2, 7, SIDE, SIDE, 1]
    field = predictions[:, :, 0]
    torch.testing.assert_close(float(field.sum()), expected["sum"], rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(float(field.abs().sum()), expected["abs_sum"], rtol=0, atol=TOLERANCE)
    loss = float(F.mse_loss(predictions, frames[:, 1:]))
    torch.testing.assert_close(loss, expected["loss"], rtol=0, atol=TOLERANCE)
    for values, key in (
        (field[0, -1, 0, :4], "last_frame_b0_row0_first4"),
        (field[1, -1, 7, 8:12], "last_frame_b1_row7_cols8_11"),
    ):
        torch.testing.assert_close(values.tolist(), expected[key], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("case", FIRST_CALLS)
def test_an_imported_model_forecasts_like_its_source(case: str, tmp_path: Path) -> None:
    path, said = saved(case, tmp_path)
    forecaster = read("openstl", path, **said).forecaster(dtype=torch.float64)
    frames, shown = video(), tokens("reverse" in case)
    with torch.no_grad():
        predictions = forecaster.rollout(frames, CONTEXT if "reverse" not in case else 1, tokens=shown).predictions
    held(case, frames, predictions)


@pytest.mark.parametrize("case", [name for name in PARITY if "2nd call" in name])
def test_the_leak_of_openstl_mim_is_not_imported_and_is_told(case: str, tmp_path: Path) -> None:
    first = case.removesuffix(" / 2nd call, state leaked")
    path, said = saved(first, tmp_path)
    imported = read("openstl", path, **said)
    assert any("never resets" in note and "first call" in note for note in imported.notes)
    forecaster = imported.forecaster(dtype=torch.float64)
    frames, shown = video(), tokens("reverse" in case)
    with torch.no_grad():
        once, again = (forecaster.rollout(frames, 1, tokens=shown).predictions for _ in range(2))
    assert once.equal(again)
    held(first, frames, again)
    assert abs(float(again.sum()) - PARITY[case]["sum"]) > 0.1


@pytest.mark.parametrize("model", ["ConvLSTM", "PredRNNpp"])
def test_the_two_versions_compute_different_things_with_the_same_file(model: str, tmp_path: Path) -> None:
    torch.save(parameters(model), tmp_path / "best.pth")
    said: dict[str, Any] = {"patch_size": 2, "size": (SIDE, SIDE)}
    with torch.no_grad():
        old, new = (
            read("openstl", tmp_path / "best.pth", semantics=version, **said).forecaster()(video().float(), 2)
            for version in ("openstl-0.3", "openstl-1.0")
        )
    assert (old - new).abs().max() > 1e-3
