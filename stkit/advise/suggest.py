"""From what was found to what may be worth trying: settings, modules, and the ablation that would decide.

Every sentence is a hypothesis. Nothing here says that a module helps: only an ablation at equal budget can.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stkit.advise.correlation import Memory
from stkit.advise.season import Season, Split
from stkit.advise.series import Sample
from stkit.advise.stationarity import Findings
from stkit.data.calendar import is_monthly, typical_step
from stkit.evaluate.comparison.blocks import FEWEST_BLOCKS
from stkit.evaluate.words import percent, steps_text

SEEDS, BUDGET_SECONDS = 3, 300

_WORTH_A_TRY = 0.2
"""Share of the cells from which on a kind of cell is worth a module of its own."""
_MOSTLY = 0.5
_A_SEASON = 0.1
"""Share of the variance from which on a season is worth taking out."""
_TEST_SHARE = 0.15
_LONGEST_INPUT, _LONGEST_HORIZON, _INPUT_FOR_A_TREND = 24, 12, 12
_OWN_RECIPE = {"sst_ostia": "predrnn-sst", "wind_navy": "predrnn-wind", "synthetic_field": "synthetic"}
"""Data sets that a shipped recipe is about."""


@dataclass(frozen=True)
class Suggestion:
    """What to try.

    Attributes:
        input_steps: frames the model is given.
        horizon: frames to forecast.
        anomaly: ``data.transforms.anomaly``.
        departure_from: ``data.departure_from``.
        nonstationary: values of the grid's axis, ``none`` first.
        attention: the same.
        reasons: one sentence each.
        command: the line that runs the ablation, in pieces that are written for a shell.
        hours: what it takes, one run after the other.
    """

    input_steps: int
    horizon: int
    anomaly: str
    departure_from: str
    nonstationary: tuple[str, ...]
    attention: tuple[str, ...]
    reasons: tuple[str, ...]
    command: tuple[str, ...]
    hours: float

    @property
    def line(self) -> str:
        """The command in one line."""
        return " ".join(self.command)

    @property
    def lines(self) -> str:
        """The command over several lines."""
        return " \\\n    ".join(self.command)


def suggest(
    reference: str, settings: Mapping[str, Any], sample: Sample, split: Split, findings: Findings, memory: Memory
) -> Suggestion:
    """What to try on a field.

    Args:
        reference: the file or data set, as the user named it.
        settings: its settings, as the user gave them.
        sample: what was examined.
        split: its season.
        findings: its stationarity.
        memory: its lag correlation.
    """
    reasons: list[str] = []
    unit = sample.source.step_name
    anomaly = _anomaly(sample, split, reasons)
    modules = _modules(findings, reasons)
    departure = "damped_anomaly" if set(modules) <= {"none", "mim"} else "none"
    if departure == "none":
        reasons.append(
            "These modules say themselves where the next frame lies, so the ablation forecasts the field itself and no "
            "departure from a baseline."
        )
    input_steps, horizon = _lengths(sample, memory, "trend_season" in modules, reasons, unit)
    attention = ("none", "sam")
    reasons.append("Whether distant cells say something that neighbours do not, only the attention axis can show.")
    runs = len(modules) * len(attention) * SEEDS
    overrides = [
        f"data.input_steps={input_steps}",
        f"data.horizon={horizon}",
        f"data.transforms.anomaly={anomaly}",
        f"data.departure_from={departure}",
    ]
    if sample.times is None:
        overrides.append("data.extra_inputs=[mask]")
    recipe, about_data = _recipe(reference, settings, sample)
    command = [
        f"stkit ablate {recipe}",
        *(shlex.quote(text) for text in (*about_data, *overrides)),
        f"--grid attention={','.join(attention)} nonstationary={','.join(modules)}",
        f"--seeds {SEEDS} --budget {BUDGET_SECONDS}s",
    ]
    return Suggestion(
        input_steps=input_steps,
        horizon=horizon,
        anomaly=anomaly,
        departure_from=departure,
        nonstationary=modules,
        attention=attention,
        reasons=tuple(reasons),
        command=tuple(command),
        hours=runs * BUDGET_SECONDS / 3600,
    )


def _anomaly(sample: Sample, split: Split, reasons: list[str]) -> str:
    yearly = next((season for season in split.seasons if season.name == "year"), None)
    if split.overall < _A_SEASON:
        if split.seasons:
            reasons.append(
                f"The season makes up {percent(split.overall)} of the variance: hardly worth taking out "
                "(data.transforms.anomaly: none)."
            )
        return "none"
    if yearly is None or sample.times is None:
        period = _period_text(split.seasons[0])
        reasons.append(
            f"The season of {period} makes up {percent(split.overall)} of the variance. It is no calendar year, so "
            f"no climatology takes it out; differencing with {{season: {period.partition(' ')[0]}}} can."
        )
        return "none"
    step = typical_step(sample.times)
    kind = "month" if step is not None and is_monthly(step) else "day_of_year"
    reasons.append(
        f"The season makes up {percent(split.overall)} of the variance and is known ahead: let the network see the "
        f"departure from it (data.transforms.anomaly: {kind})."
    )
    return kind


def _modules(findings: Findings, reasons: list[str]) -> tuple[str, ...]:
    chosen = ["none", "mim"]
    wandering, trending = findings.share("difference-stationary"), findings.share("trend-stationary")
    changing = findings.changing_spread
    if wandering >= _WORTH_A_TRY:
        chosen.append("differencing")
        reasons.append(
            f"{percent(wandering)} of the cells wander like random walks. Differencing of the input shows the network "
            "their changes, which are stationary; MIM takes differences of its hidden states."
        )
    if trending >= _WORTH_A_TRY:
        chosen.append("trend_season")
        reasons.append(
            f"{percent(trending)} of the cells follow a trend, which takes the test part out of the range of the "
            "training part: trend_season carries it on."
        )
    if changing >= _WORTH_A_TRY:
        chosen.append("reversible_norm")
        reasons.append(
            f"In {percent(changing)} of the cells the spread of the changes is another one in the second half of the "
            f"record ({findings.spread_words} in the middle cell): reversible_norm gives each "
            "sequence its own scale."
        )
    if findings.silent >= _MOSTLY:
        reasons.append(
            f"In {percent(findings.silent)} of the cells no test finds anything, for or against a random walk: the "
            "record is too short for them. That is no sign of either."
        )
    if len(chosen) == 2:
        reasons.append(
            "Few cells are found to wander, to trend or to change their spread, so a module against that may have "
            "little to gain; MIM stands in the grid to check it."
        )
    return tuple(chosen)


def _lengths(sample: Sample, memory: Memory, trend: bool, reasons: list[str], unit: str) -> tuple[int, int]:
    """Input steps and horizon: what the memory asks for, as far as the test part has windows for a verdict."""
    room = int(_TEST_SHARE * (sample.steps - 2))
    most = max(2, min(room - 1, max(4, (room + 1) // (FEWEST_BLOCKS + 1))))
    lasting = _LONGEST_HORIZON if memory.overall_folding is None else int(np.ceil(2 * memory.overall_folding))
    horizon = max(1, min(lasting, _LONGEST_HORIZON, most // 2))
    wanted = max(memory.direct_lags + 1, _INPUT_FOR_A_TREND if trend else 2)
    input_steps = max(3 if trend else 2, min(wanted, _LONGEST_INPUT, most - horizon))
    words = [_memory_text(memory, unit), _direct_text(memory.direct_lags)]
    if trend and wanted == _INPUT_FOR_A_TREND:
        words.append(f"a trend shows in {_INPUT_FOR_A_TREND} steps or so")
    short = f"; {wanted} would leave too few windows in a test part of 15 %" if input_steps < wanted else ""
    reasons.append(f"{', '.join(words)}: {input_steps} input steps, {horizon} to forecast{short}.")
    block = input_steps + horizon
    windows = room - block + 1
    if windows < FEWEST_BLOCKS * block:
        needed = int(np.ceil(((FEWEST_BLOCKS + 1) * block - 1) / _TEST_SHARE)) + 2
        reasons.append(
            f"A test part of 15 % has {windows} windows, and a verdict needs {FEWEST_BLOCKS * block} "
            f"({FEWEST_BLOCKS} blocks of input and forecast): the record has {sample.steps} steps and would need about "
            f"{needed}. Until then the ablation shows scores and ranks nothing."
        )
    return input_steps, horizon


def _memory_text(memory: Memory, unit: str) -> str:
    if memory.overall_folding is None:
        return f"The correlation has not fallen to 1/e after {steps_text(memory.lags, unit)}"
    steps = f"{memory.overall_folding:.{1 if memory.overall_folding < 10 else 0}f}"
    return f"The correlation falls to 1/e in {steps} " + (f"steps of {unit}" if " " in unit else f"{unit}s")


def _direct_text(lags: int) -> str:
    if lags < 2:
        return "only the last step adds something of its own" if lags else "no step adds anything of its own"
    return f"the last {lags} steps add something of their own"


def _recipe(reference: str, settings: Mapping[str, Any], sample: Sample) -> tuple[str, list[str]]:
    """A shipped recipe, and what must be said about the data over it."""
    name = sample.source.name
    given = [f"data.dataset.{key}={_yaml(value)}" for key, value in settings.items()]
    if reference in _OWN_RECIPE:
        return _OWN_RECIPE[reference], given
    from stkit.data.netcdf import NetcdfSource

    if isinstance(sample.source, NetcdfSource):
        given = [entry for entry in given if not entry.startswith("data.dataset.variables=")]
        about = [f"data.dataset.path={_yaml(reference)}", f"data.dataset.variables=[{_yaml(sample.variable.name)}]"]
        return "predrnn-sst+netcdf", [*about, *given]
    whole = [f"data.dataset={_yaml({'name': name, **settings})}", "data.crop=null"]
    return "predrnn-sst", [*whole, "data.split={train: 0.7, validation: 0.15, test: 0.15}"]


def _yaml(value: Any) -> str:
    """A value as an override writes it; plain words stay plain."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_./~][\w./~*-]*", value) and value not in _NOT_WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


_NOT_WORDS = ("null", "true", "false", "Null", "True", "False", "NULL", "TRUE", "FALSE", "~")


def _period_text(season: Season) -> str:
    return f"{season.period:g} steps" if season.name.endswith("steps") else f"a {season.name}"
