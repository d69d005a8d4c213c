"""The cell computes its equations, here once more in plain NumPy."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from stkit_convgru import cell


def convolved(weight, field):
    """Zeros around the field, so that it keeps its size."""
    size = weight.shape[-1]
    margin = ((size - 1) // 2, size // 2)
    padded = np.pad(field, ((0, 0), (0, 0), margin, margin))
    windows = sliding_window_view(padded, (size, size), axis=(2, 3))
    return np.einsum("oikl,bihwkl->bohw", weight, windows)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    batch=st.integers(1, 2),
    in_channels=st.integers(1, 3),
    width=st.integers(1, 3),
    kernel=st.integers(1, 4),
)
def test_a_step_is_the_equations(seed, batch, in_channels, width, kernel):
    torch.manual_seed(seed)
    mine = cell.ConvGruCell(in_channels, width, kernel=kernel).double()
    for weight in mine.parameters():
        torch.nn.init.normal_(weight)
    x = torch.randn(batch, in_channels, 4, 5, dtype=torch.float64)
    h = torch.randn(batch, width, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        found = mine.step(x, {"h": h}, {}).y.numpy()

    weights = {name: value.detach().numpy() for name, value in mine.named_parameters()}
    wxz, wxr = np.split(weights["gates.kernels.x"], 2)
    whz, whr = np.split(weights["gates.kernels.h"], 2)
    wxn, whn = weights["candidate.kernels.x"], weights["candidate.kernels.h"]
    (bz, br), (bn,) = weights["gates.bias"], weights["candidate.bias"]
    x, h = x.numpy(), h.numpy()
    z = sigmoid(convolved(wxz, x) + convolved(whz, h) + bz)
    r = sigmoid(convolved(wxr, x) + convolved(whr, h) + br)
    n = np.tanh(convolved(wxn, x) + convolved(whn, r * h) + bn)
    np.testing.assert_allclose(found, (1 - z) * h + z * n, rtol=0, atol=1e-12)
