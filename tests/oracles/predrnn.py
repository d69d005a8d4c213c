"""PredRNN (Wang et al. 2017) as printed, in plain NumPy, channels last: one convolution for each weight."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .convolution import Array, convolve, layer_norm, sigmoid

Weights = Mapping[str, Array]
"""``Wxg .. Wxo``, ``Wx'g ..``, ``Whg ..``, ``Wmg ..`` (of the second memory's gates), ``Wco``, ``Wmo``, ``W1`` as
``kh kw I O``; ``bg bi bf bo b'g b'i b'f`` as ``O``."""


def step(p: Weights, x: Array, h: Array, c: Array, m: Array, forget_bias: float = 0.0) -> tuple[Array, Array, Array]:
    """The new ``H``, ``C`` and ``M`` of one layer, without a norm."""
    zero = np.zeros(1)

    def b(name: str) -> Array:
        return p.get(name, zero)

    g = np.tanh(convolve(x, p["Wxg"]) + convolve(h, p["Whg"]) + b("bg"))
    i = sigmoid(convolve(x, p["Wxi"]) + convolve(h, p["Whi"]) + b("bi"))
    f = sigmoid(convolve(x, p["Wxf"]) + convolve(h, p["Whf"]) + b("bf") + forget_bias)
    c = f * c + i * g
    g2 = np.tanh(convolve(x, p["Wx'g"]) + convolve(m, p["Wmg"]) + b("b'g"))
    i2 = sigmoid(convolve(x, p["Wx'i"]) + convolve(m, p["Wmi"]) + b("b'i"))
    f2 = sigmoid(convolve(x, p["Wx'f"]) + convolve(m, p["Wmf"]) + b("b'f") + forget_bias)
    m = f2 * m + i2 * g2
    o = sigmoid(convolve(x, p["Wxo"]) + convolve(h, p["Who"]) + convolve(c, p["Wco"]) + convolve(m, p["Wmo"]) + b("bo"))
    return o * np.tanh(convolve(np.concatenate([c, m], -1), p["W1"])), c, m


def normed_step(
    p: Weights, norms: Mapping[str, tuple[Array, Array]], x: Array, h: Array, c: Array, m: Array
) -> tuple[Array, Array, Array]:
    """The same with a layer norm on the joint response of each source (``x``, ``h``, ``m`` and ``[C, M]``)."""

    def response(source: Array, weights: list[str], norm: str) -> list[Array]:
        joint = np.concatenate([convolve(source, p[name]) for name in weights], -1)
        return np.split(layer_norm(joint, *norms[norm]), len(weights), -1)

    xi, xf, xg, xi2, xf2, xg2, xo = response(x, ["Wxi", "Wxf", "Wxg", "Wx'i", "Wx'f", "Wx'g", "Wxo"], "x")
    hi, hf, hg, ho = response(h, ["Whi", "Whf", "Whg", "Who"], "h")
    mi, mf, mg = response(m, ["Wmi", "Wmf", "Wmg"], "m")
    c = sigmoid(xf + hf + p["bf"]) * c + sigmoid(xi + hi + p["bi"]) * np.tanh(xg + hg + p["bg"])
    m = sigmoid(xf2 + mf + p["b'f"]) * m + sigmoid(xi2 + mi + p["b'i"]) * np.tanh(xg2 + mg + p["b'g"])
    memory = layer_norm(convolve(c, p["Wco"]) + convolve(m, p["Wmo"]), *norms["o"])
    o = sigmoid(xo + ho + memory + p["bo"])
    return o * np.tanh(convolve(np.concatenate([c, m], -1), p["W1"])), c, m


def free_run(layers: list[Weights], head: Array, frames: Array, horizon: int, forget_bias: float) -> Array:
    """``B T H W I -> B horizon H W I``: after the frames each forecast is the next input; ``M`` goes in zigzag."""
    batch, steps, height, width, _ = frames.shape
    zeros = [np.zeros((batch, height, width, p["Whi"].shape[-1])) for p in layers]
    states = [(zero, zero) for zero in zeros]
    m = zeros[0]
    forecasts: list[Array] = []
    for t in range(steps + horizon - 1):
        x = frames[:, t] if t < steps else forecasts[-1]
        for layer, p in enumerate(layers):
            h, c, m = step(p, x, *states[layer], m, forget_bias)
            states[layer], x = (h, c), h
        if t >= steps - 1:
            forecasts.append(convolve(x, head))
    return np.stack(forecasts, 1)
