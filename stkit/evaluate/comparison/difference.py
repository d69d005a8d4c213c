"""The difference between two forecasts' scores with its interval: blocks of start times and seeds resampled.

Axes: ``S`` seeds, ``T`` test windows, ``K`` columns (the mean over all lead times, then each lead time), ``R``
resamples.

With ``d_t`` the difference of what window ``t`` adds to the scores (:attr:`Sample.departures`), averaged over the seeds
of either side, three variances make that of the difference of the scores:

- ``V_b`` of the blocks: :func:`stkit.evaluate.comparison.blocks.mean_variance` of ``d_t``;
- ``V_s`` of the seeds: for each side the variance of its seeds' scores by their number;
- ``V_i``, which both of them hold: that of what a seed does at one window and not at another, from the blocks of each
  seed's departure from the mean of the seeds.

``V = V_b + max(V_s - V_i, 0)``, with degrees of freedom by Satterthwaite (1946). A resample draws blocks of windows,
the same for both sides, and on each side seeds, with replacement; its deviations from the mean are given the variance
``V`` and, as that is an estimate, the tails of Student's t. So few seeds and few blocks make a wide interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stkit.evaluate.comparison.blocks import (
    FEWEST_BLOCKS,
    correlation,
    correlation_time,
    mean_variance,
    resampled_counts,
)
from stkit.evaluate.comparison.sample import Sample
from stkit.evaluate.metric import Array

LEVEL = 0.05
"""What has a p-value at or below it is called different; intervals hold 95 %."""
RESAMPLES = 4999
_NUMBERS_AT_A_TIME = 4_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A difference of scores, first minus second: below 0 the first is better where a score is better when lower."""

    difference: float
    second: float
    """Score of the second."""
    low: float | None = None
    """Lower end of the 95 % interval; None where none can be given."""
    high: float | None = None
    p: float | None = None
    """Two-sided p-value of no difference, not yet adjusted for other comparisons."""

    @property
    def relative(self) -> float | None:
        """The difference as a share of the second's score."""
        return self.difference / self.second if self.second > 0 else None

    def relative_interval(self) -> tuple[float, float] | None:
        """The interval as shares of the second's score."""
        if self.low is None or self.high is None or self.second <= 0:
            return None
        return self.low / self.second, self.high / self.second


@dataclass(frozen=True, slots=True)
class Paired:
    """Two forecasts on the same windows."""

    overall: Estimate
    """Of the mean over all lead times."""
    by_lead: tuple[Estimate, ...]
    block: int
    """Windows in a block."""
    blocks: float
    """How many blocks the windows make: the effective number of independent parts."""
    correlation: float
    """Of the differences of neighbouring windows."""

    @property
    def ranked(self) -> bool:
        """Whether there are blocks enough for an interval."""
        return self.blocks >= FEWEST_BLOCKS


def paired(first: Sample, second: Sample, block: int, *, resamples: int = RESAMPLES, dependent: bool = True) -> Paired:
    """Compare two forecasts.

    Args:
        first: of which is asked whether it is better.
        second: what it is compared with; the same windows and weights.
        block: windows that a block has at least: as many as share time steps.
        resamples: how many resamples are drawn. The same arguments give the same numbers.
        dependent: whether neighbouring windows may be correlated; sequences are not.
    """
    series = first.departures.mean(axis=0) - second.departures.mean(axis=0)
    phis = [correlation(series[:, column]) if dependent else 0.0 for column in range(series.shape[1])]
    length = max(block, round(correlation_time(phis[0])))
    count = len(series)
    scores = [float(sample.means[:, column].mean()) for sample in (first, second) for column in range(len(phis))]
    ones, twos = scores[: len(phis)], scores[len(phis) :]
    if count < FEWEST_BLOCKS * length:
        estimates = [Estimate(one - two, two) for one, two in zip(ones, twos, strict=True)]
        return Paired(estimates[0], tuple(estimates[1:]), length, count / length, phis[0])
    drawn = _resampled(first, second, length, resamples)
    generator = np.random.default_rng(1)
    estimates = []
    for column, phi in enumerate(phis):
        if not math.isfinite(ones[column] - twos[column]):  # a lead time at which no cell counts
            estimates.append(Estimate(ones[column] - twos[column], twos[column]))
            continue
        variance, degrees = _variance(first, second, column, length, phi)
        tails = np.sqrt(degrees / generator.chisquare(degrees, resamples))
        deviations = _standardised(drawn[:, column]) * tails
        estimates.append(_estimate(ones[column], twos[column], math.sqrt(variance), deviations))
    return Paired(estimates[0], tuple(estimates[1:]), length, count / length, phis[0])


def _estimate(one: float, two: float, error: float, deviations: Array) -> Estimate:
    """Interval and p-value from deviations of variance 1 and a standard error; each says what the other does."""
    difference = one - two
    sizes = np.sort(np.abs(deviations))
    half = float(sizes[math.ceil((len(sizes) + 1) * (1 - LEVEL)) - 1]) * error
    as_large = int((sizes * error >= abs(difference)).sum()) if difference else len(sizes)
    return Estimate(difference, two, difference - half, difference + half, (1 + as_large) / (1 + len(sizes)))


def _variance(first: Sample, second: Sample, column: int, length: int, phi: float) -> tuple[float, float]:
    """Variance of the mean difference, and its degrees of freedom."""
    departures = [sample.departures[:, :, column] for sample in (first, second)]
    count = departures[0].shape[1]
    of_blocks = float(mean_variance(departures[0].mean(axis=0) - departures[1].mean(axis=0), length, phi))
    freedom = count / length - 1
    of_seeds, of_both, uncertainty = 0.0, 0.0, 0.0
    for sample, departure in zip((first, second), departures, strict=True):
        seeds = sample.seeds
        if seeds < 2:
            continue
        between = float(sample.means[:, column].var(ddof=1)) / seeds
        own = mean_variance(departure - departure.mean(axis=0), length, phi)
        interaction = float(own.sum()) / (seeds * (seeds - 1))
        of_seeds += between
        of_both += interaction
        uncertainty += between**2 / (seeds - 1) + interaction**2 / ((seeds - 1) * freedom)
    beyond = max(of_seeds - of_both, 0.0)
    total = of_blocks + beyond
    if total <= 0:
        return 0.0, freedom
    spread = of_blocks**2 / freedom + (uncertainty if beyond > 0 else 0.0)
    return total, total**2 / spread


def _resampled(first: Sample, second: Sample, length: int, resamples: int) -> Array:
    """``R K``: the difference of the scores in each resample."""
    generator = np.random.default_rng(0)
    count = first.windows
    at_a_time = max(1, _NUMBERS_AT_A_TIME // count)
    found = []
    for start in range(0, resamples, at_a_time):
        many = min(at_a_time, resamples - start)
        counts = resampled_counts(count, length, many, generator)
        found.append(_means(first, counts, generator) - _means(second, counts, generator))
    return np.concatenate(found)


def _means(sample: Sample, counts: Array, generator: np.random.Generator) -> Array:
    """``R K``: the mean over resampled windows and seeds."""
    seeds = sample.seeds
    share = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=len(counts)) / seeds
    scores = (share[:, seed, None] * sample.resampled(counts, seed) for seed in range(seeds))
    return np.asarray(np.sum(list(scores), axis=0))


def _standardised(values: Array) -> Array:
    """Deviations from the mean, of variance 1; zeros where all are equal."""
    known = values[np.isfinite(values)]
    deviation = float(known.std()) if len(known) else 0.0
    if deviation == 0:
        return np.zeros_like(values)
    return np.where(np.isfinite(values), (values - known.mean()) / deviation, 0.0)
