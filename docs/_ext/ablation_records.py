"""What is kept of a finished ablation, in ``docs/records/ablation/``, and the comparison read back from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from stkit.evaluate.comparison.saved import study_of
from stkit.evaluate.comparison.study import Study

RECORDS = Path(__file__).resolve().parents[1] / "records" / "ablation"
KEPT = ("ref", "overrides", "budget", "grid", "seeds")
KEPT_OF_RUN = ("platform", "python", "versions", "device", "world_size", "split")


class Ablation(NamedTuple):
    """A record."""

    about: dict[str, Any]
    """What was varied, when and where, and the spans of the split."""
    study: Study


def is_ablation(folder: Path) -> bool:
    """Whether the folder is one that ``stkit ablate`` wrote."""
    return (folder / "ablation.json").is_file()


def record(folder: Path) -> Path:
    """Keep an ablation's record, under the name of its folder.

    Raises:
        SystemExit: if it was not trained to the end.
    """
    if not (folder / "comparison.json").is_file():
        raise SystemExit(f"{folder} has not finished: there is no comparison.json")
    about, comparison = (
        json.loads((folder / name).read_text(encoding="utf-8")) for name in ("ablation.json", "comparison.json")
    )
    if comparison.pop("failed"):
        raise SystemExit(f"{folder} has runs that failed")
    runs = [run for member in comparison["members"] for run in member["runs"]]
    logs = [
        json.loads((folder / "runs" / Path(run).parent.name / Path(run).name / "run.json").read_text("utf-8"))
        for run in runs
    ]
    for member in comparison["members"]:
        member["runs"] = ["/".join(Path(run).parts[-2:]) for run in member["runs"]]
    kept = {
        "about": {
            **{key: about[key] for key in KEPT},
            **{key: logs[0][key] for key in KEPT_OF_RUN},
            "started": min(log["started"] for log in logs),
            "finished": max(log["finished"] for log in logs),
        },
        "comparison": comparison,
    }
    RECORDS.mkdir(parents=True, exist_ok=True)
    path = RECORDS / f"{folder.resolve().name}.json"
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def load(name: str) -> Ablation:
    """A record by its name; what is ``attention=sam nonstationary=none`` in the grid is ``sam`` on the pages."""
    content = json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))
    return Ablation(content["about"], _shortened(study_of(content["comparison"])))


def _shortened(study: Study) -> Study:
    labels = {member.name: _label(member.name) if member.trained else member.name for member in study.members}
    return replace(
        study,
        members=tuple(replace(member, name=labels[member.name]) for member in study.members),
        compared=tuple(replace(one, first=labels[one.first], second=labels[one.second]) for one in study.compared),
    )


def _label(name: str) -> str:
    """The values of the axes that are not ``none``."""
    values = [part.partition("=")[2] for part in name.split()]
    return " + ".join(value for value in values if value != "none") or "neither"


def names(pattern: str) -> list[str]:
    """Of the records whose names are like ``ocean-*``."""
    return sorted(path.stem for path in RECORDS.glob(f"{pattern}.json"))
