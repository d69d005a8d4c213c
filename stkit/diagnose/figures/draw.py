"""All figures of a diagnosis."""

from __future__ import annotations

from pathlib import Path

from stkit.diagnose.figures.lines import draw_ages, draw_gates, draw_gradients, draw_overlaps, draw_stationarity
from stkit.diagnose.figures.maps import draw_age_maps, draw_looks
from stkit.diagnose.result import Diagnosis
from stkit.diagnose.run import Field
from stkit.evaluate.figures.canvas import Drawn


def draw_figures(folder: Path, found: Diagnosis, field: Field) -> list[Drawn]:
    """Draw into ``folder`` what there is to draw, in the order of the findings."""
    drawn = [
        draw_gates(folder, found),
        draw_gradients(folder, found),
        draw_ages(folder, found),
        draw_age_maps(folder, found, field),
        *draw_looks(folder, found, field),
        draw_stationarity(folder, found),
        draw_overlaps(folder, found),
    ]
    return [one for one in drawn if one is not None]
