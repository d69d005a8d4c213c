"""Equations as SVG drawn by matplotlib at build time, so that they are shown without a network.

The pages write LaTeX, which other viewers render themselves. Understood are inline mathematics and displays of one or
several lines, aligned at ``&``; what matplotlib's mathtext does not know is a warning with its place.
"""

from __future__ import annotations

import html
import re
from typing import NamedTuple

from docutils import nodes
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

SIZE = 100.0
"""Points per em of the drawn paths; the page scales them to its own font."""
LINE = 1.75
"""Line distance, in em."""
INLINE_EM, BLOCK_EM = 1.12, 1.2
FONT = FontProperties(family="serif", math_fontfamily="stix")
ENVIRONMENT = re.compile(r"\\(begin|end)\{(aligned|align\*?|gathered|split)\}")
REPLACED = (
    (re.compile(r"\\operatorname\{(\w+)\}"), r"\\mathrm{\1}"),
    (re.compile(r"\\text\{([^}]*)\}"), lambda found: r"\mathrm{" + found[1].replace(" ", r"\ ") + "}"),
    (re.compile(r"'(_(?:\{[^}]*\}|\w))"), r"\1'"),  # a prime is drawn over the index, not before it
)


class Piece(NamedTuple):
    """A drawn formula: path in em with y downwards, its width, and how far it reaches above and below the line."""

    commands: str
    width: float
    above: float
    below: float


def draw(latex: str) -> Piece:
    """One formula without line breaks.

    Raises:
        ValueError: if mathtext does not know something in it.
    """
    for pattern, by in REPLACED:
        latex = pattern.sub(by, latex)
    latex = " ".join(latex.split())  # mathtext knows no line breaks
    if not latex:
        return Piece("", 0.0, 0.0, 0.0)
    path = TextPath((0, 0), f"${latex}$", size=SIZE, prop=FONT)
    # The advance, with the spaces at the end that no ink shows.
    width = TextPath((0, 0), f"${latex}$$|$", size=SIZE, prop=FONT).get_extents().x0
    box = path.get_extents()
    width = max(width, box.x1)
    return Piece(_commands(path), width / SIZE, max(box.y1, 0) / SIZE, max(-box.y0, 0) / SIZE)


def _commands(path: Path) -> str:
    names = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}
    out = []
    for points, code in path.iter_segments(curves=True, simplify=False):
        if code == Path.CLOSEPOLY:
            out.append("Z")
            continue
        pairs = [f"{x / SIZE:.3f} {-y / SIZE:.3f}" for x, y in zip(points[::2], points[1::2], strict=True)]
        out.append(names[code] + " ".join(pairs))
    return "".join(out)


def svg(pieces: list[tuple[float, float, Piece]], box: tuple[float, float, float, float], latex: str, em: float) -> str:
    """Pieces at their places, as one picture whose size follows the font.

    Args:
        pieces: x, y of the base line, and the drawn formula.
        box: left, top, width, height in em.
        latex: read by those who see no pictures.
        em: scale against the font around.
    """
    left, top, width, height = box
    drawn = "".join(f'<path transform="translate({x:.3f} {y:.3f})" d="{piece.commands}"/>' for x, y, piece in pieces)
    size = f'width="{width * em:.3f}em" height="{height * em:.3f}em"'
    below = (top + height) * em
    label = html.escape(" ".join(latex.split()), quote=True)
    return (
        f'<svg class="math" role="img" aria-label="{label}" {size} viewBox="{left:.3f} {top:.3f} {width:.3f} '
        f'{height:.3f}" style="vertical-align: {-below:.3f}em">{drawn}</svg>'
    )


def inline(latex: str) -> str:
    """A formula in a line of text."""
    piece = draw(latex)
    pad = 0.04
    box = (-pad, -piece.above - pad, piece.width + 2 * pad, piece.above + piece.below + 2 * pad)
    return svg([(0.0, 0.0, piece)], box, latex, INLINE_EM)


def display(latex: str) -> str:
    """A display: lines end with two backslashes and are aligned at ``&``."""
    text = ENVIRONMENT.sub("", latex)
    lines = [line for line in re.split(r"\\\\(?:\[[^\]]*\])?", text) if line.strip()]
    rows = [[draw(cell) for cell in line.split("&")] for line in lines]
    columns = max(len(row) for row in rows)
    widths = [max((row[i].width for row in rows if i < len(row)), default=0.0) for i in range(columns)]
    starts = [sum(widths[:i]) + 0.28 * ((i + 1) // 2) + 1.6 * (i // 2) for i in range(columns)]
    placed, y = [], 0.0
    for row in rows:
        y += max(0.0, max(piece.above for piece in row) - 1.0)
        for i, piece in enumerate(row):
            right = widths[i] - piece.width if i % 2 == 0 and columns > 1 else 0.0
            placed.append((starts[i] + right, y, piece))
        y += LINE + max(0.0, max(piece.below for piece in row) - 0.4)
    width = max(x + piece.width for x, _, piece in placed)
    top = -max(piece.above for piece in rows[0]) - 0.1
    bottom = max(at + piece.below for _, at, piece in placed) + 0.1
    return svg(placed, (-0.05, top, width + 0.1, bottom - top), text.replace("&", ""), BLOCK_EM)


def _visit(self: object, node: nodes.Element, *, block: bool) -> None:
    latex = node.astext()
    try:
        drawn = display(latex) if block else inline(latex)
    except ValueError as error:
        logger.warning("mathematics cannot be drawn: %s", str(error).strip().splitlines()[-1], location=node)
        drawn = f"<code>{html.escape(latex)}</code>"
    body: list[str] = self.body  # type: ignore[attr-defined]
    body.append(f'<div class="math-block">{drawn}</div>' if block else drawn)
    raise nodes.SkipNode


def visit_inline(self: object, node: nodes.Element) -> None:
    """Write mathematics in a line."""
    _visit(self, node, block=False)


def visit_block(self: object, node: nodes.Element) -> None:
    """Write a display."""
    _visit(self, node, block=True)


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.add_html_math_renderer("svg", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
