"""The folder of an ablation: what is where in it, and which of its runs can be used again.

``ablation.json`` (the plan and how long each cell is trained), ``cells/`` (each cell's recipe with its budget),
``runs/CELL/seed-N/`` (run directories), ``comparison.json``, ``figures/``, ``report.html``.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stkit.ablate.plan import Plan
from stkit.errors import UsageError
from stkit.run.directory import RunDirectory, RunSummary, list_runs
from stkit.run.files import told_when_full, write_json

FORMAT = 1
_ENOUGH = 24
"""Hexadecimal digits of a hash that tell recipes apart."""


@dataclass(frozen=True)
class AblationDirectory:
    """One ablation's files."""

    path: Path

    @property
    def record(self) -> Path:
        """``ablation.json``."""
        return self.path / "ablation.json"

    @property
    def cells(self) -> Path:
        """Folder of the cells' recipes."""
        return self.path / "cells"

    @property
    def runs(self) -> Path:
        """Folder of the runs."""
        return self.path / "runs"

    @property
    def figures(self) -> Path:
        """Folder of the figures."""
        return self.path / "figures"

    @property
    def comparison(self) -> Path:
        """``comparison.json``: every number of the report."""
        return self.path / "comparison.json"

    @property
    def report(self) -> Path:
        """The one-file report."""
        return self.path / "report.html"

    def check(self, plan: Plan) -> None:
        """Refuse a folder that holds anything but runs of this ablation.

        Raises:
            UsageError: it is a file, or holds something else, or another ablation.
        """
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise UsageError(f"--out {self.path}: this is a file; name a directory that is new or empty")
        if not any(entry.name != _LOCK for entry in self.path.iterdir()):
            return
        if not self.record.exists():
            raise UsageError(f"--out {self.path}: is not empty and holds no ablation; name another directory")
        found = self.read()
        if found.get("identity") != plan.identity:
            told = " ".join([str(found.get("ref")), *found.get("overrides", [])])
            raise UsageError(
                f"--out {self.path}: holds another ablation ({told}, budget {found.get('budget')}); name another "
                "directory. The grid and the number of seeds may grow, the recipe and the budget may not change"
            )

    def read(self) -> dict[str, Any]:
        """``ablation.json``.

        Raises:
            UsageError: it cannot be read.
        """
        try:
            content = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.record}: cannot be read ({error})") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UsageError(f"{self.record}: not the record of an ablation that this version of stkit can go on with")
        return content

    def lengths(self) -> dict[str, Any]:
        """For each cell, by its key, how long it is trained; what was found for a cell once stays."""
        found: dict[str, Any] = self.read().get("lengths", {}) if self.record.exists() else {}
        return found

    def write(self, plan: Plan, lengths: Mapping[str, Any]) -> None:
        """Write ``ablation.json``."""
        content = {
            "format": FORMAT,
            "identity": plan.identity,
            "name": plan.base.name,
            "ref": plan.ref,
            "overrides": list(plan.overrides),
            "budget": str(plan.budget),
            "seeds": list(plan.seeds),
            "grid": {axis.name: list(axis.values) for axis in plan.axes},
            "cells": [
                {
                    "name": cell.name,
                    "values": dict(cell.values),
                    "key": cell.key[:_ENOUGH],
                    "parameters": cell.parameters,
                    "flops": cell.flops,
                }
                for cell in plan.cells
            ],
            "lengths": dict(lengths),
        }
        with told_when_full(self.record):
            self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.record, content)

    def known_runs(self) -> dict[str, RunSummary]:
        """The runs that are there, by the hash of their recipe, which has the seed in it; of several the furthest."""
        found: dict[str, RunSummary] = {}
        for run in list_runs(self.runs):
            recipe = RunDirectory(Path(run.path)).read_record().get("recipe_hash")
            other = found.get(str(recipe))
            if recipe and (other is None or _far(run) >= _far(other)):
                found[str(recipe)] = run
        return found

    def free_place(self, cell: str, seed: int) -> Path:
        """Where a new run of a cell goes."""
        path = self.runs / cell / f"seed-{seed}"
        number = 2
        while path.exists():
            path = path.with_name(f"seed-{seed}-{number}")
            number += 1
        return path

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """Within it no other process runs this ablation; gives a file number that keeps it so for who inherits it.

        Where the system has no such locks (Windows), nothing is kept.

        Raises:
            UsageError: another process runs it.
        """
        with told_when_full(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / _LOCK, "w", encoding="utf-8") as stream:
            if sys.platform != "win32":
                import fcntl

                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    raise UsageError(f"--out {self.path}: another process is running this ablation") from error
            yield stream.fileno()


_LOCK = ".lock"


def length_key(key: str) -> str:
    """A cell's key as ``ablation.json`` has it."""
    return key[:_ENOUGH]


def _far(run: RunSummary) -> tuple[bool, int]:
    return run.outcome == "finished", run.step or 0
