"""A record against an earlier one of the same recipe on the same machine. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from stkit.errors import UsageError

FORMAT = 1
"""Version of the record's layout."""
PARTS = ("training", "forecast")
COUNTED = ("peak_bytes", "launches_forward", "launches_backward")
"""Figures that are counted, not timed: they have no spread."""

Word = Literal["faster", "slower", "more", "less", "as before"]
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One figure, before and now."""

    part: str
    """``training`` or ``forecast``."""
    figure: str
    """``seconds``, or one of :data:`COUNTED`."""
    before: float
    now: float
    word: Word
    """Beyond the spread; a time whose ranges of rounds overlap is as before."""
    past_limit: bool
    """Whether it got worse by more than the tolerance."""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def read_record(path: Path) -> Record:
    """A record that ``stkit bench --out`` wrote.

    Raises:
        UsageError: it is none.
    """
    if path.is_dir():
        raise UsageError(f"--compare {path}: this is a folder; name a record that `stkit bench --out` wrote")
    if not path.exists():
        raise UsageError(f"--compare {path}: there is no such file; `stkit bench --out {path}` writes one")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"--compare {path}: cannot be read as JSON ({error})") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT or not _complete(record):
        written = record.get("format") if isinstance(record, dict) else None
        which = f"that this version of stkit reads: it is of format {written}, not {FORMAT}; measure anew"
        raise UsageError(
            f"--compare {path}: not a record of `stkit bench` "
            + (which if isinstance(written, int) and written != FORMAT else "(or a damaged one)")
        )
    return record


def check_comparable(
    record: Record,
    *,
    recipe_hash: str,
    recipe: str,
    machine: Mapping[str, Any],
    path: Path,
    other_recipe: bool = False,
) -> None:
    """Refuse a record of something else.

    Args:
        record: the earlier one.
        recipe_hash: of the recipe that is to be measured.
        recipe: its name.
        machine: what it is to be measured on.
        path: of the record.
        other_recipe: take a record of another recipe, too.

    Raises:
        UsageError: it is of another recipe, or of another machine.
    """
    if record["recipe_hash"] != recipe_hash and not other_recipe:
        same = record["recipe"] == recipe
        was = f"the recipe {recipe} as it was then" if same else f"the recipe {record['recipe']}"
        now = "which has changed since, or has other overrides" if same else f"not of {recipe}"
        raise UsageError(
            f"--compare {path}: it is of {was} ({record['recipe_hash'][:12]}; here {recipe_hash[:12]}), {now}; "
            "--other-recipe compares all the same"
        )
    before = record["machine"]
    if {**before, "threads": None} == {**machine, "threads": None} and before.get("threads") != machine["threads"]:
        raise UsageError(
            f"--compare {path}: it was measured with {before.get('threads')} threads, and here are "
            f"{machine['threads']}; OMP_NUM_THREADS={before.get('threads')} sets as many"
        )
    if before != machine:
        raise UsageError(
            f"--compare {path}: it is of another machine ({_words(before)}), this one is {_words(machine)}; "
            "times of two machines say nothing about a change. Measure both here"
        )


def other_circumstances(before: Record, now: Record) -> list[str]:
    """What else differs between two records: recipe, batch, precision, engine, what is computed again, versions."""
    found = []
    if before["recipe_hash"] != now["recipe_hash"]:
        names = f"{before['recipe']} ({before['recipe_hash'][:12]}), {now['recipe']} ({now['recipe_hash'][:12]})"
        found.append(f"recipe: {names}")
    pairs = [("precision", before.get("precision"), now.get("precision"))]
    pairs += [
        (f"sequences of a batch, {part}", before[part].get("sequences"), now[part]["sequences"]) for part in PARTS
    ]
    for part in ("engine", "memory", "versions"):
        one, other = ({} if not isinstance(r.get(part), dict) else r[part] for r in (before, now))
        keys = [key for key in dict.fromkeys([*one, *other]) if key not in ("rounding", "limit_gb", "estimated_gb")]
        pairs += [(key if part == "versions" else f"{part} {key}", one.get(key), other.get(key)) for key in keys]
    return found + [f"{what}: {_told(one)}, now {_told(other)}" for what, one, other in pairs if one != other]


def compare(before: Record, now: Record, tolerance: float) -> list[Change]:
    """What changed, figure by figure.

    Args:
        before: the earlier record.
        now: the new one.
        tolerance: share by which a figure may get worse; a time counts only where the ranges of rounds do not overlap.
    """
    found = []
    for part in PARTS:
        one, other = before[part], now[part]
        word: Word = "as before"
        if other["spread"][0] > one["spread"][1]:
            word = "slower"
        elif other["spread"][1] < one["spread"][0]:
            word = "faster"
        past = word == "slower" and other["seconds"] > one["seconds"] * (1 + tolerance)
        found.append(Change(part, "seconds", one["seconds"], other["seconds"], word, past))
        for name in COUNTED:
            if name in one and name in other:
                more, less = other[name] > one[name], other[name] < one[name]
                counted: Word = "more" if more else "less" if less else "as before"
                past = more and other[name] > one[name] * (1 + tolerance)
                found.append(Change(part, name, one[name], other[name], counted, past))
    return found


def _complete(record: Record) -> bool:
    try:
        for part in PARTS:
            low, high = record[part]["spread"]
            if not 0 < low <= float(record[part]["seconds"]) <= high < math.inf:
                return False
            if any(not 0 <= record[part].get(name, 0) < math.inf for name in COUNTED):
                return False
        return isinstance(record["machine"], dict) and all(
            isinstance(record[name], str) for name in ("recipe", "recipe_hash")
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def _told(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {what}" for what, count in value.items()) or "none"
    return "none" if value is None else str(value)


def _words(machine: Mapping[str, Any]) -> str:
    what = machine.get("processor") if machine.get("device") == "cpu" else machine.get("device")
    return f"{what}, {machine.get('threads')} threads"
