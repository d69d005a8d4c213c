"""The directory that holds one run: what is where in it. Imports no torch.

``recipe.yaml`` (resolved: repeats the run), ``source/`` (the layers as they were written, and the overrides),
``run.json``, ``metrics.jsonl``, ``log.txt``, ``checkpoints/``, ``pipeline/``, ``scores.json``, ``errors.nc`` (of each
window of the test part: what comparisons are made from), ``forecast.nc``, ``skill.nc`` (of each cell),
``diagnosis.json``, ``drift.json`` and ``drift.html`` (of a run that goes on from another on new data), ``figures/``,
``report.html``, ``CARD.md``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stkit.errors import UsageError
from stkit.run.files import append_line, told_when_full, write_json, write_text

if TYPE_CHECKING:
    from stkit.recipe import LoadedRecipe


@dataclass(frozen=True)
class RunDirectory:
    """One run's files. Everything in it is written whole or appended a line at a time."""

    path: Path

    @classmethod
    def create(cls, loaded: LoadedRecipe, out: str | Path | None = None) -> RunDirectory:
        """Make a new run directory and write the recipe into it.

        Args:
            loaded: the recipe.
            out: where; null: ``runs/<recipe name>/<UTC time>``.

        Raises:
            UsageError: ``out`` is a file, or holds anything already: nothing is ever overwritten.
        """
        path = new_path(loaded.name) if out is None else Path(out)
        refuse_occupied(path)
        run = cls(path)
        with told_when_full(path):
            run.source.mkdir(parents=True, exist_ok=True)
            run.checkpoints.mkdir()
            run.figures.mkdir()
        write_text(run.recipe, loaded.resolved_yaml())
        for number, (source, text) in enumerate(loaded.layers, start=1):
            write_text(run.source / f"{number:02d}-{_file_name(source)}", text)
        write_text(run.source / "overrides.txt", "".join(f"{line}\n" for line in loaded.overrides))
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """An existing run.

        Raises:
            UsageError: there is no such directory, or it is not a run.
        """
        run = cls(Path(path))
        if not run.path.is_dir():
            near = [str(entry.path) for entry in list_runs(run.path.parent)] if run.path.parent.is_dir() else []
            raise UsageError(
                f"{path}: no such run directory" + (f"; runs there: {', '.join(near[-4:])}" if near else "")
            )
        if not (run.record.is_file() and run.recipe.is_file()):
            inside = [str(entry.path) for entry in list_runs(run.path)]
            hint = f"; runs below it: {', '.join(inside[-4:])}" if inside else ""
            raise UsageError(f"{path}: not a run directory (it has no run.json and recipe.yaml){hint}")
        return run

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def source(self) -> Path:
        """The recipe as it was written: each layer's text and the overrides."""
        return self.path / "source"

    @property
    def record(self) -> Path:
        """``run.json``: what ran where, and how it ended."""
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        """``metrics.jsonl``: one JSON object a line, of kind ``train`` or ``validation``."""
        return self.path / "metrics.jsonl"

    @property
    def log(self) -> Path:
        """What was told while it ran."""
        return self.path / "log.txt"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def pipeline(self) -> Path:
        """Folder of the fitted data pipeline (statistics, climatology, mask)."""
        return self.path / "pipeline"

    @property
    def scores(self) -> Path:
        """Scores on the test part."""
        return self.path / "scores.json"

    @property
    def errors(self) -> Path:
        """Errors of each window of the test part, of the model and of each baseline (NetCDF)."""
        return self.path / "errors.nc"

    @property
    def forecast(self) -> Path:
        """Forecasts of the test part (CF NetCDF)."""
        return self.path / "forecast.nc"

    @property
    def skill(self) -> Path:
        """Error and skill of each cell over the test part (CF NetCDF)."""
        return self.path / "skill.nc"

    @property
    def diagnosis(self) -> Path:
        """What was seen inside the model, if anybody looked."""
        return self.path / "diagnosis.json"

    @property
    def drift(self) -> Path:
        """How the data differ from those of the run that this one goes on from."""
        return self.path / "drift.json"

    @property
    def drift_page(self) -> Path:
        """The same to look at."""
        return self.path / "drift.html"

    @property
    def figures(self) -> Path:
        """Folder of the figures."""
        return self.path / "figures"

    @property
    def report(self) -> Path:
        """The one-file report."""
        return self.path / "report.html"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.path / "CARD.md"

    def read_record(self) -> dict[str, Any]:
        """``run.json``.

        Raises:
            UsageError: it cannot be read.
        """
        return _read_json(self.record)

    def update_record(self, **values: Any) -> None:
        """Set entries of ``run.json``; the others stay."""
        write_json(self.record, {**(self.read_record() if self.record.exists() else {}), **values})

    def append_metrics(self, **values: Any) -> None:
        """Append one line to ``metrics.jsonl``."""
        append_line(self.metrics, json.dumps(values))

    def read_metrics(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``, of one kind if one is given; a last line that was cut short is left out."""
        return [line for line in _complete_lines(self.metrics) if kind is None or line.get("kind") == kind]

    def rewind_metrics(self, step: int) -> None:
        """Take out the lines after ``step``, which a resumed run writes again, to ``metrics.superseded.jsonl``."""
        if not self.metrics.exists():
            return
        kept: list[str] = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            entry = _json_object(line)
            if entry is not None and entry.get("step", 0) <= step:
                kept.append(line)
            else:
                append_line(self.path / "metrics.superseded.jsonl", line)
        write_text(self.metrics, "".join(f"{line}\n" for line in kept))


@dataclass(frozen=True)
class RunSummary:
    """One line of ``stkit runs``."""

    path: str
    name: str
    outcome: str
    """``running``, ``finished``, ``stopped`` or ``failed``."""
    reason: str | None
    started: str | None
    finished: str | None
    step: int | None
    """Finished optimiser steps."""
    steps: int | None
    """Optimiser steps that the recipe asks for."""
    best_step: int | None
    best_loss: float | None
    """Validation loss at ``best_step``."""
    device: str | None

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def list_runs(folder: str | Path = "runs") -> list[RunSummary]:
    """The runs in ``folder`` and up to two folders below it, oldest first; a directory that is none is left out."""
    root = Path(folder)
    found: list[RunSummary] = []
    for pattern in ("run.json", "*/run.json", "*/*/run.json"):
        for file in root.glob(pattern):
            try:
                record = _read_json(file)
            except UsageError:
                continue
            values: dict[str, Any] = {name: record.get(name) for name in RunSummary.__dataclass_fields__}
            values["path"] = str(file.parent)
            values["name"] = str(values["name"] or file.parent.name)
            values["outcome"] = str(values["outcome"] or "unknown")
            found.append(RunSummary(**values))
    return sorted(found, key=lambda run: (run.started or "", run.path))


def new_path(name: str, root: str | Path = "runs") -> Path:
    """``runs/<name>/<UTC time>``, with a number behind it where that is taken."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    path = Path(root) / name / stamp
    number = 2
    while path.exists():
        path = path.with_name(f"{stamp}-{number}")
        number += 1
    return path


def refuse_occupied(path: Path) -> None:
    """Refuse a place for a new run that is not free.

    Raises:
        UsageError: it is a file, or a directory that holds something.
    """
    if path.is_dir() and any(path.iterdir()):
        what = "holds a run already" if (path / "run.json").exists() else "is not empty"
        hint = f"; `stkit resume {path}` goes on with it" if (path / "run.json").exists() else ""
        raise UsageError(f"--out {path}: {what}, and nothing is overwritten: name another directory{hint}")
    if path.exists() and not path.is_dir():
        raise UsageError(f"--out {path}: this is a file; name a directory that is new or empty")


def _file_name(source: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._+-]+", "-", Path(source).name).strip("-.") or "layer"
    return name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise UsageError(f"{file}: not a JSON object")
    return content


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _complete_lines(file: Path) -> Iterator[dict[str, Any]]:
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            entry = _json_object(line)
            if entry is not None:
                yield entry
