"""Write ``diagnosis.json`` and its figures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from stkit.diagnose.figures import draw_figures
from stkit.diagnose.findings import findings, looked_at
from stkit.diagnose.result import Diagnosis
from stkit.diagnose.run import Field
from stkit.run.files import write_json


def write_diagnosis(found: Diagnosis, field: Field, path: Path, figures: Path) -> dict[str, Any]:
    """Write a diagnosis, and the figures with their captions.

    Args:
        found: what was found.
        field: where its maps lie.
        path: the JSON file.
        figures: folder of the figures; those of an earlier diagnosis in it are taken away.

    Returns:
        What was written to ``path``.

    Raises:
        RunFailed: the disk is full.
    """
    for old in figures.glob("diagnosis-*.png"):
        old.unlink()
    drawn = draw_figures(figures, found, field)
    content = {
        "looked_at": looked_at(found),
        "findings": [asdict(finding) for finding in findings(found)],
        **found.as_dict(),
        "figures": [asdict(one) for one in drawn],
    }
    write_json(path, content)
    return content
