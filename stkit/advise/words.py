"""What was measured, as names and values."""

from __future__ import annotations

import numpy as np

from stkit.advise.advice import Advice
from stkit.evaluate.words import percent, steps_text, unit_text


def measured(advice: Advice) -> dict[str, str]:
    """Season, trend, spread and memory in words."""
    sample, split, memory, findings = advice.sample, advice.split, advice.memory, advice.findings
    unit = sample.source.step_name
    found: dict[str, str] = {}
    if split.seasons:
        periods = " and ".join(
            season.name if season.name.endswith("steps") else f"{season.name} of {season.period:g} steps"
            for season in split.seasons
        )
        found["season"] = f"{percent(split.overall)} of the variance about the trend ({periods})"
    else:
        found["season"] = f"none taken out: {split.note}" if split.note else "none taken out"
    trend = float(np.median(split.trend)) * sample.steps
    found["trend"] = (
        f"{signed(trend)} {unit_text(sample.variable.units)}".rstrip() + " over the record in the middle cell"
    )
    found["spread"] = (
        f"the changes have {findings.spread_words} in the second half (middle cell); "
        f"{percent(findings.changing_spread)} of the cells differ"
    )
    folding = memory.overall_folding
    fold = f"1/e after {folding:.1f} steps" if folding is not None else f"above 1/e up to {memory.lags} steps"
    lags = memory.significant_lags
    found["correlation"] = f"{fold}; {f'significant up to {steps_text(lags, unit)}' if lags else 'never significant'}"
    direct = memory.direct_lags
    found["partial correlation"] = f"significant up to {steps_text(direct, unit)}" if direct else "never significant"
    return found


def signed(value: float) -> str:
    """Two significant figures with a sign."""
    return f"{value:+.2g}".replace("-", "−")


def tried(advice: Advice) -> str:
    """How long the ablation takes."""
    suggestion = advice.suggestion
    count = len(suggestion.nonstationary) * len(suggestion.attention)
    return f"{count} combinations with three seeds: about {suggestion.hours:.1f} hours, one run after the other"
