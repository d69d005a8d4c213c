"""What a report tells, read from the files of a run. A run that is not finished has less to tell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from stkit.errors import UsageError
from stkit.evaluate.figures.canvas import Drawn
from stkit.evaluate.scores import Scores
from stkit.run.directory import RunDirectory
from stkit.run.files import write_json

_INDEX = "figures.json"


@dataclass(frozen=True)
class Record:
    """A run as a reader sees it."""

    run: RunDirectory
    about: Mapping[str, Any]
    """``run.json``."""
    scores: Scores | None
    """None before the evaluation."""
    metrics: Sequence[Mapping[str, Any]]
    """Lines of ``metrics.jsonl``."""
    recipe: str
    """The resolved recipe."""
    source: Mapping[str, str]
    """The layers as they were written, and the overrides."""

    @property
    def name(self) -> str:
        """The recipe's name."""
        return str(self.about.get("name") or self.run.path.name)

    @property
    def own(self) -> bool:
        """Whether it was trained: not an ensemble, or forecasts from a file, which are scored only."""
        return not self.about.get("repeat")

    @property
    def duration(self) -> str | None:
        """How long it took, in words."""
        try:
            start, end = (datetime.fromisoformat(self.about[key]) for key in ("started", "finished"))
        except (KeyError, TypeError, ValueError):
            return None
        return duration_text((end - start).total_seconds())

    @property
    def version(self) -> str:
        """Version of the distribution that made the run."""
        versions = self.about.get("versions")
        return str(versions.get("stkit-torch", "")) if isinstance(versions, Mapping) else ""


def read(run: RunDirectory) -> Record:
    """Read a run directory.

    Raises:
        UsageError: ``run.json`` or ``scores.json`` is there and cannot be read.
    """
    source = {
        file.name: file.read_text(encoding="utf-8", errors="replace")
        for file in (sorted(run.source.iterdir()) if run.source.is_dir() else ())
        if file.is_file() and file.stat().st_size
    }
    return Record(
        run=run,
        about=run.read_record(),
        scores=Scores.read(run.scores) if run.scores.exists() else None,
        metrics=run.read_metrics(),
        recipe=run.recipe.read_text(encoding="utf-8"),
        source=source,
    )


def write_index(folder: Path, drawn: Sequence[Drawn]) -> None:
    """Note which figures of the forecasts there are, so that the report can be written again without the data."""
    write_json(folder / _INDEX, [asdict(one) for one in drawn])


def read_index(folder: Path) -> list[Drawn]:
    """What :func:`write_index` noted; nothing before the evaluation.

    Raises:
        UsageError: the note cannot be read.
    """
    path = folder / _INDEX
    if not path.exists():
        return []
    try:
        return [Drawn(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); `stkit eval {folder.parent}` makes it again") from error


def duration_text(seconds: float) -> str:
    """``48 s``, ``6 min 20 s``, ``3 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
