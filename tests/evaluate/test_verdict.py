"""The verdict in words, and how numbers are written."""

from __future__ import annotations

import json

import pytest

from stkit.evaluate.report.record import duration_text
from stkit.evaluate.scores import ScoreInfo, Scores, VariableScores, best_at, decimals, finite, number_text
from stkit.evaluate.verdict import Headline, Order, independent, leads_text, verdict
from stkit.evaluate.words import percent, score_unit, signed_text, steps_text, unit_text, with_unit


def said(model: tuple, windows: int = 200, apart: int = 200, **baselines: tuple) -> str:
    return verdict({"sst": {"model": model, **baselines}}, windows=windows, independent_windows=apart, seed=1)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ((1.0, 1.0, 1.0), "Lower error than damped anomaly and persistence at every lead time."),
        (
            (9.0, 9.0, 9.0),
            "Worse than persistence: higher error than damped anomaly and persistence at every lead time.",
        ),
        (
            (1.0, 3.0, 3.0),
            "Lower error than damped anomaly at lead time 1, higher at lead times 2–3; "
            "lower error than persistence at every lead time.",
        ),
        (
            (2.0, 2.0, 2.0),
            "The same error as damped anomaly at every lead time; lower error than persistence at every lead time.",
        ),
        (
            (2.0, 3.0, 3.0),
            "Higher error than damped anomaly at lead times 2–3, the same at lead time 1; "
            "lower error than persistence at every lead time.",
        ),
    ],
)
def test_the_finding(model: tuple, expected: str) -> None:
    assert said(model, persistence=(4.0, 5.0, 6.0), damped_anomaly=(2.0, 2.0, 2.0)).startswith(expected + " ")


def by_csi(csi: dict[str, tuple], mse: dict[str, tuple]) -> str:
    first = Headline(Order("CSI at 1 mm/h", "higher"), csi)
    return verdict({"rain": mse}, windows=9, independent_windows=9, headlines={"rain": first})


def test_the_first_score_speaks_first_and_the_squared_error_where_it_says_otherwise() -> None:
    """A blurred field of rain: the lowest error, and hardly an event."""
    csi = {"model": (0.1, 0.0), "persistence": (0.3, 0.1), "extrapolation": (0.4, 0.3)}
    mse = {"model": (3.0, 1.0), "persistence": (4.0, 4.0), "extrapolation": (2.0, 3.0)}
    assert by_csi(csi, mse).startswith(
        "Worse than persistence: lower CSI at 1 mm/h than extrapolation and persistence at every lead time. "
        "By squared error it is otherwise: lower error than extrapolation at lead time 2, higher at lead time 1; "
        "lower error than persistence at every lead time. 9 test windows"
    )


def test_nothing_is_said_of_the_squared_error_where_it_agrees() -> None:
    csi = {"model": (0.5, None), "persistence": (0.3, 0.1), "extrapolation": (0.6, 0.3)}
    mse = {"model": (1.0, 1.0), "persistence": (4.0, 4.0), "extrapolation": (0.5, 3.0)}
    assert by_csi(csi, mse).startswith(
        "Lower CSI at 1 mm/h than extrapolation at every lead time; "
        "higher CSI at 1 mm/h than persistence at every lead time. 9 test windows"
    )


def test_a_first_score_that_is_nowhere_defined_leaves_the_word_to_the_squared_error() -> None:
    csi = {"model": (None,), "persistence": (0.3,)}
    assert by_csi(csi, {"model": (1.0,), "persistence": (4.0,)}).startswith("Lower error than persistence at every")


def test_nearer_to_what_is_right() -> None:
    for better, right, words in (("zero", -0.1, "nearer to 0"), ("one", 0.9, "nearer to 1")):
        values = {"model": (right, 5.0), "persistence": (2.0, 3.0)}
        first = Headline(Order("bias", better), values)
        mse = {"model": (1.0, 4.0), "persistence": (2.0, 3.0)}
        told = verdict({"u": mse}, windows=9, independent_windows=9, headlines={"u": first})
        assert f"bias {words} than persistence at lead time 1, farther from {words[-1]} at lead time 2." in told.lower()


def test_what_it_is_worth() -> None:
    few = said((1.0,), windows=6, apart=1, persistence=(2.0,))
    assert few.endswith("6 overlapping test windows (1 independent) and one training run (seed 1): not enough to rank.")
    many = said((1.0,), persistence=(2.0,))
    assert many.endswith(
        "200 test windows and one training run (seed 1); "
        "small differences may be chance: the report has 95 % intervals."
    )


def test_one_event_is_said_to_be_one_and_ranks_nothing() -> None:
    errors = {"sst": {"model": (1.0,), "persistence": (2.0,)}}
    words = verdict(errors, windows=200, independent_windows=200, seed=1, one_event=True)
    assert words.endswith("200 test windows of one event and one training run (seed 1): not enough to rank.")


def test_every_variable_has_its_sentence() -> None:
    both = {"u": {"model": (1.0,), "persistence": (2.0,)}, "v": {"model": (3.0,), "persistence": (2.0,)}}
    words = verdict(both, windows=9, independent_windows=9)
    assert "u: Lower error than persistence at every lead time." in words
    assert "v: Worse than persistence: higher error than persistence at every lead time." in words


def test_nothing_to_say() -> None:
    assert said((None,), persistence=(None,)).startswith("No cell could be scored.")
    assert said((1.0,)).startswith("No baseline was compared.")


def test_leads() -> None:
    assert leads_text([2]) == "lead time 2"
    assert leads_text([1, 2, 3, 6, 8, 9]) == "lead times 1–3, 6 and 8–9"


def test_independent_windows_share_no_step() -> None:
    assert independent(range(6), 6) == 1
    assert independent(range(7), 6) == 2
    assert independent([0, 10, 3, 20], 5) == 3
    assert independent([], 5) == 0


def test_the_best_is_the_best_as_printed() -> None:
    rows = {"model": (0.50004, 0.7), "a": (0.5, 0.8), "b": (None, 0.9)}
    assert best_at(rows, "lower", 0) == {"model", "a"}
    assert best_at(rows, "lower", 1) == {"model"}
    assert best_at(rows, "higher", 1) == {"b"}
    assert best_at({"model": (-0.1,), "a": (0.2,)}, "zero", 0) == {"model"}
    assert best_at({"model": (None,)}, "lower", 0) == frozenset()


def test_numbers() -> None:
    assert decimals({"a": (0.512, 0.7, 1.2)}) == 3
    assert decimals({"a": (153.6, 286.0)}) == 1
    assert decimals({"a": (2.003, 2.1)}) == 3
    assert decimals({"a": (None, 0.0)}) == 3
    assert number_text(-0.1234, 2) == "−0.12"
    assert number_text(None) == "–"
    assert signed_text(0.5) == "+0.50"
    assert signed_text(-0.0001) == "+0.00"
    assert finite([1.0, float("nan"), float("inf")]) == (1.0, None, None)


def test_words() -> None:
    assert steps_text(1, "month") == "1 month"
    assert steps_text(3, "month") == "3 months"
    assert steps_text(3, "10 min") == "30 min"
    assert unit_text("degC") == "°C"
    assert unit_text("m s-1") == "m s⁻¹"
    assert unit_text("(m s-1)^2") == "(m s⁻¹)²"
    assert unit_text("1") == ""
    assert with_unit("digits", "1") == "digits"
    assert score_unit("({u})^2", "degC") == "°C²"
    assert score_unit("({u})^2", "m s-1") == "(m s⁻¹)²"
    assert score_unit("({u})^2", "1") == ""
    assert score_unit("{u}", "mm/h") == "mm/h"
    assert score_unit("dB", "1") == "dB"
    assert percent(1.0) == "100 %"
    assert percent(0.9999) == "99.9 %"
    assert percent(0.7357) == "73.6 %"
    assert duration_text(48.2) == "48 s"
    assert duration_text(380) == "6 min 20 s"
    assert duration_text(11100) == "3 h 5 min"


def test_scores_survive_json() -> None:
    scores = Scores(
        windows=2,
        independent_windows=1,
        windows_hash="ab",
        span="2001 to 2002",
        input_steps=3,
        lead_steps=(1, 2),
        lead_unit="month",
        forecasts={"model": "a model", "persistence": "stays"},
        metrics={"rmse": ScoreInfo("RMSE", "a root", "lower", "{u}")},
        variables={
            "sst": VariableScores(
                "degC", "sst", 8, 6, 3, {"model": {"rmse": (1.0, None)}}, {"persistence": (0.5, None)}
            )
        },
        verdict="Found. Worth.",
    )
    assert Scores.from_dict(json.loads(json.dumps(scores.as_dict(), allow_nan=False))) == scores
    assert (scores.finding, scores.worth) == ("Found.", "Worth.")
    assert scores.baselines == ("persistence",)
    assert scores.variables["sst"].counted_fraction == 0.5
