"""An animation in a page: two stages, a slider that the arrow keys move, and a button that plays."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stkit.errors import UsageError
from stkit.evaluate.figures.animation import SUFFIX
from stkit.evaluate.figures.canvas import Drawn
from stkit.evaluate.report.html import Markup, join, text

_IMAGE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")
_PATH = re.compile(r"[-0-9.ML e+]*")


def player(folder: Path, drawn: Drawn) -> Markup:
    """The animation that :func:`stkit.evaluate.figures.animation.draw_animation` wrote.

    Without a script it shows the first lead time.

    Raises:
        UsageError: the file cannot be read.
    """
    path = folder / f"{drawn.stem}.{SUFFIX}"
    try:
        return _player(json.loads(path.read_text(encoding="utf-8")), drawn)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); `stkit eval {folder.parent}` makes it again") from error


def _player(content: Mapping[str, Any], drawn: Drawn) -> Markup:
    frames, start = content["frames"], int(content["start"])
    labels = [str(frame["label"]) for frame in frames]
    stages = join(_stage(content, name, start) for name in ("truth", "forecast"))
    kind = "stages stacked" if content["stacked"] else "stages"
    label = f"frame of {drawn.title}"
    controls = (
        '<div class="controls" hidden><button type="button">Play</button>'
        f'<input type="range" min="0" max="{len(frames) - 1}" value="{start}" aria-label="{text(label)}"></div>'
    )
    return Markup(
        f'<figure class="player" data-labels="{text(json.dumps(labels))}">\n'
        f'<p class="frame"><output>{text(labels[start])}</output></p>\n'
        f'<div class="{kind}">\n{stages}\n</div>\n{controls}\n{_bar(content)}\n'
        f"<figcaption><b>{text(drawn.title)}.</b> {text(drawn.caption)}</figcaption>\n</figure>"
    )


def _stage(content: Mapping[str, Any], name: str, start: int) -> Markup:
    width, height = int(content["width"]), int(content["height"])
    images = join(
        Markup(f'<img data-frame="{number}" src="{_checked(_IMAGE, frame[name])}" alt=""{_on(number == start)}>')
        for number, frame in enumerate(content["frames"])
        if frame[name] is not None
    )
    coast = _checked(_PATH, content["coast"])
    # A strip would be too thin to see, a column too tall to see at once.
    shape = min(max(width / height, 0.5), 12.0)
    return Markup(
        f'<div><p>{text(name)}</p><div class="stage" style="aspect-ratio: {shape:.4g}" role="img" '
        f'aria-label="map of the {text(name)}">\n{images}\n'
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="{coast}"/></svg></div></div>'
    )


def _bar(content: Mapping[str, Any]) -> Markup:
    bar = content["bar"]
    ticks = "".join(
        f'<span style="left: {100 * float(place):.2f}%">{text(words)}</span>' for place, words in bar["ticks"]
    )
    return Markup(
        f'<div class="bar"><img src="{_checked(_IMAGE, bar["image"])}" alt="Colour bar, from low to high">'
        f"<div>{ticks}</div><p>{text(content['variable'])}</p></div>"
    )


def _on(shown: bool) -> str:
    return ' class="on"' if shown else ""


def _checked(form: re.Pattern[str], value: str) -> str:
    if not form.fullmatch(value):
        raise ValueError("it does not hold what an animation is made of")
    return value
