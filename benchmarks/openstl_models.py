"""OpenSTL's models out of a checkout that the caller names, and stkit's with the same weights.

Only the files of the models are loaded, as they are: the packages around them, whose start loads data sets and other
networks, are left out.

Axes: ``B`` batch, ``T`` time, ``C`` channels, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import stkit
from stkit.interop import read

STEPS = 10
"""Frames given, and frames forecast."""
PATCH = 4
LAYERS = 4
MODELS = {
    "convlstm": ("convlstm", "ConvLSTM_Model"),
    "predrnn": ("predrnn", "PredRNN_Model"),
    "predrnnpp": ("predrnnpp", "PredRNNpp_Model"),
    "mim": ("mim", "MIM_Model"),
    "e3d_lstm": ("e3dlstm", "E3DLSTM_Model"),
}
"""By the name that stkit has for each: the module in ``openstl/models``, and the class in it."""
SAME_WEIGHTS = frozenset(MODELS) - {"e3d_lstm"}
"""Whose weights stkit imports. OpenSTL's E3D-LSTM computes what no option of stkit's does."""


def load(checkout: Path) -> None:
    """Make the model files of a checkout importable.

    Raises:
        SystemExit: if it is none.
    """
    root = checkout / "openstl"
    if not (root / "models" / "predrnn_model.py").is_file():
        raise SystemExit(f"{checkout} has no openstl/models/predrnn_model.py: name a checkout of OpenSTL")
    for name, path in (("openstl", root), ("openstl.models", root / "models"), ("openstl.modules", root / "modules")):
        package = types.ModuleType(name)
        package.__path__ = [str(path)]
        sys.modules[name] = package
    for name in ("convlstm", "predrnn", "predrnnpp", "mim", "e3dlstm"):
        cells = importlib.import_module(f"openstl.modules.{name}_modules")
        public = {key: value for key, value in vars(cells).items() if isinstance(value, type)}
        vars(sys.modules["openstl.modules"]).update(public)


def theirs(model: str, hidden: int, kernel: int, size: int) -> Any:
    """One of OpenSTL's networks for frames of ``size`` x ``size`` cells, as its configurations for Moving MNIST."""
    file, name = MODELS[model]
    configs = types.SimpleNamespace(
        in_shape=(STEPS, 1, size, size),
        pre_seq_length=STEPS,
        aft_seq_length=STEPS,
        patch_size=PATCH,
        filter_size=kernel,
        stride=1,
        layer_norm=0,
        reverse_scheduled_sampling=0,
    )
    torch.manual_seed(0)
    return getattr(importlib.import_module(f"openstl.models.{file}_model"), name)(LAYERS, [hidden] * LAYERS, configs)


def ours(model: str, hidden: int, kernel: int, size: int, network: Any) -> Any:
    """stkit's model with the weights of ``network``; E3D-LSTM, which cannot have them, with its own."""
    if model in SAME_WEIGHTS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.pth"
            torch.save(network.state_dict(), path)
            forecaster = read("openstl", path, patch_size=PATCH, size=(size, size), semantics="openstl-1.0")
            return forecaster.forecaster().train()
    torch.manual_seed(0)
    return stkit.build(
        "e3d_lstm",
        layers=[{"width": 1, "cell": {"name": "frame_window", "depth": 2}}, *[hidden] * LAYERS],
        patch=PATCH,
        cell={"kernel": [2, kernel, kernel], "bias": "none", "norm": None},
        transition={"tau": None, "maximum": 2 * STEPS, "start": True},
        head={"bias": False},
    )


def folded(frames: Tensor) -> Tensor:
    """``B T 1 H W -> B T H/p W/p p*p``, as OpenSTL folds patches."""
    batch, steps, _, height, width = frames.shape
    cells = frames.view(batch, steps, height // PATCH, PATCH, width // PATCH, PATCH)
    return cells.permute(0, 1, 2, 4, 3, 5).reshape(batch, steps, height // PATCH, width // PATCH, PATCH**2)


def unfolded(patches: Tensor) -> Tensor:
    """The inverse of :func:`folded`."""
    batch, steps, height, width, _ = patches.shape
    cells = patches.view(batch, steps, height, width, PATCH, PATCH).permute(0, 1, 2, 4, 3, 5)
    return cells.reshape(batch, steps, 1, height * PATCH, width * PATCH)


def forget(network: Any) -> None:
    """Clear what OpenSTL's MIM leaves on its modules from one sequence to the next."""
    for part in network.modules():
        if hasattr(part, "convlstm_c"):
            part.convlstm_c = None
