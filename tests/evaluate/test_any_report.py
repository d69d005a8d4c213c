"""Reports of what is seldom seen: many lead times and long names, one cell at one lead, nothing but land."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest

from stkit.data.source import Axis, Grid, Variable
from stkit.evaluate.figures.animation import draw_animation
from stkit.evaluate.figures.maps import draw_maps
from stkit.evaluate.figures.shown import Shown
from stkit.evaluate.report import write_report
from stkit.evaluate.report.record import write_index
from stkit.evaluate.scores import CurveScores, ScoreInfo, Scores, VariableScores
from stkit.run.directory import RunDirectory
from stkit.run.files import write_json
from tests.evaluate.test_browser import BROWSER, FRAME, browse

FORECASTS = ("model", "persistence", "climatology", "damped_anomaly", "a_baseline_whose_name_is_as_long_as_a_sentence")
LONG = "sea_surface_temperature_departure_from_the_foundation_temperature_at_ten_metres"


def made_up(folder: Path, names: list[str], leads: int, grid: Grid, *, values: bool = True) -> RunDirectory:
    """A run directory with scores and fields that nobody computed; without ``values`` nothing is defined."""
    rng = np.random.default_rng(0)
    metrics = {
        "rmse": ScoreInfo("RMSE", "root of the mean squared error", "lower", "{u}"),
        "spectrum": ScoreInfo("power spectrum ratio", "power of the forecast over that of the truth", "one", "1"),
    }

    def row() -> tuple[float | None, ...]:
        # The last third of the lead times is not defined.
        return tuple(float(rng.uniform(0.5, 2)) if values and i <= 2 * leads // 3 else None for i in range(leads))

    points = tuple(2.0**i for i in range(8))
    variables = {
        name: VariableScores(
            units="mm/h",
            long_name=name.replace("_", " "),
            all_cells=100,
            true_cells=50 if values else 0,
            counted_cells=40 if values else 0,
            scores={forecast: {metric: row() for metric in metrics} for forecast in FORECASTS},
            skill={baseline: row() for baseline in FORECASTS[1:]},
            curves={
                "spectrum": CurveScores(
                    "wavelength [km]",
                    points,
                    {"model": {"power ratio": tuple((row() * 8)[:8] if values else (None,) * 8 for _ in range(leads))}},
                )
            },
        )
        for name in names
    }
    scores = Scores(
        windows=1,
        independent_windows=1,
        windows_hash="ab",
        span="1 sequence",
        input_steps=2,
        lead_steps=tuple(range(1, leads + 1)),
        lead_unit="5 min",
        forecasts=dict.fromkeys(FORECASTS, "in words"),
        metrics=metrics,
        variables=variables,
        verdict=" ".join(f"{name}: Higher error than persistence." for name in names) + " 1 test window.",
    )
    run = RunDirectory(folder)
    run.figures.mkdir(parents=True)
    run.recipe.write_text("summary: made up\n")
    write_json(run.record, {"outcome": "finished", "name": LONG})
    write_json(run.scores, scores.as_dict())
    fields = [rng.gamma(0.3, 3, (steps, len(names), *grid.shape)) for steps in (2, leads, leads)]
    if not values:
        fields = [np.full_like(field, np.nan) for field in fields]
    shown = Shown(*fields, tuple(Variable(name, "mm/h") for name in names), grid, "5 min", None, number=1)
    drawn = [make(run.figures, shown, channel) for channel in range(len(names)) for make in (draw_maps, draw_animation)]
    write_index(run.figures, drawn)
    write_report(run)
    return run


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    y = Axis("y", np.linspace(900.0, 100.0, 9), "km")
    return made_up(tmp_path_factory.mktemp("long") / "run", [LONG, "b"], 24, Grid(9, 7, y, Axis("x")))


def test_many_lead_times_and_long_names(long: RunDirectory) -> None:
    page = html.unescape(long.report.read_text(encoding="utf-8"))
    assert page.count('<th scope="col">120 min</th>') == 6, "two scores and the skill of two variables"
    assert page.count("Behind the scores") == 1
    assert "–" in page, "what is not defined is a dash"


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path")
def test_it_fits_a_phone_all_the_same(long: RunDirectory, tmp_path: Path) -> None:
    probe = """<script>
const told = document.createElement("pre");
told.id = "told";
const letters = [...document.querySelectorAll("tbody th")].map((head) => head.getBoundingClientRect().width);
told.textContent = JSON.stringify([document.documentElement.scrollWidth, Math.min(...letters)]);
parent.document.body.append(told);
</script></body>"""
    page = re.sub(r"script-src 'sha256-[^']+'", "script-src 'unsafe-inline'", long.report.read_text(encoding="utf-8"))
    copy = tmp_path / "report.html"
    copy.write_text(FRAME.format(html.escape(page.replace("</body>", probe))), encoding="utf-8")
    told = re.search(r'<pre id="told">(.*?)</pre>', browse(copy, tmp_path), re.DOTALL)
    assert told is not None
    width, narrowest = json.loads(told[1])
    assert width <= 390
    assert narrowest > 60, "names in tables are not broken letter by letter"


def test_one_cell_at_one_lead_time(tmp_path: Path) -> None:
    page = made_up(tmp_path / "run", ["rain"], 1, Grid(1, 1)).report.read_text(encoding="utf-8")
    assert "at 5 min" in page
    assert 'max="2" value="2"' in page, "two input frames and one lead time"


def test_nothing_but_land(tmp_path: Path) -> None:
    run = made_up(tmp_path / "run", ["rain"], 2, Grid(3, 4), values=False)
    page = run.report.read_text(encoding="utf-8")
    assert "Behind the scores" not in page, "there is no line to draw"
    assert "0 %" in page
