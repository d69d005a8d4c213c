"""The report: one file without network, everything escaped, readable before, during and after a run."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from stkit.cli.main import run as stkit
from stkit.errors import UsageError
from stkit.evaluate.figures.canvas import DARK, LIGHT, Drawn
from stkit.evaluate.report import write_report
from stkit.evaluate.report.html import Markup, text
from stkit.evaluate.report.page import NO_INTERVALS, repeat_commands
from stkit.evaluate.report.player import player
from stkit.evaluate.report.record import read
from stkit.evaluate.scores import Scores, decimals, number_text
from stkit.run.directory import RunDirectory
from stkit.run.files import write_json

EVIL = "<script>alert('x')</script>\"&|`*$x^$\n# head"
VOID = {"meta", "img", "source", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, and whether they are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(run: RunDirectory) -> Page:
    write_report(run)
    page = Page(run.report.read_text(encoding="utf-8"))
    assert page.open == [], "every element is closed"
    return page


@pytest.fixture(scope="module")
def report(written: RunDirectory) -> Page:
    return Page(written.report.read_text(encoding="utf-8"))


def test_it_needs_no_network(written: RunDirectory, report: Page) -> None:
    page = report
    assert page.of("script") == [{}], "the page's own, without an address"
    assert not page.of("link")
    assert not page.of("iframe")
    for tag, attributes in page.elements:
        for name in ("src", "srcset", "href", "action", "data", "poster"):
            value = attributes.get(name, "data:")
            assert value.startswith(("data:", "#")), f"{tag} {name}"
    html = written.report.read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|@font-face", html)
    policy = next(a for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)
    assert script is not None
    allowed = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert policy["content"] == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'"
    )


def test_the_verdict_comes_first(written: RunDirectory, report: Page) -> None:
    scores = Scores.read(written.scores)
    words = " ".join(" ".join(report.words).split()).replace("\u2060", "")
    places = [words.index(part) for part in (scores.finding, scores.worth, "Scores by lead time", "How to repeat it")]
    assert places == sorted(places)


def test_numbers_stand_beside_their_convention_and_baselines(written: RunDirectory, report: Page) -> None:
    scores = Scores.read(written.scores)
    words = " ".join(" ".join(report.words).split())
    for info in scores.metrics.values():
        assert info.convention[1:] in words
    for name in ("persistence", "climatology", "damped anomaly", "made up for a test"):
        assert name in words
    rows = {name: found["rmse"] for name, found in scores.variables["sst"].scores.items()}
    for row in rows.values():
        assert " ".join(number_text(value, decimals(rows)) for value in row) in words.replace(" (best)", "")


def test_it_can_be_read_without_seeing_or_pointing(written: RunDirectory, report: Page) -> None:
    page = report
    assert page.of("html")[0]["lang"] == "en"
    assert len(page.of("h1")) == 1
    pictures = [image for image in page.of("img") if "data-frame" not in image]
    assert all(len(image["alt"]) > 20 for image in pictures)
    stages = [part for part in page.of("div") if part.get("class") == "stage"]
    assert [stage["aria-label"] for stage in stages] == ["map of the truth", "map of the forecast"]
    assert len(page.of("input")) == 1
    assert page.of("input")[0]["aria-label"].startswith("frame of sst")
    assert all(cell.get("scope") for cell in page.of("th"))
    assert any("best" in word for word in page.words), "the best is said, not only coloured"
    identities = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identities) == len(set(identities))
    for _, attributes in page.elements:
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in identities


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_contrast_is_enough_in_light_and_dark(written: RunDirectory, report: Page) -> None:
    html = written.report.read_text(encoding="utf-8")
    schemes = [
        dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", html, re.DOTALL)
    ]
    light, dark = schemes[0], schemes[1]
    assert set(light) == set(dark)
    for scheme in (light, dark):
        for ink in ("ink", "muted", "accent", "bad"):
            for paper in ("page", "paper"):
                assert contrast(scheme[ink], scheme[paper]) >= 4.5, (ink, paper)
        assert contrast(scheme["ink"], scheme["best"]) >= 4.5
    for theme, scheme in ((LIGHT, light), (DARK, dark)):
        assert theme.paper == scheme["paper"], "figures lie on the page without an edge"
        assert contrast(theme.muted, theme.paper) >= 4.5
        assert all(contrast(colour, theme.paper) >= 3 for colour in theme.series[:4])


def test_figures_are_there_for_light_dark_wide_and_narrow(written: RunDirectory, report: Page) -> None:
    page = report
    media = [source["media"] for source in page.of("source")]
    assert len(page.of("picture")) == 4, "scores, skill of each cell, maps, loss"
    assert sum("dark" in query for query in media) == 8
    assert sum("max-width" in query for query in media) == 8


def test_everything_from_outside_is_escaped(run: RunDirectory) -> None:
    scores = Scores.read(run.scores)
    evil = dataclasses.replace(scores, verdict=f"{EVIL}. {EVIL}", span=EVIL, data={EVIL: EVIL}, lead_unit=EVIL)
    sst = evil.variables["sst"]
    evil = dataclasses.replace(
        evil,
        variables={EVIL: dataclasses.replace(sst, units=EVIL, long_name=EVIL), "sst": sst},
        forecasts=dict.fromkeys(evil.forecasts, EVIL),
    )
    write_json(run.scores, evil.as_dict())
    run.update_record(
        name=EVIL, summary=EVIL, command=EVIL, reason=EVIL, device=EVIL, platform=EVIL, git={"commit": EVIL}
    )
    run.update_record(versions={EVIL: EVIL}, split={"train": {"first": EVIL, "last": EVIL}}, plugins={EVIL: EVIL})
    run.recipe.write_text(f"summary: {EVIL}")
    (run.source / "01-evil.yaml").write_text(EVIL)
    figures = json.loads((run.figures / "figures.json").read_text())
    figures[0].update(alt=EVIL, title=EVIL, caption=EVIL)
    write_json(run.figures / "figures.json", figures)
    page = page_of(run)
    assert page.of("script") == [{}]
    assert run.report.read_text(encoding="utf-8").count("<script") == 1
    card = run.card.read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```", "", card, flags=re.DOTALL)
    assert "<script" not in prose
    assert "\n# head" not in prose


def test_an_animation_that_brings_something_else_is_refused(written: RunDirectory, tmp_path: Path) -> None:
    (path,) = written.figures.glob("animation-*.json")
    content = json.loads(path.read_text())
    drawn = Drawn(path.stem, EVIL, EVIL, EVIL, "json")
    write_json(tmp_path / path.name, {**content, "variable": EVIL})
    assert "<script" not in player(tmp_path, drawn)
    for place, value in (("coast", '"/><script>alert(1)</script>'), ("bar", {"image": "https://x.org/", "ticks": []})):
        write_json(tmp_path / path.name, {**content, place: value})
        with pytest.raises(UsageError, match="stkit eval"):
            player(tmp_path, drawn)


def test_intervals_or_why_there_are_none(run: RunDirectory) -> None:
    scores = Scores.read(run.scores)
    assert scores.intervals.startswith("No 95 % intervals: 7 test windows of 5 time steps make 1.4 independent blocks")
    assert scores.intervals in " ".join(" ".join(page_of(run).words).split())
    older = {name: value for name, value in scores.as_dict().items() if name != "intervals"}
    write_json(run.scores, older)
    assert NO_INTERVALS in " ".join(" ".join(page_of(run).words).split())


def test_only_markup_is_not_escaped() -> None:
    assert text("<b>") == "&lt;b&gt;"
    assert text(Markup("<b>")) == "<b>"
    assert text('"') == "&quot;"


def test_a_run_that_was_not_scored(run: RunDirectory) -> None:
    run.scores.unlink()
    (run.figures / "figures.json").unlink()
    run.update_record(outcome="stopped", reason="interrupted")
    words = " ".join(page_of(run).words)
    assert "Not scored yet: the run is stopped (interrupted)." in words
    assert "Not scored" in run.card.read_text()


def test_a_run_that_has_done_nothing(tmp_path: Path, run: RunDirectory) -> None:
    bare = RunDirectory(tmp_path / "bare")
    bare.figures.mkdir(parents=True)
    bare.recipe.write_text(run.recipe.read_text())
    write_json(bare.record, {"outcome": "failed"})
    words = " ".join(page_of(bare).words)
    assert "the run is failed" in words


def test_it_is_the_same_each_time(run: RunDirectory) -> None:
    write_report(run)
    before = run.report.read_bytes(), run.card.read_bytes()
    write_report(run)
    assert (run.report.read_bytes(), run.card.read_bytes()) == before


def test_the_data_are_not_needed(run: RunDirectory, field_path: Path) -> None:
    run.recipe.write_text(run.recipe.read_text().replace(str(field_path), "/nowhere/sst.nc"))
    assert page_of(run).of("img")


def test_the_card(written: RunDirectory, report: Page) -> None:
    card = written.card.read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: stkit-torch\n")
    scores = Scores.read(written.scores)
    assert scores.finding in card
    assert scores.worth in card
    assert "| model |" in card
    assert "made up for a test" in card
    assert "pip install stkit\n" not in card


def test_the_commands_to_repeat_it_quote_the_path(run: RunDirectory) -> None:
    moved = RunDirectory(run.path.parent / "a run; rm")
    run.path.rename(moved.path)
    assert f"stkit recipe '{moved.path}'" in repeat_commands(read(moved))


def test_a_damaged_index_is_told(run: RunDirectory) -> None:
    (run.figures / "figures.json").write_text('[{"stem":')
    with pytest.raises(UsageError, match="stkit eval"):
        write_report(run)


def test_the_commands(run: RunDirectory, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert stkit(["report", str(run.path)]) == 0
    assert capsys.readouterr().out.strip() == str(run.report)
    assert stkit(["report", str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["card"] == str(run.card)
    assert stkit(["--quiet", "eval", str(run.path), "--all"]) == 0
    told = capsys.readouterr().out
    for words in (
        "RMSE [°C] of sst on the test part",
        "skill of the model against",
        "ACC, centred",
        "not enough to rank",
    ):
        assert words in told
    assert str(run.report) in told
    assert stkit(["eval", str(tmp_path / "nowhere")]) == 2
    assert "no such run directory" in capsys.readouterr().err
