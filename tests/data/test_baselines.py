from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stkit.data.box import Box
from stkit.data.moving_mnist import MovingMnist
from stkit.data.moving_mnist_config import MovingMnistConfig
from stkit.data.packaged.config import PackagedFieldConfig
from stkit.data.packaged.fields import NavyWind, OstiaSst
from stkit.data.prepare import from_source
from stkit.data.record import SequencesRecord, SpanRecord
from stkit.errors import DataError
from stkit.evaluate.baselines import Climatology, DampedAnomaly, Persistence, latest, make_baseline
from stkit.evaluate.departures import DEPARTURES
from tests.data.fields import config, months, seasonal, seeds, source, with_land


def windows(fields: torch.Tensor, times: np.ndarray, starts: range, length: int) -> tuple[torch.Tensor, np.ndarray]:
    index = np.array(starts)[:, None] + np.arange(length)
    return fields[torch.from_numpy(index)], times[index]


def rmse_by_lead(forecast: torch.Tensor, truth: torch.Tensor) -> list[float]:
    return [float(error.square().nanmean().sqrt()) for error in (forecast - truth).transpose(0, 1)]


def test_the_bars_of_the_packaged_sea_surface_temperature() -> None:
    """6 -> 3 months, fitted on the first 38 months, the 10 windows whose targets lie in the last 12."""
    sst = OstiaSst.from_config(PackagedFieldConfig(name="sst_ostia"))
    assert sst.times is not None
    fields, times = windows(torch.from_numpy(sst.read(0, sst.steps)), sst.times, range(36, 46), 9)
    train = SpanRecord(sst, 0, 38)

    def scores(name: str) -> list[float]:
        baseline = DEPARTURES[name]().fit(train)
        return rmse_by_lead(baseline.forecast(fields[:, :6], times[:, :6], times[:, 6:]), fields[:, 6:])

    assert scores("climatology") == pytest.approx([1.00, 1.00, 0.99], abs=0.01)
    assert scores("damped_anomaly") == pytest.approx([0.502, 0.712, 0.848], abs=0.001)
    undamped = DampedAnomaly().fit(train)
    undamped.slope.fill_(1.0)
    persisted = undamped.forecast(fields[:, :6], times[:, :6], times[:, 6:])
    assert rmse_by_lead(persisted, fields[:, 6:]) == pytest.approx([0.515, 0.762, 0.973], abs=0.001)


def test_the_bars_of_the_packaged_wind() -> None:
    """Fitted on 1982 to 1989, scored in 1991 and 1992 with area weights: there is little but the season."""
    wind = NavyWind.from_config(PackagedFieldConfig(name="wind_navy"))
    assert wind.times is not None
    assert wind.latitude is not None
    train = SpanRecord(wind, 0, 96)
    fields = torch.from_numpy(wind.read(0, 132))
    weight = torch.from_numpy(np.cos(np.deg2rad(wind.latitude))).clamp(min=0)[:, None]

    def score(name: str, lead: int) -> float:
        """Of the forecasts for each of the 24 months that start ``lead`` months before it."""
        last = np.arange(108, 132) - lead
        ahead = wind.times[last[:, None] + np.arange(1, lead + 1)]
        forecast = DEPARTURES[name]().fit(train).forecast(fields[last, None], wind.times[last, None], ahead)[:, -1]
        error = (forecast - fields[108:]).square().mean((0, 1)) * weight
        return float((error.sum() / (weight.sum() * 144)).sqrt())

    assert score("climatology", 1) == pytest.approx(1.91, abs=0.01)
    assert score("persistence", 1) == pytest.approx(2.12, abs=0.01)
    assert score("persistence", 6) == pytest.approx(3.49, abs=0.01)


def test_the_bars_of_moving_mnist() -> None:
    """Squared error summed over a frame, 10 -> 10. The digits of the training part are the brightest of the three.

    The sum over a frame varies by about 50 from sequence to sequence, so that 600 sequences give it to about 2: the
    published values (286, 174.5, 153.6) and these agree within four per cent.
    """
    digits = MovingMnist(MovingMnistConfig(name="moving_mnist"))
    record = SequencesRecord(digits, 600, 20, seed=1)
    frames = torch.stack([torch.from_numpy(digits.sequence("train", index, 20, 2)) for index in range(600)])
    context, truth = frames[:, :10], frames[:, 10:]

    def score(forecast: torch.Tensor) -> float:
        return float((forecast - truth).square().sum((-3, -2, -1)).mean())

    assert score(torch.zeros_like(truth)) == pytest.approx(174.5, rel=0.04)
    assert score(Persistence().fit(record).forecast(context, None, 10)) == pytest.approx(286, rel=0.04)
    mean_frame = Climatology().fit(record)
    assert mean_frame.normal.kind == "mean"
    assert score(mean_frame.forecast(context, None, 10)) == pytest.approx(153.6, rel=0.04)


@given(seed=seeds, steps=st.integers(1, 5), horizon=st.integers(1, 4))
def test_persistence_keeps_the_latest_value(seed: int, steps: int, horizon: int) -> None:
    rng = np.random.default_rng(seed)
    fields = rng.normal(size=(2, steps, 1, 3, 4)).astype(np.float32)
    fields[rng.uniform(size=fields.shape) < 0.4] = np.nan
    forecast = Persistence().forecast(torch.from_numpy(fields), None, horizon)
    assert forecast.shape == (2, horizon, 1, 3, 4)
    for place in np.ndindex(2, 1, 3, 4):
        series = fields[place[0], :, *place[1:]]
        known = series[np.isfinite(series)]
        expected = known[-1] if known.size else np.nan
        np.testing.assert_array_equal(forecast[place[0], :, *place[1:]].numpy(), np.full(horizon, expected))


def test_how_old_the_latest_value_is() -> None:
    context = torch.tensor([1.0, torch.nan, torch.nan]).view(3, 1, 1, 1)
    value, age = latest(context)
    assert (value.item(), age.item()) == (1.0, 2)


def test_damping_is_the_lag_regression_over_all_cells() -> None:
    fields, times = with_land(seasonal(120, channels=2)), months(120)
    damped = DampedAnomaly(longest_lag=6).fit(fields, times)
    normal = Climatology().fit(fields, times).forecast(torch.zeros(1, 2, 4, 5), None, times).numpy()
    anomaly = fields - normal
    for lag in range(7):
        for channel in range(2):
            now, before = anomaly[lag:, channel], anomaly[: 120 - lag, channel]
            both = np.isfinite(now) & np.isfinite(before)
            expected = (now[both] * before[both]).sum() / (before[both] ** 2).sum()
            assert float(damped.slope[lag, channel]) == pytest.approx(expected, abs=1e-4)


def test_the_damped_anomaly_of_an_old_value_is_damped_more() -> None:
    fields, times = torch.from_numpy(seasonal(120)), months(120)
    damped = DampedAnomaly("month", longest_lag=3).fit(fields, times)
    normal = damped.normal.at(times, 120)
    context = fields[20:26].clone()
    context[-2:, 0, 1, 1] = torch.nan
    forecast = damped.forecast(context, times[20:26], times[26:31])
    slope = damped.slope[:, 0]
    anomaly = fields[23, 0, 1, 1] - normal[23, 0, 1, 1]
    assert forecast[0, 0, 1, 1] == pytest.approx(float(normal[26, 0, 1, 1] + slope[3] * anomaly), abs=1e-4)
    beyond = slope[3] ** (7 / 3)
    assert forecast[4, 0, 1, 1] == pytest.approx(float(normal[30, 0, 1, 1] + beyond * anomaly), abs=1e-4)


def test_sequences_are_not_joined() -> None:
    """The lag regression does not pair the end of one sequence with the start of the next."""
    digits = MovingMnist(MovingMnistConfig(name="moving_mnist", digits=1))
    short = DampedAnomaly(longest_lag=5).fit(SequencesRecord(digits, 40, 4, 0))
    assert torch.equal(short.slope[4], short.slope[3]), "no pair is 4 apart in sequences of 4"


@pytest.mark.parametrize("name", DEPARTURES)
def test_a_batch_is_its_windows_and_a_box_is_a_part(name: str) -> None:
    fields, times = with_land(seasonal(60, channels=2)), months(60)
    baseline = DEPARTURES[name]().fit(fields, times)
    batch, when = windows(torch.from_numpy(fields), times, range(6), 7)
    batch, when = batch.view(2, 3, 7, 2, 4, 5), when.reshape(2, 3, 7)
    whole = baseline.forecast(batch[:, :, :4], when[..., :4], when[..., 4:])
    assert whole.shape == (2, 3, 3, 2, 4, 5)
    for at in np.ndindex(2, 3):
        alone = baseline.forecast(batch[at][:4], when[at][:4], when[at][4:])
        torch.testing.assert_close(whole[at], alone, equal_nan=True)
    if not baseline.looks_around:
        part = baseline.forecast(batch[:, :, :4, :, 1:4, 2:4], when[..., :4], when[..., 4:], Box(1, 2, 3, 2))
        torch.testing.assert_close(part, whole[..., 1:4, 2:4], equal_nan=True)
    assert whole[..., 0, :].isnan().all(), "no forecast on land"
    assert whole[..., 1:3, :].isfinite().all()


@pytest.mark.parametrize("name", DEPARTURES)
def test_back_from_its_state(name: str) -> None:
    fields, times = with_land(seasonal(60)), months(60)
    baseline = DEPARTURES[name]().fit(fields, times)
    again = DEPARTURES[name].from_state(baseline.settings(), baseline.state())
    context = torch.from_numpy(fields[:5])
    one, other = (each.forecast(context, times[:5], times[5:9]) for each in (baseline, again))
    torch.testing.assert_close(one, other, equal_nan=True, rtol=0, atol=0)


def test_before_it_is_fitted() -> None:
    for baseline in (Climatology(), DampedAnomaly()):
        with pytest.raises(DataError, match="has not been fitted"):
            baseline.forecast(torch.zeros(3, 1, 2, 2), months(3), months(5)[3:])


def test_baselines_of_a_recipe_share_its_climatology() -> None:
    chosen = config(transforms={"anomaly": "day_of_year"}, departure_from="damped_anomaly")
    data = from_source(chosen, source(), 0)
    departure = data.pipeline.departure
    assert data.baseline("damped_anomaly") is departure
    climatology = data.baseline("climatology")
    assert isinstance(climatology, Climatology)
    assert climatology.normal.kind == "day_of_year"
    torch.testing.assert_close(climatology.normal.table, data.pipeline.transforms[0].state()["table"], equal_nan=True)
    assert make_baseline("climatology", config()).fit(data.record).normal.kind == "month"
