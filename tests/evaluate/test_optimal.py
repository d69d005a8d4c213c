"""The best possible forecast in the scores and the report of a run, and where there is none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stkit.data.box import Box
from stkit.data.moving_mnist import MovingMnist
from stkit.data.moving_mnist_config import MovingMnistConfig
from stkit.data.record import SequencesRecord, SpanRecord
from stkit.data.source import ArraySource
from stkit.data.synthetic_field import SyntheticField
from stkit.data.synthetic_field_config import SyntheticFieldConfig
from stkit.errors import DataError, RecipeError
from stkit.evaluate.baselines import make_baseline
from stkit.evaluate.optimal import Optimal
from stkit.evaluate.report import write_report
from stkit.evaluate.run import evaluate_run
from stkit.evaluate.scores import Scores, best_at
from stkit.evaluate.verdict import verdict
from stkit.recipe import from_dict, load
from stkit.run.directory import RunDirectory
from stkit.run.record import new_record
from stkit.train.trainer import train
from tests.data.fields import config

KNOBS: dict[str, Any] = {"height": 5, "width": 6, "steps": 240, "velocity_x": 1.0, "land_fraction": 0.2}
RECIPE: dict[str, Any] = {
    "summary": "tiny",
    "data": {"dataset": {"name": "synthetic_field", **KNOBS}, "input_steps": 3, "horizon": 2},
    "model": {"name": "predrnn", "layers": [2]},
    "train": {"steps": 1, "batch_size": 2, "loss": {"name": "mse"}, "sampling": {"name": "none"}},
    "evaluate": {"baselines": ["persistence", "optimal"], "maps": 0},
}


def field(**knobs: Any) -> SyntheticField:
    return SyntheticField(SyntheticFieldConfig.model_validate({"name": "synthetic_field", **KNOBS, **knobs}))


def fitted(source: SyntheticField) -> Optimal:
    optimal = make_baseline("optimal", config(dataset=source.config)).fit(SpanRecord(source, 0, 100))
    assert isinstance(optimal, Optimal)
    return optimal


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    loaded = from_dict(RECIPE, name="tiny")
    run = RunDirectory.create(loaded, tmp_path_factory.mktemp("runs") / "tiny")
    run.update_record(**new_record(loaded))
    train(loaded, run)
    evaluate_run(run)
    write_report(run)
    return run


def test_a_run_shows_it_beside_the_baselines(run: RunDirectory) -> None:
    scores = Scores.read(run.scores)
    assert list(scores.forecasts) == ["model", "persistence", "optimal"]
    rows = scores.variables["field"].scores
    for lead in range(2):
        assert rows["optimal"]["rmse"][lead] < min(rows["model"]["rmse"][lead], rows["persistence"]["rmse"][lead])
    said = re.search(r"expected RMSE by lead time: ([\d.]+), ([\d.]+) °C$", scores.forecasts["optimal"])
    assert said is not None
    np.testing.assert_allclose(rows["optimal"]["rmse"], [float(said[1]), float(said[2])], rtol=0.1)
    assert re.search(r"its RMSE is \d+ to \d+ % above that of the best possible forecast", scores.verdict)
    page = run.report.read_text(encoding="utf-8")
    assert '<th scope="row">best possible</th>' in page
    assert "exact, by the joint covariance" in page
    assert "| best possible |" in run.card.read_text(encoding="utf-8")


def test_it_is_marked_as_the_best_of_no_contest() -> None:
    values = {"model": (0.5, 0.6), "persistence": (0.4, None), "optimal": (0.1, 0.2)}
    assert best_at(values, "lower", 0) == {"persistence"}
    assert best_at(values, "lower", 1) == {"model"}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ((1.21, 1.0), "Lower error than persistence at every lead time; its RMSE is 0 to 10 % above that of the best"),
        ((1.21, 1.21), "Lower error than persistence at every lead time; its RMSE is 10 % above that of the best"),
        ((0.98, 1.001), "Lower error than persistence at every lead time; its RMSE is that of the best possible"),
    ],
)
def test_the_verdict_says_how_far_above_it_a_model_stays(model: tuple[float, ...], expected: str) -> None:
    errors = {"v": {"model": model, "persistence": (2.0, 2.0), "optimal": (1.0, 1.0)}}
    assert verdict(errors, windows=9, independent_windows=9).startswith(expected)


def test_the_verdict_without_baselines_or_without_an_error_to_reach() -> None:
    alone = {"v": {"model": (4.0,), "optimal": (1.0,)}}
    assert verdict(alone, windows=9, independent_windows=9).startswith("Its RMSE is 100 % above that of the best")
    certain = {"v": {"model": (4.0,), "persistence": (5.0,), "optimal": (0.0,)}}
    assert "best possible" not in verdict(certain, windows=9, independent_windows=9)


def test_a_batch_is_its_windows() -> None:
    source = field()
    optimal = fitted(source)
    starts = np.array([[3, 40], [41, 7]])
    index = starts[..., None] + np.arange(5)
    fields, times = torch.from_numpy(source.read(0, 60))[torch.from_numpy(index)], source.times[index]
    said = optimal.forecast(fields[:, :, :3], times[..., :3], times[..., 3:])
    assert said.shape == (2, 2, 2, 1, 5, 6)
    for at in np.ndindex(2, 2):
        alone = source.optimum(3).forecast(fields[at][:3].numpy(), int(starts[at]), 2)
        np.testing.assert_array_equal(said[at].numpy(), alone)


def test_what_it_cannot_forecast() -> None:
    source = field()
    optimal = fitted(source)
    context, times = torch.zeros(3, 1, 5, 6), source.times
    with pytest.raises(DataError, match="of the whole grid, not of a part of it"):
        optimal.forecast(context, times[:3], times[3:5], Box(0, 0, 5, 6))
    with pytest.raises(DataError, match="has no step at 1850"):
        optimal.forecast(context, np.array(["1850-01", "1850-02", "1850-03"], "datetime64[ns]"), 2)
    with pytest.raises(DataError, match="the context has no times"):
        optimal.forecast(context, None, 2)
    with pytest.raises(DataError, match="has not been fitted"):
        Optimal().forecast(context, times[:3], 2)


def test_other_data_refuse_it_with_the_reason(tmp_path: Path) -> None:
    reason = "nobody knows that of 'sst_ostia': leave it out, or take a field that is made by a law"
    with pytest.raises(RecipeError, match=reason) as caught:
        load("predrnn-sst", ["evaluate.baselines=[persistence,optimal]"])
    (problem,) = caught.value.problems
    assert problem.path == ("evaluate", "baselines", 1)
    assert [one.name for one in load("synthetic").recipe.evaluate.baselines or ()][-1] == "optimal"
    measured = Optimal().fit(SpanRecord(ArraySource(np.zeros((9, 1, 2, 2), np.float32)), 0, 9))
    with pytest.raises(DataError, match="nobody knows that of 'array'"):
        measured.forecast(torch.zeros(3, 1, 2, 2), None, 2)
    digits = MovingMnist(MovingMnistConfig(name="moving_mnist"))
    with pytest.raises(DataError, match="nobody knows that of 'the data'"):
        Optimal().fit(SequencesRecord(digits, 1, 3, 0))
