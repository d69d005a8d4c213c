"""The figures of the recorded ablations: differences with their intervals, and every seed by lead time."""

from __future__ import annotations

from pathlib import Path

import ablation_records

from stkit.evaluate.comparison.figures import draw_forest, draw_leads


def write(folder: Path) -> None:
    """Draw them, each ablation's in a folder of its own."""
    for name in ablation_records.names():
        study = ablation_records.load(name).study
        place = folder / f"ablation-{name}"
        place.mkdir(exist_ok=True)
        for variable in study.layout.variables:
            draw_forest(place, study, variable.name)
            draw_leads(place, study, variable.name)
