"""OpenSTL's models as files: parameters with the names and shapes of its code, and numbers made by a formula.

The formula, and what OpenSTL computed with these parameters, are in ``openstl_parity.json``: executed once with OpenSTL
c74deb5 (and the cells of its version 0.3.0) in float64.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PARITY: dict[str, Any] = json.loads((Path(__file__).parent / "openstl_parity.json").read_text())["cases"]
WIDTH, PATCH, SIDE, GRID = 8, 2, 16, (8, 8)
FOLDED = PATCH * PATCH
STEPS, CONTEXT = 8, 4


def parameters(model: str, norm: bool = False) -> dict[str, Tensor]:
    """The ``state_dict`` of one of OpenSTL's models, two layers of 8."""
    shapes = {
        "ConvLSTM": _conv_lstm,
        "PredRNN": _predrnn,
        "PredRNNpp": _predrnnpp,
        "MIM": _mim,
        "E3DLSTM": _e3d_lstm,
    }[model](norm)
    found: dict[str, Tensor] = {}
    for number, name in enumerate(sorted(shapes), start=1):
        values = 0.3 * (noise(int(np.prod(shapes[name])), number) - 0.5)
        gain = 1.0 if name.endswith((".1.weight", "_norm_c_t.weight")) else 0.0
        found[name] = torch.from_numpy(values + gain).reshape(shapes[name])
    return found


def video() -> Tensor:
    """``2 8 1 16 16``."""
    size = (2, STEPS, 1, SIDE, SIDE)
    return torch.from_numpy(noise(int(np.prod(size)), 0)).reshape(size)


def tokens(reverse: bool) -> Tensor:
    """``2 6``: which inputs after the first one are true frames."""
    count = STEPS - 2 if reverse else STEPS - CONTEXT - 1
    drawn = (torch.arange(2)[:, None] + torch.arange(count)) % 2 == 0
    shown = torch.ones(2, STEPS - 2 - count, dtype=torch.bool)
    return torch.cat([shown, drawn], dim=1)


def lightning(state: dict[str, Tensor], **settings: Any) -> dict[str, Any]:
    """What Lightning saves of OpenSTL's method around the network."""
    return {
        "epoch": 3,
        "global_step": 120,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": {f"model.{name}": value for name, value in state.items()},
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {
            "BestCheckpointCallback": {"best_model_score": torch.tensor(0.1), "best_model_path": "best.ckpt"}
        },
        "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3}]}],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {
            "in_shape": [CONTEXT, 1, SIDE, SIDE],
            "patch_size": PATCH,
            "pre_seq_length": CONTEXT,
            "aft_seq_length": STEPS - CONTEXT,
            "stride": 1,
            "num_hidden": f"{WIDTH},{WIDTH}",
            "test_mean": np.zeros((1, 1, 1, 1), np.float32),
            "test_std": np.float64(1.0),
            "metrics": ["mse", "mae"],
            **settings,
        },
    }


def noise(count: int, number: int) -> NDArray[np.float64]:
    """A hash of ``0 .. count-1`` and ``number`` in [0, 1)."""
    mask = np.uint64(0xFFFFFFFF)
    h = (np.arange(count, dtype=np.uint64) * np.uint64(2654435761) + np.uint64(number * 40503 * 65537 + 12345)) & mask
    for shift, factor in ((15, 2246822519), (13, 3266489917), (16, 1)):
        h = ((h ^ (h >> np.uint64(shift))) * np.uint64(factor)) & mask
    found: NDArray[np.float64] = h.astype(np.float64) / 2**32
    return found


Shapes = dict[str, tuple[int, ...]]


def _convolution(
    name: str, outs: int, ins: int, norm: bool, kernel: tuple[int, ...] = (5, 5), inner: str = ""
) -> Shapes:
    gains = (outs, *GRID) if len(kernel) == 2 else (outs, 2, *GRID)
    shapes: Shapes = {f"{name}.0.{inner}weight": (outs, ins, *kernel)}
    return shapes | ({f"{name}.1.weight": gains, f"{name}.1.bias": gains} if norm else {})


def _conv_lstm(norm: bool) -> Shapes:
    shapes: Shapes = {"conv_last.weight": (FOLDED, WIDTH, 1, 1)}
    for layer, ins in enumerate((FOLDED, WIDTH)):
        cell = f"cell_list.{layer}"
        shapes |= _convolution(f"{cell}.conv_x", 4 * WIDTH, ins, norm)
        shapes |= _convolution(f"{cell}.conv_h", 4 * WIDTH, WIDTH, norm)
        shapes |= _convolution(f"{cell}.conv_o", WIDTH, 2 * WIDTH, norm)
        shapes[f"{cell}.conv_last.weight"] = (WIDTH, 2 * WIDTH, 1, 1)
    return shapes


def _predrnn(norm: bool) -> Shapes:
    shapes: Shapes = {"conv_last.weight": (FOLDED, WIDTH, 1, 1)}
    return shapes | _st_lstm("cell_list.0", FOLDED, norm) | _st_lstm("cell_list.1", WIDTH, norm)


def _st_lstm(cell: str, ins: int, norm: bool) -> Shapes:
    return {
        **_convolution(f"{cell}.conv_x", 7 * WIDTH, ins, norm),
        **_convolution(f"{cell}.conv_h", 4 * WIDTH, WIDTH, norm),
        **_convolution(f"{cell}.conv_m", 3 * WIDTH, WIDTH, norm),
        **_convolution(f"{cell}.conv_o", WIDTH, 2 * WIDTH, norm),
        f"{cell}.conv_last.weight": (WIDTH, 2 * WIDTH, 1, 1),
    }


def _predrnnpp(norm: bool) -> Shapes:
    shapes = _predrnn(norm)
    for layer in range(2):
        cell = f"cell_list.{layer}"
        shapes |= _convolution(f"{cell}.conv_c", 3 * WIDTH, WIDTH, norm)
        shapes |= _convolution(f"{cell}.conv_c2m", 4 * WIDTH, WIDTH, norm)
        shapes |= _convolution(f"{cell}.conv_om", WIDTH, WIDTH, norm)
    for name in ("x_concat", "z_concat"):
        shapes |= _convolution(f"gradient_highway.{name}", 2 * WIDTH, WIDTH, False)
        if norm:  # with half of the channels, so that it cannot run
            shapes |= {f"gradient_highway.{name}.1.{part}": (WIDTH, *GRID) for part in ("weight", "bias")}
    return shapes


def _mim(norm: bool) -> Shapes:
    block, unit = "stlstm_layer.1", "stlstm_layer_diff.0"
    shapes: Shapes = {"conv_last.weight": (FOLDED, WIDTH, 1, 1)} | _st_lstm("stlstm_layer.0", FOLDED, norm)
    shapes |= _convolution(f"{block}.conv_t_cc", 3 * WIDTH, WIDTH, norm)
    shapes |= _convolution(f"{block}.conv_s_cc", 4 * WIDTH, WIDTH, norm)
    shapes |= _convolution(f"{block}.conv_x_cc", 4 * WIDTH, WIDTH, norm)
    shapes[f"{block}.conv_last.weight"] = (WIDTH, 2 * WIDTH, 1, 1)
    shapes[f"{unit}.conv_last.weight"] = (WIDTH, 2 * WIDTH, 1, 1)
    for name in (block, unit):
        shapes |= _convolution(f"{name}.conv_h_concat", 4 * WIDTH, WIDTH, norm)
        shapes |= _convolution(f"{name}.conv_x_concat", 4 * WIDTH, WIDTH, norm)
        shapes |= {f"{name}.ct_weight": (2 * WIDTH, *GRID), f"{name}.oc_weight": (WIDTH, *GRID)}
    return shapes


def _e3d_lstm(norm: bool) -> Shapes:
    shapes: Shapes = {"conv_last.weight": (FOLDED, WIDTH, 2, 1, 1)}
    for layer, ins in enumerate((FOLDED, WIDTH)):
        cell = f"cell_list.{layer}"
        for name, outs, channels in (
            ("conv_x", 7, ins),
            ("conv_h", 4, WIDTH),
            ("conv_gm", 4, WIDTH),
            ("conv_new_cell", 1, WIDTH),
            ("conv_new_gm", 1, WIDTH),
        ):
            shapes |= _convolution(f"{cell}.{name}", outs * WIDTH, channels, norm, (2, 5, 5), "conv3d.")
        shapes[f"{cell}.conv_last.conv3d.weight"] = (WIDTH, 2 * WIDTH, 1, 1, 1)
        shapes |= {f"{cell}._norm_c_t.{part}": (WIDTH, 2, *GRID) for part in ("weight", "bias")}
    return shapes
