"""E3D-LSTM (Wang et al. 2019) in plain NumPy, channels last: one convolution for each weight, attention by its sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .convolution import Array, sigmoid

Weights = Mapping[str, Array]
"""Kernels ``kd kh kw I O``: ``Wxi Wxg Wxr Wxo``, ``Whi ..``, ``W'xi W'xg W'xf``, ``Wmi Wmg Wmf``, ``Wco Wmo W1`` and,
where the memory is convolved, ``Wmm``. Offsets ``O`` of a gate (``bi .. b'f``) or of a kernel (``bWxi``); a missing one
is zero."""
Norm = tuple[Array, Array, float]
"""Gain and offset for each channel, and what is added to the variance."""


def convolve(x: Array, kernel: Array) -> Array:
    """``y[b, d, h, w] = sum over dz, dy, dx of x[b, d + dz - front, ..] @ kernel[dz, dy, dx]``, zero outside.

    ``front = (kd - 1) // 2``, and the other axes alike: where a side is even, the margin behind is the larger one.
    """
    batch, depth, height, width, _ = x.shape
    kd, kh, kw, _, out = kernel.shape
    y = np.zeros((batch, depth, height, width, out))
    for d, h, w in np.ndindex(depth, height, width):
        for dz, dy, dx in np.ndindex(kd, kh, kw):
            z, row, column = d + dz - (kd - 1) // 2, h + dy - (kh - 1) // 2, w + dx - (kw - 1) // 2
            if 0 <= z < depth and 0 <= row < height and 0 <= column < width:
                y[:, d, h, w] += x[:, z, row, column] @ kernel[dz, dy, dx]
    return y


def layer_norm(x: Array, gain: Array, offset: Array, eps: float) -> Array:
    """Moments over everything but the batch; gain and offset for each channel."""
    return np.stack([gain * (one - one.mean()) / np.sqrt(one.var() + eps) + offset for one in x])


def recall(r: Array, memories: Sequence[Array]) -> Array:
    """``softmax(R . memories^T) . memories``, for every cell of ``R`` (``B D H W C``) by itself; no scaling."""
    found = np.zeros_like(r)
    for b, *cell in np.ndindex(*r.shape[:-1]):
        keys = np.concatenate([memory[b].reshape(-1, r.shape[-1]) for memory in memories])
        scores = np.array([np.dot(r[(b, *cell)], key) for key in keys])
        weights = np.exp(scores - scores.max())
        found[(b, *cell)] = (weights[:, None] * keys).sum(0) / weights.sum()
    return found


def step(
    p: Weights,
    x: Array,
    h: Array,
    c: Array,
    m: Array,
    memories: Sequence[Array],
    norms: Mapping[str, Norm],
    *,
    plain: bool,
    forget_bias: float,
) -> tuple[Array, Array, Array]:
    """The new ``H``, ``C`` and ``M`` of one layer; ``memories``: the past ``C`` that are attended to.

    ``norms`` may name ``c`` (of ``C' + RECALL``) and ``x``, ``h``, ``m`` (of each source's joint response). ``plain``:
    the equations as printed; else the memory M is convolved and the output gate squashed twice, as released.
    """
    zero = np.zeros(1)

    def responses(source: Array, key: str, weights: list[str], names: list[str]) -> dict[str, Array]:
        joint = np.concatenate([convolve(source, p[weight]) + p.get(f"b{weight}", zero) for weight in weights], -1)
        joint = layer_norm(joint, *norms[key]) if key in norms else joint
        return dict(zip(names, np.split(joint, len(weights), -1), strict=True))

    def b(name: str) -> Array:
        return p.get(name, zero)

    from_x = responses(
        x, "x", ["Wxi", "Wxg", "Wxr", "Wxo", "W'xi", "W'xg", "W'xf"], ["i", "g", "r", "o", "i'", "g'", "f'"]
    )
    # The order in which gates stand beside each other matters to no sum, and to no joint moment.
    from_h = responses(h, "h", ["Whi", "Whg", "Whr", "Who"], ["i", "g", "r", "o"])
    memory_weights = ["Wmi", "Wmg", "Wmf"] if plain else ["Wmi", "Wmg", "Wmf", "Wmm"]
    from_m = responses(m, "m", memory_weights, ["i'", "g'", "f'", "m'"][: len(memory_weights)])

    r = sigmoid(from_x["r"] + from_h["r"] + b("br"))
    i = sigmoid(from_x["i"] + from_h["i"] + b("bi"))
    g = np.tanh(from_x["g"] + from_h["g"] + b("bg"))
    kept = c + (recall(r, memories) if memories else 0)
    c = i * g + (layer_norm(kept, *norms["c"]) if "c" in norms else kept)

    i2 = sigmoid(from_x["i'"] + from_m["i'"] + b("b'i"))
    g2 = np.tanh(from_x["g'"] + from_m["g'"] + b("b'g"))
    f2 = sigmoid(from_x["f'"] + from_m["f'"] + b("b'f") + forget_bias)
    m = i2 * g2 + f2 * (m if plain else np.tanh(from_m["m'"]))

    o = from_x["o"] + from_h["o"] + b("bo")
    o = o + convolve(c, p["Wco"]) + b("bWco") + convolve(m, p["Wmo"]) + b("bWmo")
    gate = sigmoid(o) if plain else sigmoid(np.tanh(o))
    h = gate * np.tanh(convolve(np.concatenate([c, m], -1), p["W1"]) + b("bW1"))
    return h, c, m


def free_run(
    layers: Sequence[Weights],
    norms: Sequence[Mapping[str, Norm]],
    head: Array,
    offset: Array,
    frames: Array,
    horizon: int,
    tau: int,
    *,
    depth: int,
    plain: bool,
    forget_bias: float,
) -> Array:
    """``B T H W I -> B horizon H W I`` over a window of ``depth`` frames; ``head``: ``depth I O``."""
    batch, steps, height, width, channels = frames.shape
    widths = [p["Whi"].shape[-1] for p in layers]
    zeros = [np.zeros((batch, depth, height, width, n)) for n in widths]
    h, c = list(zeros), list(zeros)
    past: list[list[Array]] = [[] for _ in layers]
    m = zeros[0]
    window = [np.zeros((batch, height, width, channels))] * depth
    forecasts: list[Array] = []
    for t in range(steps + horizon - 1):
        window = [*window[1:], frames[:, t] if t < steps else forecasts[-1]]
        x = np.stack(window, 1)
        for n, p in enumerate(layers):
            h[n], c[n], m = step(p, x, h[n], c[n], m, past[n][-tau:], norms[n], plain=plain, forget_bias=forget_bias)
            past[n].append(c[n])
            x = h[n]
        if t >= steps - 1:
            forecasts.append(sum(x[:, d] @ head[d] for d in range(depth)) + offset)
    return np.stack(forecasts, 1)
