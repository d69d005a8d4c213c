"""Self-attention and its memory (Lin et al. 2020) in plain NumPy, channels last: each cell by its sum."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .convolution import Array, convolve, sigmoid

Weights = Mapping[str, Array]


def attend(q: Array, k: Array, v: Array) -> Array:
    """``Z_i = sum over j of softmax_j(q_i . k_j) v_j``, for all cells ``i`` and ``j`` of each sample; ``B H W C``."""
    z = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, *cell in np.ndindex(*q.shape[:-1]):
        scores = k[b].reshape(-1, k.shape[-1]) @ q[(b, *cell)]
        weights = np.exp(scores - scores.max())
        z[(b, *cell)] = weights @ v[b].reshape(-1, v.shape[-1]) / weights.sum()
    return z


def self_attention(p: Weights, x: Array, *, residual: bool = True) -> Array:
    """``Wf Z + X``; ``Wq Wk Wv Wf``: I O, and ``bq ..`` where there are offsets."""
    q, k, v = (x @ p[f"W{n}"] + p.get(f"b{n}", np.zeros(1)) for n in "qkv")
    z = attend(q, k, v) @ p["Wf"] + p.get("bf", np.zeros(1))
    return z + x if residual else z


def memory(p: Weights, h: Array, m: Array) -> tuple[Array, Array]:
    """The new ``H`` and ``M``. A gate ``n`` has ``dn`` (depth-wise, kh kw C), ``Wn`` (C O), ``bn``; on ``[Z, H]``."""
    q = h @ p["Wq"]
    z_h = attend(q, h @ p["Wk"], h @ p["Wv"])
    z_m = attend(q, m @ p["Wmk"], m @ p["Wmv"])
    both = np.concatenate([np.concatenate([z_h, z_m], -1) @ p["Wz"], h], -1)

    def gate(name: str) -> Array:
        kernel = p[f"d{name}"]
        # A depth-wise kernel is one that mixes no channels.
        deep = convolve(both, kernel[..., None] * np.eye(kernel.shape[-1]))
        return deep @ p[f"W{name}"] + p[f"b{name}"]

    i = sigmoid(gate("i"))
    m = (1 - i) * m + i * np.tanh(gate("g"))
    return sigmoid(gate("o")) * m, m
