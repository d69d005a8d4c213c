"""The verdict on a run in words: what the numbers say, and what they cannot say. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from stkit.evaluate.scores import REFERENCES, PerLead, rank

FEWEST_INDEPENDENT_WINDOWS = 5
"""With fewer, not even a block bootstrap could say anything (five blocks are its least)."""

_SAME = 1e-3
"""Errors that differ by less than this share are called the same."""
_BASELINES = "\0"
"""Where the names of baselines go in a half sentence."""
_NAMES = {"optimal": "best possible", "eof_linear": "EOF-linear", "sprog": "S-PROG"}


@dataclass(frozen=True, slots=True)
class Order:
    """By which score forecasts are compared, and which way is better."""

    name: str = "error"
    """In words: ``error`` is the squared one."""
    better: str = "lower"

    def words(self, *, ahead: bool, long: bool = True) -> str:
        """``higher CSI at 1 mm/h``, of what is better (``ahead``) or worse; not ``long``: ``higher`` alone."""
        if self.better in ("lower", "higher"):
            other = {"lower": "higher", "higher": "lower"}[self.better]
            return f"{self.better if ahead else other}{f' {self.name}' if long else ''}"
        place = f"{'nearer to' if ahead else 'farther from'} {'0' if self.better == 'zero' else '1'}"
        return f"{self.name} {place}" if long else place

    def rank(self, values: PerLead) -> PerLead:
        """Numbers of which the lower is better."""
        return tuple(None if value is None else rank(value, self.better) for value in values)


SQUARED_ERROR = Order()


@dataclass(frozen=True, slots=True)
class Headline:
    """The score by which a variable's forecasts are compared first."""

    order: Order
    values: Mapping[str, PerLead]
    """For each forecast by lead time."""


def verdict(
    mse: Mapping[str, Mapping[str, PerLead]],
    *,
    windows: int,
    independent_windows: int,
    seed: int | None = None,
    one_event: bool = False,
    members: int = 1,
    headlines: Mapping[str, Headline] = MappingProxyType({}),
) -> str:
    """One or two sentences for each variable, and one on what they are worth.

    Where a variable has a headline the first sentence is by that score, and one by squared error follows where it says
    the opposite: who minimises squared error blurs, which a score of events does not reward.

    Args:
        mse: for each variable, for each forecast (``model`` among them), the mean squared error by lead time.
        windows: windows of the test part.
        independent_windows: how many of them share no time step.
        seed: seed of the run.
        one_event: whether all windows are of one event, such as one passage of rain.
        members: forecasts that make up the one that is scored.
        headlines: for the variables that are compared by another score first.
    """
    several = len(mse) > 1
    sentences = [
        _compare(name if several else None, errors, headlines.get(name, Headline(SQUARED_ERROR, errors)))
        for name, errors in mse.items()
    ]
    return " ".join([*sentences, _worth(windows, independent_windows, seed, one_event, members)])


def spoken(forecast: str) -> str:
    """A forecast's name in a sentence."""
    return _NAMES.get(forecast, forecast.replace("_", " "))


def _compare(variable: str | None, errors: Mapping[str, PerLead], headline: Headline) -> str:
    model = errors["model"]
    start = "" if variable is None else f"{variable}: "
    if all(value is None for value in model):
        return f"{start}No cell could be scored."
    if all(value is None for value in headline.values["model"]):
        headline = Headline(SQUARED_ERROR, errors)
    names = [name for name in errors if name != "model" and name not in REFERENCES]
    above = _above_optimum(model, errors["optimal"]) if "optimal" in errors else None
    if not names:
        return f"{start}{_capital(above)}." if above else f"{start}No baseline was compared."
    order = headline.order
    sentence = "; ".join([*_relations(order, headline.values, names), *([above] if above else [])])
    if _worse(order, headline.values, "persistence"):
        # Said before anything else: such a model is of no use, whatever else it beats.
        sentence = f"{start}Worse than persistence: {sentence}."
    else:
        sentence = f"{start}{_capital(sentence)}."
    otherwise = [name for name in names if _opposite(headline, errors, name)]
    if otherwise:
        sentence += f" By squared error it is otherwise: {'; '.join(_relations(SQUARED_ERROR, errors, otherwise))}."
    return sentence


def _relations(order: Order, values: Mapping[str, PerLead], names: Sequence[str]) -> list[str]:
    """How the model compares with some baselines, those with the best score first, in half sentences."""
    said: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: _mean(order.rank(values[name]))):
        said.setdefault(_relation(order, values["model"], values[name]), []).append(spoken(name))
    return [relation.replace(_BASELINES, listed(them)) for relation, them in said.items()]


def _worse(order: Order, values: Mapping[str, PerLead], name: str) -> bool:
    """Whether the mean score over the lead times is worse, by more than what is called the same."""
    if name not in values:
        return False
    ranks = (order.rank(values[forecast]) for forecast in ("model", name))
    pairs = [(m, b) for m, b in zip(*ranks, strict=True) if m is not None and b is not None]
    mine, theirs = (sum(numbers) for numbers in zip(*pairs, strict=True)) if pairs else (0.0, 0.0)
    return bool(mine > theirs + _SAME * abs(theirs))


def _sides(order: Order, model: PerLead, baseline: PerLead) -> tuple[list[int], list[int], list[int]]:
    """Lead times, from 1, at which the model is better, worse, and the same."""
    ahead: list[int] = []
    behind: list[int] = []
    same: list[int] = []
    ranks = zip(order.rank(model), order.rank(baseline), strict=True)
    for lead, (mine, theirs) in enumerate(ranks, start=1):
        if mine is None or theirs is None:
            continue
        if math.isclose(mine, theirs, rel_tol=_SAME, abs_tol=1e-15):
            same.append(lead)
        else:
            (ahead if mine < theirs else behind).append(lead)
    return ahead, behind, same


def _opposite(headline: Headline, errors: Mapping[str, PerLead], name: str) -> bool:
    """Whether the squared error has the model on the other side of a baseline at some lead time."""
    ahead, behind, _ = _sides(headline.order, headline.values["model"], headline.values[name])
    below, above, _ = _sides(SQUARED_ERROR, errors["model"], errors[name])
    return bool(set(ahead) & set(above) or set(behind) & set(below))


def _relation(order: Order, model: PerLead, baseline: PerLead) -> str:
    ahead, behind, same = _sides(order, model, baseline)
    total = len(ahead) + len(behind) + len(same)
    better, worse = (order.words(ahead=side) for side in (True, False))
    if not total:
        return f"{order.name} not defined beside {_BASELINES}"
    for leads, words in (
        (ahead, f"{better} than {_BASELINES}"),
        (behind, f"{worse} than {_BASELINES}"),
        (same, f"the same {order.name} as {_BASELINES}"),
    ):
        if leads and len(leads) == total:
            return f"{words} at every lead time"
    if ahead:
        parts = [(ahead, f"{better} than {_BASELINES}"), (same, "the same")]
        parts.append((behind, order.words(ahead=False, long=False)))
    else:
        parts = [(behind, f"{worse} than {_BASELINES}"), (same, "the same")]
    return ", ".join(f"{words} at {leads_text(leads)}" for leads, words in parts if leads)


def _capital(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}"


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
        one = f"one ensemble of {members} members"
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
