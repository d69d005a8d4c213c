"""The report in a real browser: its script runs, nothing is asked of a network, and it fits a phone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stkit.evaluate.scores import Scores
from stkit.evaluate.verdict import spoken
from stkit.run.directory import RunDirectory

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path")

# What a reader does, and what is seen then. It stands behind the page's own script in a copy of the page, which lies in
# a frame as wide as a phone: the browser's own window is never that narrow.
PROBE = """<script>
const seen = {};
const player = document.querySelector(".player");
const slider = player.querySelector("input");
const shown = () => [...player.querySelectorAll(".stage")].map(
  (stage) => [...stage.querySelectorAll("img.on")].map((image) => Number(image.dataset.frame)));
const move = (frame) => {
  slider.value = frame;
  slider.dispatchEvent(new Event("input"));
  return { frames: shown(), label: player.querySelector("output").textContent };
};
seen.first = { frames: shown(), label: player.querySelector("output").textContent };
seen.input = move(0);
seen.last = move(Number(slider.max));
slider.focus();
seen.focused = document.activeElement === slider;
seen.spoken = slider.getAttribute("aria-valuetext");
player.querySelector("button").click();
seen.playing = { frames: shown(), button: player.querySelector("button").textContent };
player.querySelector("button").click();
seen.paused = player.querySelector("button").textContent;
seen.requests = performance.getEntriesByType("resource").map((one) => one.name)
  .filter((name) => !name.startsWith("data:"));
seen.width = innerWidth;
seen.page = document.documentElement.scrollWidth;
seen.small = [...document.querySelectorAll("p, td, th, small, span, figcaption, button, summary")]
  .filter((one) => one.offsetParent && one.textContent.trim() && parseFloat(getComputedStyle(one).fontSize) < 12)
  .map((one) => one.textContent.trim());
let copied = "";
Object.defineProperty(navigator, "clipboard", { value: { writeText: async (text) => { copied = text; } } });
document.querySelector("button.copy").click();
seen.copied = copied;
const told = document.createElement("pre");
told.id = "told";
told.textContent = JSON.stringify(seen);
parent.document.body.append(told);
</script>
</body>"""


FRAME = '<!DOCTYPE html><html><body><iframe style="width: 390px; height: 800px; border: 0" srcdoc="{}"></iframe></body>'


def browse(page: Path, folder: Path) -> str:
    """The page as the browser has it after its scripts ran."""
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--no-first-run", f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def seen(written: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("browser")
    page = written.report.read_text(encoding="utf-8")
    opened = re.sub(r"script-src 'sha256-[^']+'", "script-src 'unsafe-inline'", page)
    copy = folder / "report.html"
    copy.write_text(FRAME.format(html.escape(opened.replace("</body>", PROBE))), encoding="utf-8")
    told = re.search(r'<pre id="told">(.*?)</pre>', browse(copy, folder), re.DOTALL)
    assert told is not None
    return json.loads(html.unescape(told[1]))


def test_the_page_allows_its_own_script(written: RunDirectory, tmp_path: Path) -> None:
    page = browse(written.report.resolve(), tmp_path)
    assert '<div class="controls" hidden' in written.report.read_text(encoding="utf-8")
    assert '<div class="controls">' in page, "the script took the hidden away"


def test_the_slider_moves_the_frame(seen: dict) -> None:
    assert seen["first"]["frames"] == [[3], [3]], "the first lead time, before anybody moves it"
    assert seen["input"]["frames"] == [[0], []], "no forecast of what is known"
    assert seen["input"]["label"].startswith("input")
    assert seen["last"]["frames"] == [[4], [4]]
    assert seen["last"]["label"].startswith("2 months")
    assert seen["spoken"] == seen["last"]["label"]
    assert seen["focused"], "the arrow keys move it"
    assert seen["playing"] == {"frames": [[0], []], "button": "Pause"}, "from the last on to the first"
    assert seen["paused"] == "Play"


def test_nothing_is_asked_of_a_network(seen: dict) -> None:
    assert seen["requests"] == []


def test_it_fits_a_phone(seen: dict) -> None:
    assert seen["width"] == 390
    assert seen["page"] <= 390, "nothing sticks out at the side"
    assert seen["small"] == [], "no letters under 12 px"


def test_a_table_is_copied_as_a_spreadsheet_reads_it(seen: dict, written: RunDirectory) -> None:
    lines = [line.split("\t") for line in seen["copied"].splitlines()]
    assert lines[0] == ["lead time", "1 month", "2 months"]
    assert [line[0] for line in lines[1:]] == [spoken(name) for name in Scores.read(written.scores).forecasts]
    assert all(float(cell) > 0 for line in lines[1:] for cell in line[1:])
