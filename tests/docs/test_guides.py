"""What the guides for oceanographers, nowcasters and researchers show works, on the files that they write."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stkit.cli.main import run
from stkit.data.prepare import prepare
from stkit.plugin.manager import plugins
from stkit.recipe import load
from tests.docs.pages import DOCS, blocks, commands, python_blocks
from tests.fake_site import FakeSite

OCEAN, RAIN, RESEARCH = (DOCS / "guides" / f"{name}.md" for name in ("oceanographer", "nowcaster", "machine-learning"))
NETCDF = DOCS / "start" / "your-own-netcdf.md"
SMALL = ["train.steps=1", "model.layers=[4,4]"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(page: Path, name: str) -> list[str]:
    """Write the page's recipe of that name; its other blocks of YAML."""
    found = [block.body for block in blocks(page) if block.info == "yaml"]
    (recipe,) = [body for body in found if body.startswith(f"# {name}\n")]
    Path(name).write_text(recipe, encoding="utf-8")
    return [body for body in found if body != recipe]


def shown(page: Path, command: str) -> list[tuple[str, ...]]:
    """The arguments of each call of a command on a page."""
    return [one.arguments[1:] for one in commands() if one.page == page and one.arguments[0] == command]


def make(page: Path) -> None:
    block = python_blocks(page)[0]
    exec(compile(block.body, str(page), "exec"), {"__name__": "page"})  # the page's own code


def without_out(arguments: tuple[str, ...]) -> list[str]:
    at = arguments.index("--out") if "--out" in arguments else len(arguments)
    return [*arguments[:at], *arguments[at + 2 :]]


def test_the_oceanographers_recipe_is_sound() -> None:
    make(NETCDF)
    write(OCEAN, "ocean.yaml")
    for ref, *overrides in map(without_out, shown(OCEAN, "recipe")):
        data = prepare(load(ref, overrides).recipe.data, 0)
        assert len(data.test) > 0
        assert data.pipeline.variables[0].name == "sst"
    ahead, hindcasts = shown(OCEAN, "predict")
    assert run(["recipe", "ocean.yaml", "--out", "runs/ocean", *SMALL, "evaluate.maps=0"]) == 0
    assert run(["predict", *ahead]) == 0
    assert run(["predict", *hindcasts]) == 0
    with xr.open_dataset("ahead.nc") as forecast:
        assert forecast.sizes["lead_time"] == 12
    with xr.open_dataset("hindcasts.nc") as forecast:
        assert forecast.sizes["time"] == 12


def test_the_nowcasters_page() -> None:
    """From the files it writes to a report of another event, and a forecast, as the page has it."""
    make(RAIN)
    losses = [body for body in write(RAIN, "rain.yaml") if "loss:" in body and "extends" not in body]
    one_line, other_event, own_scales = map(without_out, shown(RAIN, "recipe"))
    assert len(prepare(load(one_line[0], one_line[1:]).recipe.data, 0).test) > 0
    scales = load(own_scales[0], own_scales[1:]).recipe.evaluate.scores
    assert set(scales) == {"csi_0.5", "csi_2", "csi_10", "fss_2_scale9", "fss_2_scale33"}
    assert run(["recipe", *other_event, "--out", "runs/rain", *SMALL, "data.window_stride=6", "evaluate.maps=0"]) == 0
    scores = json.loads(Path("runs/rain/scores.json").read_text())
    assert "of one event" in scores["verdict"]
    assert scores["span"] == "2024-08-10 15:00 to 2024-08-10 18:15"
    assert next(iter(scores["metrics"])) == "csi_1"
    for arguments in shown(RAIN, "predict"):
        assert run(["predict", *arguments]) == 0
    with xr.open_dataset("two-hours.nc") as forecast:
        assert forecast["rain_rate"].sizes["lead_time"] == 24
        assert np.isfinite(forecast["rain_rate"].values).all()
    for number, loss in enumerate(losses):
        Path(f"loss{number}.yaml").write_text(f"extends: rain.yaml\n{loss}", encoding="utf-8")
        assert load(f"loss{number}.yaml").recipe.train.loss.name == "balanced"


def test_the_researchers_cell_goes_where_the_page_puts_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (new,) = shown(RESEARCH, "new-plugin")
    assert run(["new-plugin", *new]) == 0
    site = here / "site"
    site.mkdir()
    for folder in (site, here / "my-idea"):
        monkeypatch.syspath_prepend(str(folder))
    FakeSite(site).install("my_idea", entries={"my_idea": "stkit_my_idea.plugin"})
    plugins.cache_clear()
    try:
        calls = [*shown(RESEARCH, "recipe"), *shown(RESEARCH, "validate")]
        assert len(calls) >= 4
        for ref, *rest in map(without_out, calls):
            recipe = load(ref, [text for text in rest if "=" in text]).recipe
            assert recipe.model.cell.name == "my_cell"
        for _, *rest in shown(RESEARCH, "ablate"):
            (axis,) = [text for text in rest if text.startswith("cell=")]
            for name in axis.removeprefix("cell=").split(","):
                assert plugins().resolve("cells", name).load_config()
    finally:
        plugins.cache_clear()


def test_what_is_said_of_the_two_real_events() -> None:
    """The guide's words on the recorded run are those of its record."""
    text = " ".join(RAIN.read_text(encoding="utf-8").split())
    record = json.loads((DOCS / "records" / "radar-knmi.json").read_text(encoding="utf-8"))
    found = record["scores"]["variables"]["rain_rate"]["scores"]
    model, persistence, extrapolation = (
        np.array(found[name]["csi_1"]) for name in ("model", "persistence", "extrapolation")
    )
    assert "a little ahead of the extrapolation that it starts from, by CSI at every lead time" in text
    assert (model > extrapolation).all()
    assert (model - extrapolation).max() < 0.02
    assert "it forecasts a little more rain than there was" in text
    assert all(0 < bias < 0.02 for bias in found["model"]["bias"])
    assert "far better than persistence" in text
    assert (model > 1.5 * persistence).all()
    assert "best early in the training" in text
    assert record["run"]["best_step"] <= record["run"]["step"] / 2
    assert "of one event" in record["scores"]["verdict"]
