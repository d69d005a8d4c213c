"""Pieces of a page. Every text that comes in is escaped here; only :class:`Markup` is taken as it is."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from stkit.evaluate.figures.canvas import DARK, LIGHT, NARROW, WIDE, Drawn, file_name

_PHONE = "(max-width: 40rem)"
_DARK = "(prefers-color-scheme: dark)"


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


COPY = Markup('<button type="button" class="copy" hidden>Copy table</button>')
"""Copies the table of its ``score`` as lines with tabs; shown where a script can run."""


def text(value: object) -> Markup:
    """Escape, unless it is markup already."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value), quote=True))


def join(pieces: Iterable[Markup]) -> Markup:
    """One after the other."""
    return Markup("\n".join(pieces))


def section(title: str, *pieces: Markup) -> Markup:
    """A section with a heading."""
    return Markup(f"<section>\n<h2>{text(title)}</h2>\n{join(pieces)}\n</section>")


def paragraph(words: str, kind: str = "") -> Markup:
    """A paragraph."""
    attribute = f' class="{text(kind)}"' if kind else ""
    return Markup(f"<p{attribute}>{text(words)}</p>")


def facts(entries: Sequence[tuple[str, str, str]]) -> Markup:
    """Key figures: name, value, and a smaller line under it."""
    rows = [
        f"<div><dt>{text(name)}</dt><dd>{text(value)}{f'<small>{text(below)}</small>' if below else ''}</dd></div>"
        for name, value, below in entries
    ]
    return Markup('<dl class="facts">\n' + "\n".join(rows) + "\n</dl>")


def plain_table(rows: Mapping[str, object], caption: str) -> Markup:
    """Names and values."""
    body = "\n".join(
        f'<tr><th scope="row">{text(name)}</th><td>{text(value)}</td></tr>' for name, value in rows.items()
    )
    return Markup(
        f'<table class="plain"><caption class="hidden">{text(caption)}</caption>\n<tbody>\n{body}\n</tbody></table>'
    )


def details(title: str, *pieces: Markup, shown: bool = False) -> Markup:
    """A part that can be folded away."""
    return Markup(f"<details{' open' if shown else ''}><summary>{text(title)}</summary>\n{join(pieces)}\n</details>")


def code(listing: str) -> Markup:
    """A listing."""
    return Markup(f'<pre tabindex="0"><code>{text(listing)}</code></pre>')


def figure(folder: Path, drawn: Drawn) -> Markup:
    """A figure with its versions inline: wide or narrow, light or dark.

    Raises:
        FileNotFoundError: a version is missing.
    """
    versions = [
        (f"screen and {_PHONE} and {_DARK}", file_name(drawn.stem, DARK, NARROW)),
        (f"screen and {_PHONE}", file_name(drawn.stem, LIGHT, NARROW)),
        (f"screen and {_DARK}", file_name(drawn.stem, DARK, WIDE)),
    ]
    shown = file_name(drawn.stem, LIGHT, WIDE)
    sources = "\n".join(
        f'<source media="{media}" srcset="{_inline(folder / name)}"{_size(folder / name)}>' for media, name in versions
    )
    image = f'<img src="{_inline(folder / shown)}" alt="{text(drawn.alt)}"{_size(folder / shown)}>'
    words = f"<b>{text(drawn.title)}.</b> {text(drawn.caption)}"
    return Markup(f"<figure>\n<picture>\n{sources}\n{image}\n</picture>\n<figcaption>{words}</figcaption>\n</figure>")


def _inline(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _size(path: Path) -> str:
    """Width and height, so that the page does not jump while it loads."""
    with path.open("rb") as stream:
        head = stream.read(24)
    width, height = (int.from_bytes(head[at : at + 4], "big") for at in (16, 20))
    return f' width="{width}" height="{height}"'
