"""Draws the figures of results from the run records, into ``docs/generated/``, before Sphinx reads the pages."""

from __future__ import annotations

from pathlib import Path

import ablation_figures
import field_figures
import learning_curves
import scaling_figures
from sphinx.application import Sphinx


def write(app: Sphinx) -> None:
    """Draw them."""
    folder = Path(app.srcdir) / "generated"
    folder.mkdir(exist_ok=True)
    learning_curves.write(Path(app.srcdir) / "records", folder)
    ablation_figures.write(folder)
    field_figures.write(folder)
    scaling_figures.write(folder)


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
