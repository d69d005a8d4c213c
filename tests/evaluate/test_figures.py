"""Figures: the same bytes for the same data, no display, nothing left open, sensible on any grid."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from stkit.data.source import Axis, Grid, Variable
from stkit.evaluate.figures import curves
from stkit.evaluate.figures.animation import draw_animation
from stkit.evaluate.figures.canvas import DARK, FORMATS, LIGHT, THEMES, file_name, stem_of, style
from stkit.evaluate.figures.colours import Scale
from stkit.evaluate.figures.lines import draw_loss, draw_scores
from stkit.evaluate.figures.maps import draw_maps, shown_leads
from stkit.evaluate.figures.panel import latitude_text, longitude_text
from stkit.evaluate.figures.shown import Shown
from stkit.evaluate.scores import CurveScores, ScoreInfo, Scores, VariableScores


def shown(height: int, width: int, *, geographic: bool = True, land: bool = True) -> Shown:
    draw = np.random.default_rng(0)
    context, truth, forecast = (draw.normal(20, 2, (3, 1, height, width)) for _ in range(3))
    if land:
        truth[..., 0, 0] = forecast[..., 0, 0] = np.nan
    grid = Grid(height, width)
    if geographic:
        y = Axis("lat", np.linspace(60, -60, height), "degrees_north", "latitude")
        grid = Grid(height, width, y, Axis("lon", np.linspace(0, 350, width), "degrees_east", "longitude"))
    times = tuple(f"2001-{month:02d}" for month in range(1, 7)) if geographic else None
    return Shown(context, truth, forecast, (Variable("sst", "degC"),), grid, "month", times, number=1)


def scores(forecasts: tuple[str, ...] = ("model", "persistence")) -> Scores:
    values = {name: {"rmse": (1.0, 2.0, None)} for name in forecasts}
    return Scores(
        windows=2,
        independent_windows=1,
        windows_hash="ab",
        span="",
        input_steps=3,
        lead_steps=(1, 2, 3),
        lead_unit="month",
        forecasts=dict.fromkeys(forecasts, ""),
        metrics={"rmse": ScoreInfo("RMSE", "a root", "lower", "{u}")},
        variables={"sst": VariableScores("degC", "", 1, 1, 1, values, {"persistence": (0.1, -0.2, None)})},
        verdict="",
    )


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.mark.parametrize(
    ("height", "width", "geographic"), [(4, 96, True), (12, 16, False), (30, 4, True), (1, 1, False)]
)
def test_maps_of_any_grid(tmp_path: Path, height: int, width: int, geographic: bool) -> None:
    land = height > 1
    drawn = draw_maps(tmp_path, shown(height, width, geographic=geographic, land=land), 0)
    for theme in THEMES:
        for form in FORMATS:
            across, down = size(tmp_path / file_name(drawn.stem, theme, form))
            assert across == pytest.approx(form.width_inches * 160, abs=2)
            assert 0.2 < down / across < 4
    assert "truth" in drawn.alt
    assert "forecast" in drawn.alt


def test_a_field_of_one_value_and_one_of_none(tmp_path: Path) -> None:
    flat = shown(4, 6)
    flat.truth[...] = flat.forecast[...] = 3.0
    draw_maps(tmp_path, flat, 0)
    flat.truth[...] = np.nan
    draw_maps(tmp_path, flat, 0)
    assert Scale.of_field(np.array([np.nan])).low < Scale.of_field(np.array([np.nan])).high
    assert Scale.of_error(np.zeros(3)).high > 0


def test_the_colours_tell_what_lies_outside() -> None:
    field = np.concatenate([np.zeros(1), np.linspace(10, 20, 998), np.full(1, 99)])
    scale = Scale.of_field(field)
    assert 9 < scale.low < scale.high < 21
    assert scale.extend == "both"
    error = Scale.of_error(np.linspace(-1, 2, 500))
    assert error.low == -error.high


def test_land_is_grey_in_the_maps(tmp_path: Path) -> None:
    bare = shown(4, 6)
    bare.truth[..., :, :3] = bare.forecast[..., :, :3] = np.nan
    drawn = draw_maps(tmp_path, bare, 0)
    for theme in THEMES:
        pixels = np.asarray(Image.open(tmp_path / file_name(drawn.stem, theme, FORMATS[0])).convert("RGB"))
        land = tuple(int(theme.land[i : i + 2], 16) for i in (1, 3, 5))
        assert (pixels == land).all(axis=-1).mean() > 0.2


def test_the_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        draw_maps(tmp_path / folder, shown(6, 8), 0)
        draw_animation(tmp_path / folder, shown(6, 8), 0)
        draw_scores(tmp_path / folder, scores(), "sst")
        draw_loss(tmp_path / folder, [{"kind": "train", "step": 1, "loss": 1.0}], None)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(names) == 13
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def pixels(uri: str) -> np.ndarray:
    """``H W 4``: an inline image."""
    content = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))


def test_the_animation_shows_input_and_leads(tmp_path: Path) -> None:
    drawn = draw_animation(tmp_path, shown(6, 8), 0)
    content = json.loads((tmp_path / f"{drawn.stem}.json").read_text())
    frames = content["frames"]
    assert [frame["label"] for frame in frames][2:4] == ["input · 2001-03", "1 month · 2001-04"]
    assert [frame["forecast"] is None for frame in frames] == [True] * 3 + [False] * 3
    assert content["start"] == 3, "the first lead time is shown first"
    first = pixels(frames[3]["truth"])
    assert first.shape == (6, 8, 4)
    assert first[0, 0, 3] == 0, "land has no colour"
    assert (first[..., 3] == 255).sum() == 47


def test_a_frame_has_the_colour_of_each_value_where_a_map_has_it(tmp_path: Path) -> None:
    found = shown(3, 4, land=False)
    found.context[...] = found.truth[...] = np.arange(12.0).reshape(3, 4)
    expected = matplotlib.colormaps["viridis"](np.linspace(0, 1, 12), bytes=True).reshape(3, 4, 4)
    for ascending in (False, True):
        latitude = np.linspace(-10, 10, 3) * (1 if ascending else -1)
        grid = dataclasses.replace(found.grid, y=dataclasses.replace(found.grid.y, values=latitude))
        drawn = draw_animation(tmp_path, dataclasses.replace(found, grid=grid), 0)
        frame = pixels(json.loads((tmp_path / f"{drawn.stem}.json").read_text())["frames"][3]["truth"])
        north_up = expected[::-1] if ascending else expected
        assert np.abs(frame.astype(int) - north_up).max() <= 4


def test_a_large_grid_is_thinned_and_that_is_told(tmp_path: Path) -> None:
    drawn = draw_animation(tmp_path, shown(3, 1100, geographic=False), 0)
    assert "Every 3th cell" not in drawn.caption
    assert "One cell in 3 of each row and column is shown." in drawn.caption
    frame = json.loads((tmp_path / f"{drawn.stem}.json").read_text())["frames"][0]["truth"]
    assert pixels(frame).shape == (1, 367, 4)


def test_scores_and_loss(tmp_path: Path) -> None:
    many = ("model", "persistence", "climatology", "damped_anomaly", "a", "b", "c", "d")
    drawn = draw_scores(tmp_path, scores(many), "sst")
    assert "RMSE" in drawn.alt
    lines = [{"kind": "train", "step": step, "loss": 100.0 / step} for step in range(1, 50)]
    lines += [{"kind": "validation", "step": 10, "loss": 3.0}, {"kind": "validation", "step": 20, "loss": float("nan")}]
    found = draw_loss(tmp_path, lines, 10)
    assert found is not None
    assert "step 10" in found.alt
    assert draw_loss(tmp_path, [], None) is None


def lines(*values: float | None) -> tuple[tuple[float | None, ...], ...]:
    return (values, (None,) * len(values), values)


@pytest.mark.parametrize(
    ("curve", "panels"),
    [
        (
            CurveScores(
                "wavelength [cells]",
                (64.0, 8.0, 2.0),
                {
                    "model": {
                        "power ratio": lines(1, 0.5, 0.1),
                        "power": lines(9, 1, 0.01),
                        "power of the truth": lines(9, 2, 0.1),
                    }
                },
            ),
            ["power ratio, 1 month", "power ratio, 3 months", "power, 1 month", "power, 3 months"],
        ),
        (
            CurveScores(
                "forecast probability",
                (0.0, 0.5, 1.0),
                {"model": {"forecast probability": lines(0, 0.5, 1), "observed frequency": lines(0.1, 0.4, None)}},
            ),
            ["observed frequency, 1 month", "observed frequency, 3 months"],
        ),
        (
            CurveScores("members below the truth", (0.0, 1.0), {"model": {"share": lines(0.2, 0.8)}}),
            ["share, 1 month", "share, 3 months"],
        ),
    ],
)
def test_curves_have_a_panel_for_each_line_and_lead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, curve: CurveScores, panels: list[str]
) -> None:
    made = []

    def draw(folder: Path, stem: str, make: Callable) -> None:
        with style(LIGHT, FORMATS[0]):
            made.append(make(LIGHT, FORMATS[0]))

    monkeypatch.setattr(curves, "draw", draw)
    plain = scores(("model",))
    sst = dataclasses.replace(plain.variables["sst"], curves={"rmse": curve})
    drawn = curves.draw_curves(tmp_path, dataclasses.replace(plain, variables={"sst": sst}), "sst", "rmse")
    assert drawn is not None
    assert [axis.get_title(loc="left") for axis in made[0].axes] == panels
    made[0].draw_without_rendering()
    written = [label.get_text() for axis in made[0].axes for label in axis.get_xticklabels()]
    assert not any("$" in words for words in written), "numbers are not set as formulas"


def figures_of_pyplot() -> list[int]:
    pyplot = sys.modules.get("matplotlib.pyplot")
    return [] if pyplot is None else list(pyplot.get_fignums())


def test_no_display_and_no_pyplot(tmp_path: Path) -> None:
    before = figures_of_pyplot()  # other tests may have left some open
    draw_maps(tmp_path, shown(4, 6), 0)
    assert figures_of_pyplot() == before


def test_leads_that_are_shown() -> None:
    assert shown_leads(3) == (0, 1, 2)
    assert shown_leads(10) == (0, 3, 6, 9)
    assert shown_leads(1) == (0,)


def test_degrees() -> None:
    assert [longitude_text(v) for v in (0, 60, 180, 200, 377.5, -30)] == [
        "0°",
        "60°E",
        "180°",
        "160°W",
        "17.5°E",
        "30°W",
    ]
    assert [latitude_text(v) for v in (-5, 0, 4.5)] == ["5°S", "0°", "4.5°N"]


def test_a_strange_name_is_a_safe_file_name() -> None:
    assert stem_of("maps", "../a b/ü", 1) == "maps-.._a_b_-1"
    assert "/" not in file_name(stem_of("maps", "/etc/passwd"), DARK, FORMATS[1])
    assert LIGHT.series != DARK.series
