from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stkit.data.record import Record
from stkit.data.source import Variable
from stkit.data.transforms import Log, Standardise, fit_transforms
from stkit.errors import DataError
from stkit.recipe.sections.data import TransformConfig
from tests.data.fields import months, seasonal, seeds

VARIABLES = [Variable("a", "mm/h"), Variable("b")]


def rain(seed: int, missing: float) -> Tensor:
    rng = np.random.default_rng(seed)
    fields = rng.gamma(0.3, 4.0, size=(48, 2, 3, 4)) * (1 + np.sin(np.arange(48) / 2)[:, None, None, None])
    fields[rng.uniform(size=fields.shape) < missing] = np.nan
    fields[:, 0, 0, :] = np.nan
    return torch.from_numpy(fields.astype(np.float32))


configs = st.builds(
    TransformConfig,
    log_offset=st.sampled_from([None, 0.1, 2.0]),
    anomaly=st.sampled_from(["none", "month", "day_of_year"]),
    standardise=st.sampled_from(["none", "variable", "cell"]),
)


@given(config=configs, seed=seeds, missing=st.sampled_from([0.0, 0.2]))
def test_there_and_back(config: TransformConfig, seed: int, missing: float) -> None:
    fields, times = rain(seed, missing), months(48)
    transforms = fit_transforms(config, Record.of(fields, times), VARIABLES)
    frames = fields
    for transform in transforms:
        frames = transform.forward(frames, times)
    assert torch.equal(frames.isnan(), fields.isnan()), "missing stays missing, and nothing else becomes missing"
    for transform in reversed(transforms):
        frames = transform.inverse(frames, times)
    torch.testing.assert_close(frames, fields, rtol=1e-4, atol=1e-4, equal_nan=True)


@given(seed=seeds, per=st.sampled_from(["variable", "cell"]))
def test_standardised_is_zero_mean_unit_deviation(seed: int, per: str) -> None:
    fields = rain(seed, 0.2)
    frames = Standardise.fit(Record.of(fields), per).forward(fields, None)
    dims = (0, 2, 3) if per == "variable" else (0,)
    mean = frames.nanmean(dims)
    spread = frames.square().nanmean(dims) - mean.square()
    torch.testing.assert_close(mean.nan_to_num(), torch.zeros_like(mean), atol=1e-4, rtol=0)
    torch.testing.assert_close(spread.nan_to_num(1.0), torch.ones_like(mean), atol=1e-3, rtol=0)


def test_a_large_mean_costs_no_digits() -> None:
    fields = 30_000 + torch.from_numpy(seasonal(60))
    frames = Standardise.fit(Record.of(fields), "variable").forward(fields, None)
    assert frames.mean().abs() < 1e-3
    assert (frames.std() - 1).abs() < 1e-2


@pytest.mark.parametrize("per", ["variable", "cell"])
@pytest.mark.parametrize("value", [0.0, 7.3, -40_000.3])
def test_a_constant_field_is_only_shifted(per: str, value: float) -> None:
    fields = torch.full((10, 1, 3, 3), value)
    frames = Standardise.fit(Record.of(fields), per).forward(fields, None)
    torch.testing.assert_close(frames, torch.zeros_like(frames), atol=1e-2, rtol=0)
    torch.testing.assert_close(Standardise.fit(Record.of(fields), per).deviation.flatten()[0], torch.tensor(1.0))


def test_a_cell_that_hardly_varies_does_not_become_huge() -> None:
    fields = torch.from_numpy(seasonal(60))
    fields[:, :, 0, 0] = -1.8
    standardise = Standardise.fit(Record.of(fields), "cell")
    changed = fields.clone()
    changed[:, :, 0, 0] = 0.0
    assert standardise.forward(changed, None).abs().max() < 100


def test_log_keeps_zero() -> None:
    log = Log(torch.tensor(0.1))
    frames = log.forward(torch.tensor([0.0, 0.1, torch.nan]).view(1, 1, 1, 3), None)
    torch.testing.assert_close(
        frames.flatten(), torch.tensor([0.0, float(np.log(2)), torch.nan]), equal_nan=True, rtol=1e-6, atol=1e-7
    )


def test_log_of_what_has_none() -> None:
    fields = torch.full((4, 2, 2, 2), 1.0)
    fields[2, 0, 1, 1] = -3.0
    with pytest.raises(DataError, match=r"log_offset: a goes down to -3 mm/h, too low .* with the offset 0\.5"):
        fit_transforms(TransformConfig(log_offset=0.5), Record.of(fields), VARIABLES)


def test_log_of_an_extrapolation_is_finite() -> None:
    log = Log(torch.tensor(0.1))
    assert log.forward(torch.tensor([-5.0]).view(1, 1, 1, 1), None).isfinite().all()


def test_statistics_do_not_depend_on_how_the_record_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    fields, times = rain(3, 0.1), months(48)
    config = TransformConfig(log_offset=0.5, anomaly="day_of_year", standardise="cell")
    whole = fit_transforms(config, Record.of(fields, times), VARIABLES)
    monkeypatch.setattr("stkit.data.source._PIECE_BYTES", 4 * fields[0].numel() * 5)
    pieces = fit_transforms(config, Record.of(fields, times), VARIABLES)
    for one, other in zip(whole, pieces, strict=True):
        for name, value in one.state().items():
            torch.testing.assert_close(value, other.state()[name], equal_nan=True)
