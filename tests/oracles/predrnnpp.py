"""PredRNN++ (Wang et al. 2018) as printed, in plain NumPy, channels last: one convolution for each weight."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .convolution import Array, convolve, layer_norm, sigmoid

Weights = Mapping[tuple[str, str], Array]
"""``kh kw I O`` by what is convolved and for which gate: ``x``, the states of the step before ``h c`` and the arriving
``m``, the new ``C`` and ``M``, and both together ``CM``. Gates: ``i f g``, ``i' f' g'``, ``o``, ``w3``, ``h``."""
Biases = Mapping[str, Array]
"""``O`` for each gate."""
Norms = Mapping[str, tuple[Array, Array]]
"""Gain and offset for all gates together of what is convolved; W3 and W5 have no norm."""


def responses(p: Weights, norms: Norms, source: str, field: Array) -> dict[str, Array]:
    """The convolutions of one field for each of its gates, normed together."""
    gates = [gate for own, gate in p if own == source]
    joint = np.concatenate([convolve(field, p[source, gate]) for gate in gates], -1)
    if source in norms:
        joint = layer_norm(joint, *norms[source])
    return dict(zip(gates, np.split(joint, len(gates), -1), strict=True))


def causal_step(
    p: Weights, b: Biases, norms: Norms, x: Array, h: Array, c: Array, m: Array
) -> tuple[Array, Array, Array]:
    """The new ``H``, ``C`` and ``M`` of a Causal LSTM."""
    of_x, of_h, of_c = responses(p, norms, "x", x), responses(p, norms, "h", h), responses(p, norms, "c", c)
    i = sigmoid(of_x["i"] + of_h["i"] + of_c["i"] + b["i"])
    f = sigmoid(of_x["f"] + of_h["f"] + of_c["f"] + b["f"])
    g = np.tanh(of_x["g"] + of_h["g"] + of_c["g"] + b["g"])
    return second_half(p, b, norms, of_x, f * c + i * g, m)


def second_half(
    p: Weights, b: Biases, norms: Norms, of_x: Mapping[str, Array], c: Array, m: Array
) -> tuple[Array, Array, Array]:
    """From the new ``C`` to ``H``: the cascade that is the same whatever made ``C``."""
    of_c, of_m = responses(p, norms, "C", c), responses(p, norms, "m", m)
    i = sigmoid(of_x["i'"] + of_c["i'"] + of_m["i'"] + b["i'"])
    f = sigmoid(of_x["f'"] + of_c["f'"] + of_m["f'"] + b["f'"])
    g = np.tanh(of_x["g'"] + of_c["g'"] + of_m["g'"] + b["g'"])
    m = f * np.tanh(convolve(m, p["w3", "w3"])) + i * g
    o = np.tanh(of_x["o"] + of_c["o"] + responses(p, norms, "M", m)["o"] + b["o"])
    return o * np.tanh(convolve(np.concatenate([c, m], -1), p["CM", "h"])), c, m


def highway_step(p: Weights, b: Biases, norms: Norms, x: Array, z: Array) -> Array:
    """The new ``Z`` of the Gradient Highway Unit."""
    of_x, of_z = responses(p, norms, "x", x), responses(p, norms, "z", z)
    proposal = np.tanh(of_x["p"] + of_z["p"] + b["p"])
    switch = sigmoid(of_x["s"] + of_z["s"] + b["s"])
    return switch * proposal + (1 - switch) * z
