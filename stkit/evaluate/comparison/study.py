"""Recipes compared with the first of them and with each baseline, on the same test windows.

Axes: ``S`` seeds, ``T`` test windows, ``L`` lead times, ``C`` variables.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from stkit.evaluate.comparison.blocks import FEWEST_BLOCKS, windows_of_block
from stkit.evaluate.comparison.diebold_mariano import diebold_mariano
from stkit.evaluate.comparison.difference import LEVEL, RESAMPLES, Estimate, Paired, paired
from stkit.evaluate.comparison.group import (
    MODEL,
    Cost,
    Group,
    check_comparable,
    common_baselines,
    of_run,
    statistics_of,
    weights,
)
from stkit.evaluate.comparison.holm import holm
from stkit.evaluate.comparison.sample import Sample, pooled
from stkit.evaluate.metric import Metric
from stkit.evaluate.scores import REFERENCES, ScoreInfo
from stkit.evaluate.verdict import spoken
from stkit.evaluate.window_errors import ErrorsLayout

Word = Literal["better", "worse", "not distinguishable", "not ranked"]
_RESAMPLES_FOR_EACH = 200
"""So that the smallest p-value passes Holm's correction however many comparisons there are."""


@dataclass(frozen=True)
class Member:
    """A forecast with its scores."""

    name: str
    seeds: tuple[int, ...]
    """Empty for a baseline."""
    runs: tuple[str, ...]
    scores: dict[str, tuple[tuple[float, ...], ...]]
    """For each variable and each seed the score by lead time."""
    overall: dict[str, tuple[float, ...]]
    """For each variable and each seed the score over all lead times."""
    cost: Cost

    @property
    def trained(self) -> bool:
        """Whether it is no baseline."""
        return bool(self.seeds)


@dataclass(frozen=True)
class Compared:
    """One comparison."""

    variable: str
    first: str
    second: str
    """What the first is compared with."""
    with_baseline: bool
    paired: Paired
    diebold_mariano: float | None
    """Two-sided p-value of the cross-check; None where nothing is ranked or it is not defined."""
    higher: bool = False
    """Whether the higher score is the better one."""
    p_adjusted: float | None = None
    """Adjusted for all comparisons of the study; None where nothing is ranked."""

    @property
    def against(self) -> str:
        """What the first is compared with, in a sentence: a recipe by its own name, a baseline in words."""
        return spoken(self.second) if self.with_baseline else self.second

    @property
    def word(self) -> Word:
        """What is said of the first."""
        if self.p_adjusted is None:
            return "not ranked"
        if self.p_adjusted > LEVEL:
            return "not distinguishable"
        return "better" if (self.paired.overall.difference > 0) is self.higher else "worse"


@dataclass(frozen=True)
class Study:
    """All comparisons of some recipes on the same test windows."""

    score: str
    """``mse``, ``mae``, or the name of another score."""
    layout: ErrorsLayout
    members: tuple[Member, ...]
    """Trained recipes in their order, then the baselines."""
    compared: tuple[Compared, ...]
    block: int
    """Windows that share time steps: a block has at least so many."""
    notes: tuple[str, ...]
    info: ScoreInfo | None = None
    """What the score is; None for the errors, which every run has kept."""

    @property
    def windows(self) -> int:
        """Test windows."""
        return len(self.layout.starts)

    @property
    def blocks(self) -> float:
        """Blocks that the test windows make."""
        return self.windows / self.block

    @property
    def rankable(self) -> bool:
        """Whether the test part is long enough for intervals."""
        return self.windows >= self.windows_needed

    @property
    def windows_needed(self) -> int:
        """Test windows that five blocks need."""
        return FEWEST_BLOCKS * self.block

    @property
    def steps_needed(self) -> int | None:
        """Time steps of a test part with that many windows; None for sequences."""
        if not self.layout.share_steps:
            return None
        stride = min(np.diff(self.layout.starts), default=1)
        return int((self.windows_needed - 1) * stride + self.layout.input_steps + self.layout.horizon)

    @property
    def trained(self) -> tuple[Member, ...]:
        """The trained recipes."""
        return tuple(member for member in self.members if member.trained)

    @property
    def baselines(self) -> tuple[Member, ...]:
        """The others."""
        return tuple(member for member in self.members if not member.trained)

    def of_variable(self, variable: str) -> tuple[Compared, ...]:
        """The comparisons of one variable."""
        return tuple(one for one in self.compared if one.variable == variable)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, and back by :func:`stkit.evaluate.comparison.saved.study_of`.

        A number that is not finite is null there.
        """
        layout = self.layout
        return {
            "score": self.score,
            **({} if self.info is None else {"info": asdict(self.info)}),
            "windows": self.windows,
            "windows_hash": layout.windows_hash,
            "input_steps": layout.input_steps,
            "horizon": layout.horizon,
            "lead_unit": layout.lead_unit,
            "starts": list(layout.starts),
            "share_steps": layout.share_steps,
            "variables": [variable._asdict() for variable in layout.variables],
            "block": self.block,
            "blocks": self.blocks,
            "rankable": self.rankable,
            "windows_needed": self.windows_needed,
            "steps_needed": self.steps_needed,
            "level": LEVEL,
            "members": [_member_dict(member) for member in self.members],
            "compared": [_compared_dict(one) for one in self.compared],
            "notes": list(self.notes),
        }


def study(groups: Sequence[Group], *, score: str = "mse", metric: Metric | None = None) -> Study:
    """Compare each recipe with the first, and all with each baseline that every run was scored beside.

    Args:
        groups: the recipes.
        score: ``mse`` or ``mae``, or the name of ``metric``.
        metric: another score, by which the lower or the higher is better.

    Raises:
        DataError: runs that were not scored on the same windows and cells, or did not keep what the score is made of.
    """
    notes = check_comparable(groups)
    layout = groups[0].errors[0].layout
    info = None if metric is None else ScoreInfo.of(metric)
    baselines = common_baselines(groups)
    block = windows_of_block(layout.starts, layout.input_steps + layout.horizon) if layout.share_steps else 1
    samples = _Samples(groups, score, metric)
    members = [_member(group, samples.of(group), layout) for group in groups]
    members += [_baseline_member(name, samples.of(groups[0], name), layout) for name in baselines]
    tested = [name for name in baselines if name not in REFERENCES]
    count = len(layout.variables) * (len(groups) * (1 + len(tested)) - 1)
    resamples = max(RESAMPLES, _RESAMPLES_FOR_EACH * count - 1)
    compared: list[Compared] = []
    by_name = {group.name: samples.of(group) for group in groups}
    against = {name: samples.of(groups[0], name) for name in tested}
    for channel, variable in enumerate(layout.variables):
        for first, second, baseline in _pairs([group.name for group in groups], tested):
            one, two = by_name[first][channel], (against if baseline else by_name)[second][channel]
            if not np.isfinite([one.means[:, 0].mean(), two.means[:, 0].mean()]).all() and metric is not None:
                continue  # the score is not defined for one of them, such as the correlation of climatology
            found = paired(one, two, block, resamples=resamples, dependent=layout.share_steps)
            # Below five blocks its asymptotics hold no better than the bootstrap's.
            check = _cross_check(one, two, layout) if found.ranked else None
            higher = info is not None and info.better == "higher"
            compared.append(Compared(variable.name, first, second, baseline, found, check, higher=higher))
    return Study(score, layout, tuple(members), tuple(_adjusted(compared)), block, tuple(notes), info)


@dataclass(frozen=True)
class _Samples:
    """What the scores are made of, for each variable."""

    groups: Sequence[Group]
    score: str
    metric: Metric | None

    def of(self, group: Group, forecast: str = MODEL) -> list[Sample]:
        """Of a recipe with all its seeds; of a baseline that of its first run."""
        metric = self.metric
        chosen = group.errors if forecast == MODEL else group.errors[:1]
        if metric is None:
            losses = np.stack([of_run(errors, self.score, forecast) for errors in chosen])
            weight = weights(self.groups)
            return [Sample.of(losses[..., channel], weight[..., channel]) for channel in range(losses.shape[-1])]
        runs = zip(group.runs, chosen, strict=False)
        sums = np.stack([statistics_of(run, errors, self.score, forecast) for run, errors in runs])
        channels = sums.shape[-1]
        return [Sample.of_sums(sums[..., channel], pooled(metric, channel, channels)) for channel in range(channels)]


def _pairs(names: Sequence[str], baselines: Sequence[str]) -> Iterator[tuple[str, str, bool]]:
    """First, second, and whether the second is a baseline."""
    for name in names[1:]:
        yield name, names[0], False
    for baseline in baselines:
        for name in names:
            yield name, baseline, True


def _adjusted(compared: Sequence[Compared]) -> list[Compared]:
    """With p-values adjusted for all that have one."""
    tested = [one.paired.overall.p for one in compared if one.paired.overall.p is not None]
    adjusted = iter(holm(tested))
    return [one if one.paired.overall.p is None else replace(one, p_adjusted=next(adjusted)) for one in compared]


def _cross_check(first: Sample, second: Sample, layout: ErrorsLayout) -> float | None:
    differences = (first.departures.mean(axis=0) - second.departures.mean(axis=0))[:, 0]
    differences = differences + first.means[:, 0].mean() - second.means[:, 0].mean()
    overlap = windows_of_block(layout.starts, layout.horizon) if layout.share_steps else 1
    return diebold_mariano(differences, overlap) if np.isfinite(differences).all() else None


def _member(group: Group, samples: Sequence[Sample], layout: ErrorsLayout) -> Member:
    return Member(group.name, group.seeds, group.runs, *_scores(samples, layout), group.cost)


def _baseline_member(name: str, samples: Sequence[Sample], layout: ErrorsLayout) -> Member:
    return Member(name, (), (), *_scores(samples, layout), Cost())


def _scores(
    samples: Sequence[Sample], layout: ErrorsLayout
) -> tuple[dict[str, tuple[tuple[float, ...], ...]], dict[str, tuple[float, ...]]]:
    by_lead, overall = {}, {}
    for variable, sample in zip(layout.variables, samples, strict=True):
        by_lead[variable.name] = tuple(tuple(float(value) for value in row[1:]) for row in sample.means)
        overall[variable.name] = tuple(float(value) for value in sample.means[:, 0])
    return by_lead, overall


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _member_dict(member: Member) -> dict[str, Any]:
    return {
        "name": member.name,
        "seeds": list(member.seeds),
        "runs": list(member.runs),
        "scores": {name: [[_number(v) for v in row] for row in rows] for name, rows in member.scores.items()},
        "overall": {name: [_number(value) for value in row] for name, row in member.overall.items()},
        "cost": member.cost.as_dict() if member.trained else None,
    }


def _compared_dict(one: Compared) -> dict[str, Any]:
    return {
        "variable": one.variable,
        "first": one.first,
        "second": one.second,
        "with_baseline": one.with_baseline,
        "word": one.word,
        **_estimate_dict(one.paired.overall),
        "p_adjusted": one.p_adjusted,
        "diebold_mariano": _number(one.diebold_mariano),
        "block": one.paired.block,
        "blocks": one.paired.blocks,
        "correlation": one.paired.correlation,
        "by_lead": [
            {name: value for name, value in _estimate_dict(lead).items() if name != "p"} for lead in one.paired.by_lead
        ],
    }


def _estimate_dict(estimate: Estimate) -> dict[str, float | None]:
    return {
        "difference": _number(estimate.difference),
        "second_score": _number(estimate.second),
        "relative": _number(estimate.relative),
        "low": _number(estimate.low),
        "high": _number(estimate.high),
        "p": estimate.p,
    }
