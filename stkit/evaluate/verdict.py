"""The verdict on a run in words: what the numbers say, and what they cannot say. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from stkit.evaluate.scores import REFERENCES, PerLead

FEWEST_INDEPENDENT_WINDOWS = 5
"""With fewer, not even a block bootstrap could say anything (five blocks are its least)."""

_SAME = 1e-3
"""Errors that differ by less than this share are called the same."""
_NAMES = {"optimal": "best possible", "eof_linear": "EOF-linear", "sprog": "S-PROG"}


def verdict(
    mse: Mapping[str, Mapping[str, PerLead]],
    *,
    windows: int,
    independent_windows: int,
    seed: int | None = None,
    one_event: bool = False,
    members: int = 1,
) -> str:
    """One or two sentences for each variable, and one on what they are worth.

    Args:
        mse: for each variable, for each forecast (``model`` among them), the mean squared error by lead time.
        windows: windows of the test part.
        independent_windows: how many of them share no time step.
        seed: seed of the run.
        one_event: whether all windows are of one event, such as one passage of rain.
        members: runs that make up the forecast.
    """
    several = len(mse) > 1
    sentences = [_compare(name if several else None, errors) for name, errors in mse.items()]
    return " ".join([*sentences, _worth(windows, independent_windows, seed, one_event, members)])


def spoken(forecast: str) -> str:
    """A forecast's name in a sentence."""
    return _NAMES.get(forecast, forecast.replace("_", " "))


def _compare(variable: str | None, errors: Mapping[str, PerLead]) -> str:
    model = errors["model"]
    start = "" if variable is None else f"{variable}: "
    if all(value is None for value in model):
        return f"{start}No cell could be scored."
    baselines = {name: values for name, values in errors.items() if name != "model" and name not in REFERENCES}
    above = _above_optimum(model, errors["optimal"]) if "optimal" in errors else None
    if not baselines:
        return f"{start}{above[0].upper()}{above[1:]}." if above else f"{start}No baseline was compared."
    said: dict[str, list[str]] = {}
    for name in sorted(baselines, key=lambda name: _mean(baselines[name])):
        said.setdefault(_relation(model, baselines[name]), []).append(spoken(name))
    parts = [relation.format(listed(names)) for relation, names in said.items()]
    sentence = "; ".join([*parts, above] if above else parts)
    if _worse(model, baselines.get("persistence")):
        # Said before anything else: such a model is of no use, whatever else it beats.
        return f"{start}Worse than persistence: {sentence}."
    return f"{start}{sentence[0].upper()}{sentence[1:]}."


def _worse(model: PerLead, baseline: PerLead | None) -> bool:
    """Whether the mean error over the lead times is higher, by more than what is called the same."""
    if baseline is None:
        return False
    pairs = [(m, b) for m, b in zip(model, baseline, strict=True) if m is not None and b is not None]
    mine, theirs = (sum(values) for values in zip(*pairs, strict=True)) if pairs else (0.0, 0.0)
    return mine > theirs * (1 + _SAME)


def _relation(model: PerLead, baseline: PerLead) -> str:
    below: list[int] = []
    above: list[int] = []
    same: list[int] = []
    for lead, (mine, theirs) in enumerate(zip(model, baseline, strict=True), start=1):
        if mine is None or theirs is None:
            continue
        if math.isclose(mine, theirs, rel_tol=_SAME, abs_tol=1e-15):
            same.append(lead)
        else:
            (below if mine < theirs else above).append(lead)
    total = len(below) + len(above) + len(same)
    for leads, words in (
        (below, "lower error than {}"),
        (above, "higher error than {}"),
        (same, "the same error as {}"),
    ):
        if leads and len(leads) == total:
            return f"{words} at every lead time"
    parts = [
        f"{words} at {leads_text(leads)}"
        for leads, words in ((below, "lower error than {}"), (same, "the same"), (above, "higher"))
        if leads
    ]
    if not below:
        parts = [f"higher error than {{}} at {leads_text(above)}", f"the same at {leads_text(same)}"]
    return ", ".join(parts)


def _above_optimum(model: PerLead, optimal: PerLead) -> str | None:
    """By how much the model's error is larger than that of the best possible forecast; None where that is zero."""
    pairs = [(m, o) for m, o in zip(model, optimal, strict=True) if m is not None and o]
    if not pairs:
        return None
    shares = [round(100 * (math.sqrt(mine / best) - 1)) for mine, best in pairs]
    low, high = min(shares), max(shares)
    if high <= 0:
        return "its RMSE is that of the best possible forecast"
    above = str(high) if low == high else f"{max(low, 0)} to {high}"
    return f"its RMSE is {above} % above that of the best possible forecast"


def _worth(windows: int, independent: int, seed: int | None, one_event: bool, members: int) -> str:
    one = "one training run" if seed is None else f"one training run (seed {seed})"
    if members > 1:
        one = f"one ensemble of {members} runs"
    if windows == 0:
        return "There is no test window."
    count = f"{windows} test window{'s' if windows != 1 else ''}"
    if independent < windows:
        count = f"{windows} overlapping test windows ({independent} independent)"
    if one_event:
        count = f"{count} of one event"
    if one_event or independent < FEWEST_INDEPENDENT_WINDOWS:
        return f"{count} and {one}: not enough to rank."
    return f"{count} and {one}; small differences may be chance: the report has 95 % intervals."


def leads_text(leads: Sequence[int]) -> str:
    """``lead times 1–3 and 6``."""
    runs: list[list[int]] = []
    for lead in leads:
        if runs and lead == runs[-1][-1] + 1:
            runs[-1].append(lead)
        else:
            runs.append([lead])
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs]
    return f"lead time{'s' if len(leads) > 1 else ''} {listed(texts)}"


def independent(starts: Sequence[int], length: int) -> int:
    """How many windows of ``length`` steps can be picked from those ``starts`` so that none share a step."""
    count, free = 0, -math.inf
    for start in sorted(starts):
        if start >= free:
            count += 1
            free = start + length
    return count


def listed(words: Sequence[str]) -> str:
    """``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _mean(values: PerLead) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.inf
