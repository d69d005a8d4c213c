"""The whole examination of a field, and what comes of it in words and numbers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stkit.advise.correlation import Memory, remember
from stkit.advise.season import Season, Split, seasons_of, split
from stkit.advise.series import Sample, open_field, take_sample
from stkit.advise.stationarity import VERDICTS, Findings, examine
from stkit.advise.suggest import Suggestion, suggest
from stkit.errors import DataError, UsageError
from stkit.evaluate.words import percent

LOG = logging.getLogger("stkit.advise")

MOST_CELLS = 400
FALSE_SHARE = 0.05
_ROUNDING = 8 * float(np.finfo(np.float32).eps)
CAVEAT = (
    "A hypothesis, not a result: tests on single cells know nothing of what neighbours say, and a record that is not "
    "stationary can still be forecast best by a plain model. The ablation decides."
)


@dataclass(frozen=True)
class Advice:
    """What was examined, what was found, and what to try.

    Attributes:
        reference: the file or data set, as it was named.
        sample: the examined series.
        split: their seasons.
        findings: their stationarity.
        memory: their lag correlation.
        suggestion: what to try.
    """

    reference: str
    sample: Sample
    split: Split
    findings: Findings
    memory: Memory
    suggestion: Suggestion

    @property
    def verdict(self) -> str:
        """The shares of the four verdicts in one sentence, the largest first."""
        shares = sorted(self.findings.shares.items(), key=lambda item: -item[1])
        told = [f"{percent(share)} {name}" for name, share in shares if share > 0]
        season = "without its season" if self.split.seasons else "as it is"
        name = self.sample.variable.name
        return f"{name}, {season}: of {self.sample.cells} cells " + ", ".join(told) + "."

    @property
    def worth(self) -> str:
        """What the verdict rests on."""
        sample = self.sample
        told = [f"{sample.span}, {sample.steps} steps"]
        if sample.block > 1:
            told.append(f"one cell in each {sample.block} x {sample.block} block of {sample.valid_cells} cells")
        left_out = [
            f"{count} {words} left out"
            for count, words in (
                (sample.constant_cells, "constant or without anything random"),
                (sample.patchy_cells, "with large gaps"),
            )
            if count
        ]
        told += left_out
        if sample.steps < sample.steps_of_record:
            told.append(f"the longest stretch without a gap of a record of {sample.steps_of_record} steps")
        if self.split.note:
            told.append(self.split.note)
        told.append(f"at most {percent(self.findings.false_share)} false finds expected among those of each test")
        return "; ".join(told) + "."

    def as_dict(self) -> dict[str, Any]:
        """For JSON; what is not defined is null."""
        sample, findings, memory, suggestion = self.sample, self.findings, self.memory, self.suggestion
        return {
            "source": self.reference,
            "variable": sample.variable.name,
            "units": sample.variable.units,
            "span": sample.span,
            "steps": sample.steps,
            "step": sample.source.step_name,
            "cells": {
                "valid": sample.valid_cells,
                "tested": sample.cells,
                "block": sample.block,
                "constant": sample.constant_cells,
                "with_large_gaps": sample.patchy_cells,
            },
            "verdict": self.verdict,
            "shares": findings.shares,
            "false_discovery_rate": findings.false_share,
            "dickey_fuller_lags": findings.lags,
            "season": {
                "periods": {season.name: season.period for season in self.split.seasons},
                "share_of_variance": self.split.overall,
                "note": self.split.note,
            },
            "trend_per_step": float(np.median(self.split.trend)),
            "spread": {"second_half_over_first": findings.spread_ratio, "share_changed": findings.changing_spread},
            "correlation": {
                "folding_steps": memory.overall_folding,
                "significant_lags": memory.significant_lags,
                "direct_lags": memory.direct_lags,
                "by_lag": [float(value) for value in memory.correlation.mean(axis=1)],
                "partial_by_lag": [float(value) for value in memory.partial.mean(axis=1)],
            },
            "map": [
                {
                    "row": int(row),
                    "column": int(column),
                    "verdict": VERDICTS[verdict],
                    "season_share": float(share),
                    "folding_steps": None if np.isnan(folding) else float(folding),
                }
                for row, column, verdict, share, folding in zip(
                    sample.rows, sample.columns, findings.verdict, self.split.share, memory.folding, strict=True
                )
            ],
            "suggestion": {
                "input_steps": suggestion.input_steps,
                "horizon": suggestion.horizon,
                "data.transforms.anomaly": suggestion.anomaly,
                "data.departure_from": suggestion.departure_from,
                "nonstationary": list(suggestion.nonstationary),
                "attention": list(suggestion.attention),
                "reasons": list(suggestion.reasons),
                "command": suggestion.line,
                "hours": suggestion.hours,
                "caveat": CAVEAT,
            },
        }


def advise(
    reference: str,
    settings: Mapping[str, Any] | None = None,
    *,
    variable: str | None = None,
    season: float | None = None,
    most_cells: int = MOST_CELLS,
    false_share: float = FALSE_SHARE,
) -> Advice:
    """Examine a field.

    Args:
        reference: a NetCDF file or pattern, or the name of a data set.
        settings: settings of the data set, as under ``data.dataset`` in a recipe.
        variable: which one; None where there is only one.
        season: a period in steps; None: by the calendar.
        most_cells: cells that are tested at most.
        false_share: share of false finds that is allowed among the finds of each test.

    Raises:
        UsageError: if the data cannot be had or are not fit for it: all land, too short a record, a constant field, a
            season longer than half the record, no such variable (mostly :class:`stkit.errors.DataError`).
    """
    if most_cells < 1:
        raise UsageError(f"--cells {most_cells}: at least one cell is needed")
    if not 0 < false_share < 1:
        raise UsageError(f"--false-share {false_share:g}: a share lies between 0 and 1")
    settings = dict(settings or {})
    source = open_field(reference, settings, variable)
    sample = take_sample(source, variable, most_cells)
    seasons, note = seasons_of(sample.times, sample.steps, season, source.name)
    sample = _with_something_random(sample, seasons)
    parts = split(sample.values, seasons, note)
    LOG.info("testing %d cells of %s over %d steps", sample.cells, sample.variable.name, sample.steps)
    findings = examine(parts.without_season, parts.anomalies, false_share)
    memory = remember(parts.anomalies, false_share)
    return Advice(
        reference, sample, parts, findings, memory, suggest(reference, settings, sample, parts, findings, memory)
    )


def _with_something_random(sample: Sample, seasons: tuple[Season, ...]) -> Sample:
    """Without the cells of which nothing is left but rounding when trend and season are taken out."""
    left = split(sample.values, seasons).anomalies.std(axis=0)
    random = left > _ROUNDING * np.abs(sample.values).max(axis=0)
    if not random.any():
        raise DataError(
            f"{sample.source.name}: {sample.variable.name!r} is a trend{' and a season' if seasons else ''} "
            "and nothing else: nothing is left to test"
        )
    return replace(
        sample,
        rows=sample.rows[random],
        columns=sample.columns[random],
        values=sample.values[:, random],
        constant_cells=sample.constant_cells + int((~random).sum()),
    )
