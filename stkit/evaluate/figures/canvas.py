"""Light and dark, wide and narrow: how every figure is drawn and saved.

Figures are made without pyplot, so nothing is kept open and no display is needed. The same data gives the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from stkit.run.files import write_bytes

_DOTS_PER_INCH = 160
_LONG_NAME = 24
"""Letters of a name in a legend from which on there are fewer columns."""
_LONGEST_NARROW, _LONGEST_WIDE = 36, 50


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of paper and ink. Those of data are the same in both, or shades of the same hue."""

    name: str
    paper: str
    ink: str
    muted: str
    rule: str
    land: str
    series: tuple[str, ...]
    """Colours of lines (Okabe and Ito, told apart with every common colour vision deficiency)."""


LIGHT = Theme(
    name="light",
    paper="#ffffff",
    ink="#1a2430",
    muted="#5b6672",
    rule="#d9dee4",
    land="#c4c9cf",
    series=("#0072b2", "#d55e00", "#009e73", "#a3527c", "#8a6d00", "#56b4e9"),
)
DARK = Theme(
    name="dark",
    paper="#161c24",
    ink="#e6eaef",
    muted="#9aa5b1",
    rule="#333d49",
    land="#4a535e",
    series=("#56b4e9", "#f28e4b", "#3cc89b", "#dd93b8", "#f0e442", "#8ecae6"),
)
THEMES = (LIGHT, DARK)


@dataclass(frozen=True, slots=True)
class Format:
    """Room for a figure, so that its letters are as large on a phone as on a desk."""

    name: str
    width_inches: float
    font_points: float

    @property
    def narrow(self) -> bool:
        """Whether panels should stand below each other."""
        return self.width_inches < 5


WIDE = Format("wide", 8.4, 9.0)
NARROW = Format("narrow", 3.6, 9.5)
FORMATS = (WIDE, NARROW)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure that lies in the figures folder, and the words that go with it."""

    stem: str
    """File name without ending; ``stem.png``, ``stem.dark.png``, ``stem.narrow.png``, ``stem.narrow.dark.png``."""
    title: str
    alt: str
    """What it shows, for those who do not see it."""
    caption: str
    suffix: str = "png"


@contextmanager
def style(theme: Theme, form: Format) -> Iterator[None]:
    """Fonts and colours for what is drawn inside."""
    with matplotlib.rc_context(
        {
            "font.size": form.font_points,
            "font.family": "DejaVu Sans",
            "axes.titlesize": form.font_points,
            "axes.labelsize": form.font_points,
            "axes.edgecolor": theme.muted,
            "axes.facecolor": theme.paper,
            "axes.labelcolor": theme.ink,
            "axes.titlecolor": theme.ink,
            "axes.linewidth": 0.6,
            "figure.facecolor": theme.paper,
            "text.color": theme.ink,
            "text.parse_math": False,  # a dollar in a variable's name is a dollar
            "xtick.color": theme.muted,
            "ytick.color": theme.muted,
            "xtick.labelcolor": theme.muted,
            "ytick.labelcolor": theme.muted,
            "xtick.labelsize": form.font_points - 1,
            "ytick.labelsize": form.font_points - 1,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "grid.color": theme.rule,
            "grid.linewidth": 0.6,
            "legend.frameon": False,
            "legend.fontsize": form.font_points,
            "image.interpolation": "nearest",
        }
    ):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches, laid out so that nothing overlaps."""
    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def legend(figure: Figure, form: Format, columns: int) -> None:
    """One legend above all panels: every line once, long names shortened, as many columns as there is room for."""
    found = {}
    for axis in figure.axes:
        found.update({label: handle for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)})
    longest = max(map(len, found), default=0)
    if longest > _LONG_NAME:
        columns = 1 if form.narrow else min(columns, 2)
    shortest = _LONGEST_NARROW if form.narrow else _LONGEST_WIDE
    names = [label if len(label) <= shortest else f"{label[: shortest - 1]}…" for label in found]
    figure.legend(list(found.values()), names, loc="outside upper left", ncols=columns)


def plain_numbers(axis: Axis) -> None:
    """Numbers of a logarithmic axis as ``0.01`` and ``100``."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def png(figure: Figure) -> bytes:
    """The figure as a PNG without a note of when or by what it was made."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def stem_of(kind: str, *parts: object) -> str:
    """A figure's stem: what it shows, safe as a file name."""
    return "-".join([kind, *(re.sub(r"[^A-Za-z0-9._]+", "_", str(part)) for part in parts)])


def file_name(stem: str, theme: Theme, form: Format, suffix: str = "png") -> str:
    """Name of one version of a figure."""
    narrow = ".narrow" if form.narrow else ""
    dark = ".dark" if theme is DARK else ""
    return f"{stem}{narrow}{dark}.{suffix}"


def draw(folder: Path, stem: str, make: Callable[[Theme, Format], Figure]) -> None:
    """Draw a figure light and dark, wide and narrow."""
    for theme in THEMES:
        for form in FORMATS:
            with style(theme, form):
                figure = make(theme, form)
                write_bytes(folder / file_name(stem, theme, form), png(figure))
