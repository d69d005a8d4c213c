"""MIM (Wang et al. 2019) as printed, in plain NumPy, channels last: one convolution for each weight."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .convolution import Array, convolve, sigmoid
from .predrnnpp import Biases, Norms, Weights, responses, second_half


class Part(NamedTuple):
    """The weights of one part: kernels, biases and norms as in :mod:`tests.oracles.predrnnpp`."""

    p: Weights
    b: Biases
    norms: Norms


class Memories(NamedTuple):
    """What one layer keeps."""

    h: Array
    c: Array
    n: Array
    s: Array


def mim_n(part: Part, change: Array, n: Array) -> tuple[Array, Array]:
    """``D`` and the new ``N``. The sources are called ``x`` (the change), ``n``, and ``N`` when it is new."""
    p, b, norms = part
    of_x, of_n = responses(p, norms, "x", change), responses(p, norms, "n", n)
    g = np.tanh(of_x["g"] + of_n["g"] + b["g"])
    i = sigmoid(of_x["i"] + of_n["i"] + b["i"])
    f = sigmoid(of_x["f"] + of_n["f"] + b["f"])
    n = f * n + i * g
    o = sigmoid(of_x["o"] + responses(p, norms, "N", n)["o"] + b["o"])
    return o * np.tanh(n), n


def mim_s(part: Part, d: Array, c: Array, s: Array) -> tuple[Array, Array]:
    """``T`` and the new ``S``. The sources are called ``d``, ``c``, and ``S`` when it is new."""
    p, b, norms = part
    of_d, of_c = responses(p, norms, "d", d), responses(p, norms, "c", c)
    g = np.tanh(of_d["g"] + of_c["g"] + b["g"])
    i = sigmoid(of_d["i"] + of_c["i"] + b["i"])
    f = sigmoid(of_d["f"] + of_c["f"] + b["f"])
    s = f * s + i * g
    o = sigmoid(of_d["o"] + of_c["o"] + responses(p, norms, "S", s)["o"] + b["o"])
    return o * np.tanh(s), s


def differences(
    n_part: Part, s_part: Part, x: Array, before: Array | None, old: Memories
) -> tuple[Array, Array, Array]:
    """``T``, ``N`` and ``S`` of a layer whose input was ``before``; None at the first step."""
    d, n = (np.zeros_like(old.n), old.n) if before is None else mim_n(n_part, x - before, old.n)
    t, s = mim_s(s_part, d, old.c, old.s)
    return t, n, s


def st_lstm_step(
    cell: Part, n_part: Part, s_part: Part, x: Array, before: Array | None, old: Memories, m: Array
) -> tuple[Memories, Array]:
    """The layer's memories and ``M``. The sources are ``x h m``, and ``CM`` when both are new."""
    p, b, norms = cell
    of_x, of_h, of_m = responses(p, norms, "x", x), responses(p, norms, "h", old.h), responses(p, norms, "m", m)
    t, n, s = differences(n_part, s_part, x, before, old)
    c = t + sigmoid(of_x["i"] + of_h["i"] + b["i"]) * np.tanh(of_x["g"] + of_h["g"] + b["g"])
    i = sigmoid(of_x["i'"] + of_m["i'"] + b["i'"])
    f = sigmoid(of_x["f'"] + of_m["f'"] + b["f'"])
    m = f * m + i * np.tanh(of_x["g'"] + of_m["g'"] + b["g'"])
    both = np.concatenate([c, m], -1)
    o = sigmoid(of_x["o"] + of_h["o"] + responses(p, norms, "CM", both)["o"] + b["o"])
    return Memories(o * np.tanh(convolve(both, p["W1", "h"])), c, n, s), m


def causal_step(
    cell: Part, n_part: Part, s_part: Part, x: Array, before: Array | None, old: Memories, m: Array
) -> tuple[Memories, Array]:
    """MIM*: the forget gate of ``C`` in a Causal LSTM replaced by MIM."""
    p, b, norms = cell
    of_x, of_h, of_c = responses(p, norms, "x", x), responses(p, norms, "h", old.h), responses(p, norms, "c", old.c)
    t, n, s = differences(n_part, s_part, x, before, old)
    i = sigmoid(of_x["i"] + of_h["i"] + of_c["i"] + b["i"])
    c = t + i * np.tanh(of_x["g"] + of_h["g"] + of_c["g"] + b["g"])
    h, c, m = second_half(p, b, norms, of_x, c, m)
    return Memories(h, c, n, s), m
