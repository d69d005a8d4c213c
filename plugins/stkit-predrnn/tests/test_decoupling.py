"""The loss of PredRNN-V2, against its formula in plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stkit_predrnn.config import DecouplingConfig
from stkit_predrnn.decoupling import DecouplingLoss
from torch import Tensor

from stkit.train.losses import LossSite

F64 = torch.float64


def by_products(seed: int, batch: int, steps: int, layers: int, width: int) -> list[tuple[dict[str, Tensor], ...]]:
    generator = torch.Generator().manual_seed(seed)

    def layer() -> dict[str, Tensor]:
        return {
            name: torch.randn(batch, width, 3, 4, generator=generator, dtype=F64) for name in ("delta_c", "delta_m")
        }

    return [tuple(layer() for _ in range(layers)) for _ in range(steps)]


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    batch=st.integers(1, 3),
    steps=st.integers(1, 3),
    layers=st.integers(1, 3),
    beta=st.sampled_from([0.0, 0.1, 2.0]),
)
def test_the_formula(seed: int, batch: int, steps: int, layers: int, beta: float) -> None:
    torch.manual_seed(seed)
    loss = DecouplingLoss(2, beta, dtype=F64)
    prediction, target = torch.randn(2, batch, steps, 1, 3, 4, dtype=F64)
    valid = torch.rand(target.shape) < 0.7
    aux = by_products(seed, batch, steps, layers, 2)
    with torch.no_grad():
        terms = loss(prediction, target, valid, aux)

    adapter = loss.adapter.weight.detach().numpy()[:, :, 0, 0]
    overlaps = []
    for step in aux:
        for layer in step:
            c, m = (np.einsum("oi,bihw->bohw", adapter, layer[name].numpy()) for name in ("delta_c", "delta_m"))
            product = (c * m).sum((2, 3))
            overlaps.append(np.abs(product) / np.sqrt((c**2).sum((2, 3)) * (m**2).sum((2, 3))))
    decoupling, samples = terms["decoupling"]
    assert float(decoupling / samples) == pytest.approx(beta * np.mean(overlaps), abs=1e-10)
    squared, cells = terms["mse"]
    assert int(cells) == int(valid.sum())
    assert float(squared) == pytest.approx(float(((prediction - target)[valid] ** 2).sum()), abs=1e-10)
    assert {name: float(count) for name, (_, count) in terms.items()} == {
        name: float(count) for name, count in loss.counts(valid).items()
    }


def test_sums_and_counts_add_up_over_parts_of_a_batch() -> None:
    torch.manual_seed(0)
    loss = DecouplingLoss(2, dtype=F64)
    prediction, target = torch.randn(2, 4, 2, 1, 3, 4, dtype=F64)
    valid = torch.rand(target.shape) < 0.7
    aux = by_products(0, 4, 2, 2, 2)
    loss.requires_grad_(False)
    whole = loss(prediction, target, valid, aux)
    parts = [
        loss(
            prediction[s], target[s], valid[s], [tuple({k: v[s] for k, v in layer.items()} for layer in t) for t in aux]
        )
        for s in (slice(0, 1), slice(1, 4))
    ]
    for name, (total, count) in whole.items():
        assert float(total) == pytest.approx(sum(float(part[name][0]) for part in parts), abs=1e-10)
        assert float(count) == sum(float(part[name][1]) for part in parts)


def test_it_trains_its_own_convolution_and_the_cells() -> None:
    torch.manual_seed(0)
    loss = DecouplingLoss(2, dtype=F64)
    aux = [
        tuple({k: v.requires_grad_() for k, v in layer.items()} for layer in step)
        for step in by_products(1, 2, 1, 1, 2)
    ]
    frames = torch.zeros(2, 1, 1, 3, 4, dtype=F64)
    loss(frames, frames, torch.ones_like(frames, dtype=torch.bool), aux)["decoupling"][0].backward()
    assert loss.adapter.weight.grad.abs().max() > 0
    assert all(value.grad.abs().max() > 0 for value in aux[0][0].values())


def test_what_it_needs_is_told() -> None:
    frames = torch.zeros(1, 1, 1, 3, 4)
    with pytest.raises(ValueError, match="layers that hand out delta_c and delta_m, such as st_lstm"):
        DecouplingLoss(2)(frames, frames, torch.ones_like(frames, dtype=torch.bool), [({},)])
    config = DecouplingConfig(name="decoupling")
    with pytest.raises(ValueError, match=r"layers of one width, received \[2, 3\]"):
        DecouplingLoss.from_config(config, LossSite(state_channels=1, widths=(2, 3)))
    assert DecouplingLoss.from_config(config, LossSite(state_channels=1, widths=(2, 2))).beta == 0.1
