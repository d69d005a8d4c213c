"""The cell of OpenSTL 0.3 with a norm, for which there are no reference values: against the whole cell, by hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from stkit.interop import read

from .openstl_models import parameters, video


def test_with_a_norm_the_moments_are_those_of_all_four_gates(tmp_path) -> None:
    state = parameters("ConvLSTM", norm=True)
    torch.save(state, tmp_path / "convlstm.pth")
    imported = read("openstl", tmp_path / "convlstm.pth", patch_size=2, semantics="openstl-0.3")
    forecaster = imported.forecaster(dtype=torch.float64)
    frame = video()[:, 0]
    with torch.no_grad():
        found = forecaster(frame[:, None], 1)[:, 0]

    signal = frame.reshape(2, 8, 2, 8, 2).permute(0, 2, 4, 1, 3).flatten(1, 2)  # B h dy w dx -> B (dy dx) h w
    hidden = torch.zeros(2, 8, 8, 8, dtype=torch.float64)
    for layer in range(2):
        total = 0
        for name, source in (("conv_x", signal), ("conv_h", hidden)):
            kernel, gain, offset = (
                state[f"cell_list.{layer}.{name}.{part}"] for part in ("0.weight", "1.weight", "1.bias")
            )
            total = total + F.layer_norm(F.conv2d(source, kernel, padding=2), gain.shape, gain, offset)
        _, _, g, o = total.chunk(4, dim=1)
        signal = o.sigmoid() * g.tanh()
    expected = F.conv2d(signal, state["conv_last.weight"])
    expected = expected.reshape(2, 2, 2, 8, 8).permute(0, 3, 1, 4, 2).reshape(2, 1, 16, 16)
    assert (found - expected).abs().max() < 1e-12
