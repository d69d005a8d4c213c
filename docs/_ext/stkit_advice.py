"""Draws the figure of the page on advice from a packaged field, before Sphinx reads the pages."""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx


def write(folder: Path) -> None:
    """The maps in ``folder``, light and dark."""
    from stkit.advise.advice import advise
    from stkit.advise.figures import draw_maps

    folder.mkdir(exist_ok=True)
    draw_maps(folder, advise("wind_navy", variable="wind_u", most_cells=320))


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "generated"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
