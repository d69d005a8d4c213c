"""A study from what ``comparison.json`` keeps of it: tables, figures and pages again, without the runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stkit.data.source import Variable
from stkit.evaluate.comparison.difference import Estimate, Paired
from stkit.evaluate.comparison.group import MODEL, Cost
from stkit.evaluate.comparison.study import Compared, Member, Study
from stkit.evaluate.scores import ScoreInfo
from stkit.evaluate.window_errors import ErrorsLayout

Content = Mapping[str, Any]


def study_of(content: Content) -> Study:
    """The inverse of :meth:`stkit.evaluate.comparison.study.Study.as_dict`; the times of the windows are not kept.

    Args:
        content: what that gave, from JSON or not.

    Raises:
        KeyError: something of it is missing.
    """
    members = tuple(_member(member) for member in content["members"])
    layout = ErrorsLayout(
        forecasts=(MODEL, *(member.name for member in members if not member.trained)),
        variables=tuple(Variable(**variable) for variable in content["variables"]),
        starts=tuple(content["starts"]),
        times=None,
        input_steps=content["input_steps"],
        horizon=content["horizon"],
        windows_hash=content["windows_hash"],
        lead_unit=content["lead_unit"],
        share_steps=content["share_steps"],
    )
    compared = tuple(_compared(one) for one in content["compared"])
    info = ScoreInfo(**content["info"]) if content.get("info") else None
    compared = tuple(replace(one, higher=info is not None and info.better == "higher") for one in compared)
    return Study(content["score"], layout, members, compared, content["block"], tuple(content["notes"]), info)


def _member(content: Content) -> Member:
    cost = content["cost"]
    return Member(
        name=content["name"],
        seeds=tuple(content["seeds"]),
        runs=tuple(content["runs"]),
        scores={
            name: tuple(tuple(_number(value) for value in row) for row in rows)
            for name, rows in content["scores"].items()
        },
        overall={name: tuple(_number(value) for value in row) for name, row in content["overall"].items()},
        cost=Cost() if cost is None else Cost(**{name: _tuple(value) for name, value in cost.items()}),
    )


def _compared(content: Content) -> Compared:
    pair = Paired(
        overall=_estimate(content),
        by_lead=tuple(_estimate(lead) for lead in content["by_lead"]),
        block=content["block"],
        blocks=content["blocks"],
        correlation=content["correlation"],
    )
    return Compared(
        variable=content["variable"],
        first=content["first"],
        second=content["second"],
        with_baseline=content["with_baseline"],
        paired=pair,
        diebold_mariano=content["diebold_mariano"],
        p_adjusted=content["p_adjusted"],
    )


def _estimate(content: Content) -> Estimate:
    return Estimate(
        difference=_number(content["difference"]),
        second=_number(content["second_score"]),
        low=content["low"],
        high=content["high"],
        p=content.get("p"),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
