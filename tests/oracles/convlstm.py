"""ConvLSTM (Shi et al. 2015), equation 3 and the encoder-forecaster of section 3.3, in plain NumPy, channels last."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .convolution import Array, convolve, sigmoid

Weights = Mapping[str, Array]
"""``Wxi .. Wxo`` and ``Whi .. Who`` as ``kh kw I O``; ``Wci Wcf Wco`` as ``O`` or ``H W O``; ``bi bf bc bo``: ``O``."""


def step(p: Weights, x: Array | None, h: Array, c: Array) -> tuple[Array, Array]:
    """The new ``H`` and ``C``. Without ``x`` there is no input term; a weight that is missing counts as zero."""

    def term(gate: str) -> Array:
        total = convolve(h, p[f"Wh{gate}"]) + p.get(f"b{gate}", np.zeros(1))
        return total if x is None else total + convolve(x, p[f"Wx{gate}"])

    none = np.zeros(1)
    i = sigmoid(term("i") + p.get("Wci", none) * c)
    f = sigmoid(term("f") + p.get("Wcf", none) * c)
    c = f * c + i * np.tanh(term("c"))
    o = sigmoid(term("o") + p.get("Wco", none) * c)
    return o * np.tanh(c), c


def encode_and_forecast(
    encoder: list[Weights], forecaster: list[Weights], head: Array, offset: Array, frames: Array, horizon: int
) -> Array:
    """``B T H W I -> B horizon H W O``: the forecaster starts from the encoder's states and has no input."""
    batch, steps, height, width, _ = frames.shape
    widths = [p["Whi"].shape[-1] for p in encoder]
    states = [(np.zeros((batch, height, width, n)), np.zeros((batch, height, width, n))) for n in widths]
    for t in range(steps):
        x: Array | None = frames[:, t]
        for layer, p in enumerate(encoder):
            states[layer] = step(p, x, *states[layer])
            x = states[layer][0]
    forecasts = []
    for _ in range(horizon):
        x = None
        for layer, p in enumerate(forecaster):
            states[layer] = step(p, x, *states[layer])
            x = states[layer][0]
        forecasts.append(convolve(np.concatenate([h for h, _ in states], -1), head) + offset)
    return np.stack(forecasts, 1)
