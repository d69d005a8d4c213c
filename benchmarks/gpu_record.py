"""What ``benchmarks/gpu.py`` keeps: new figures take the place of old ones of the same case, the others stay."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import torch

KEYS = {
    "rows": ("model", "precision", "batch"),
    "launches": ("model", "side", "work"),
    "check": ("model", "precision", "engine", "graph"),
}
"""Lists of a record, and what tells their entries apart."""
SAME = ("card", "torch", "cuda", "cudnn")
"""What must be the same for figures to stand in one record."""


def about(device: torch.device) -> dict[str, str]:
    """The card and the versions."""
    told = {"date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"), "torch": torch.__version__}
    if device.type == "cuda":
        told |= {
            "card": torch.cuda.get_device_name(device),
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),
        }
    return told


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A record with the figures of both; each entry says when it was measured, if that is not the record's own date.

    Args:
        old: what was kept, or nothing; it is dropped where it is of another card, or of other versions or widths.
        new: what was measured.
    """
    if not old or any(old["about"].get(name) != new["about"].get(name) for name in SAME):
        return new
    if old["hidden"] != new["hidden"]:
        return new
    whole = {**old, **new, "operations": {**old.get("operations", {}), **new.get("operations", {})}}
    for name, key in KEYS.items():
        entries = {_key(entry, key): entry for entry in new.get(name, ())}
        for entry in old.get(name, ()):
            entries.setdefault(_key(entry, key), {**entry, "date": entry.get("date", old["about"]["date"])})
        if entries:
            whole[name] = list(entries.values())
    there = {_key(row, KEYS["rows"]) for row in whole.get("rows", ())}
    asked = dict.fromkeys(tuple(case) for record in (old, new) for case in record.get("left_out", ()))
    whole["left_out"] = [list(case) for case in asked if case not in there]
    return whole


def _key(entry: dict[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(entry[name] for name in names)
