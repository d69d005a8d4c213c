"""The figures of the recorded ablations on ocean fields: differences with their intervals, every seed by lead time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ablation_records

from stkit.evaluate.comparison.figures import draw_forest, draw_leads

FAR = "persistence"
"""What is not in the figures of differences: beside it all the others would be one point. It is in the tables."""


def write(folder: Path) -> None:
    """Draw them, each ablation's in a folder of its own."""
    for name in ablation_records.names("ocean-*"):
        study = ablation_records.load(name).study
        place = folder / f"ablation-{name}"
        place.mkdir(exist_ok=True)
        near = replace(study, compared=tuple(one for one in study.compared if one.second != FAR))
        for variable in study.layout.variables:
            draw_forest(place, near, variable.name)
            draw_leads(place, study, variable.name)
