"""The tables of the page on speed that compare with OpenSTL, from the record of `benchmarks/against_openstl.py`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RECORD = Path(__file__).resolve().parents[1] / "records" / "against_openstl.json"
USUAL = {"hidden": 128, "kernel": 5, "size": 64}
SHOWN = 6
"""Operators of a profile that are named."""

Row = Mapping[str, Any]


def against_openstl(_records: object, name: str) -> Iterator[str]:
    """``official`` widths, ``others``, the ``profile`` of a training step, or what is ``held`` in it."""
    rows = json.loads(RECORD.read_text(encoding="utf-8"))["rows"]
    yield from {"official": _official, "others": _others, "profile": _profile, "held": _held}[name](rows)


def _official(rows: Sequence[Row]) -> Iterator[str]:
    chosen = [row for row in rows if _is_official(row)]
    yield from _compared([(theirs, ours, _name(ours) + which) for theirs, ours, which in _pairs(chosen)])
    yield ""
    yield (
        "How many times faster than OpenSTL: on the clock (medians; in brackets the smallest and the largest ratio of "
        "a round), by the processor's time, which other programs on the machine disturb less, and OpenSTL's and "
        "stkit's seconds on the clock. Memory is a share of OpenSTL's. 4 layers of 128 channels, kernels of 5 × 5, "
        "patches of 4 on 64 × 64 cells, 10 frames given and 10 forecast, batch 4 (E3D-LSTM: 1), "
        f"float32, {_about(chosen)}"
    )


def _others(rows: Sequence[Row]) -> Iterator[str]:
    chosen = [row for row in rows if not _is_official(row)]
    yield from _compared(
        [(theirs, ours, _name(ours, full=True) + which) for theirs, ours, which in _pairs(chosen)]
        + [(row, row, f"recipe `{row['recipe']}`, against `direct`") for row in chosen if "recipe" in row]
    )
    yield ""
    yield f"As above. A recipe has no counterpart in OpenSTL. {_about(chosen)}"


def _compared(pairs: Sequence[tuple[Row, Row, str]]) -> Iterator[str]:
    yield "| model | engine | training step | forecast | memory, training |"
    yield "|---|---|---:|---:|---:|"
    for theirs, ours, label in pairs:
        first = next(iter(theirs["sides"]))
        for engine in ours["sides"]:
            if engine in (first, "openstl"):
                continue
            there, here = theirs["sides"][first], ours["sides"][engine]
            cells = [_ratio(there, here, what) for what in ("train", "forecast")]
            share = here["mebibytes"]["train"] / there["mebibytes"]["train"]
            yield f"| {label} | `{engine}` | " + " | ".join(cells) + f" | {share:.2f} × |"


def _pairs(rows: Sequence[Row]) -> Iterator[tuple[Row, Row, str]]:
    """Theirs, ours, and how theirs was run: stkit flushes denormal numbers, OpenSTL's E3D-LSTM is shown both ways."""
    for row in rows:
        if "recipe" in row:
            continue
        if row["model"] != "e3d_lstm":
            yield row, row, ""
            continue
        if not row["flush"]:
            continue
        unflushed = [other for other in rows if other.get("model") == "e3d_lstm" and not other["flush"]]
        yield from ((other, row, ", OpenSTL as it is") for other in unflushed if _alike(other, row))
        yield row, row, ", OpenSTL with denormals flushed"


def _alike(one: Row, other: Row) -> bool:
    return all(one[key] == other[key] for key in ("hidden", "kernel", "batch", "size"))


def _ratio(theirs: Row, ours: Row, what: str) -> str:
    there, here = theirs["seconds"][what], ours["seconds"][what]
    middle, mine = statistics.median(there), statistics.median(here)
    rounds = [one / other for one, other in zip(there, here, strict=False)]
    spread = f" ({min(rounds):.2f}–{max(rounds):.2f})" if len(rounds) > 1 else ""
    worked, less = (statistics.median(side["processor_seconds"][what]) for side in (theirs, ours))
    told = f"**{middle / mine:.2f} ×**{spread}; {worked / less:.2f} ×; {middle:.2f} → {mine:.2f} s"
    return told.replace(" ", "\u00a0").replace(";\u00a0", "; ")  # lines end behind a figure


def _profile(rows: Sequence[Row]) -> Iterator[str]:
    """Where the time of a training step goes, on both sides."""
    yield "| training step | where its time goes |"
    yield "|---|---|"
    for row in (row for row in rows if _is_official(row)):
        for side, found in row["sides"].items():
            if "shares" not in found or side == "direct":
                continue
            named = [f"`{name}` {100 * share:.0f} %" for name, share in list(found["shares"].items())[:SHOWN]]
            who = {"openstl": "OpenSTL", "auto": "stkit"}.get(side, side)
            flushed = ", denormals flushed" if row["model"] == "e3d_lstm" and row["flush"] else ""
            yield f"| {row['model']}, {who}{flushed} | {', '.join(named)} |"
    yield ""
    yield "Operators of torch by their own processor time. Written from `docs/records/against_openstl.json`."


def _held(rows: Sequence[Row]) -> Iterator[str]:
    """What takes the memory of a training step where kernels are kept."""
    yield "| training step | OpenSTL | stkit | its mapped kernels | sums of their gradients | gradients |"
    yield "|---|---:|---:|---:|---:|---:|"
    for row in (row for row in rows if _is_official(row) and "held" in row["sides"].get("auto", {})):
        theirs, ours = row["sides"]["openstl"], row["sides"]["auto"]
        whole = [side["mebibytes"]["train"] for side in (theirs, ours)]
        parts = [ours["held"][name] for name in ("mapped kernels", "sums of gradients", "gradients")]
        yield f"| {row['model']} | " + " | ".join(f"{size:.0f} MiB" for size in (*whole, *parts)) + " |"
    yield ""
    yield (
        "What a step takes at the highest, and of stkit's what belongs to kernels when all steps have gone back, then "
        "the gradients that are made of the sums. In the forward pass there are the mapped kernels and, growing, the "
        "fields of the steps. Written from `docs/records/against_openstl.json`."
    )


def _is_official(row: Row) -> bool:
    usual = all(row.get(key) == value for key, value in USUAL.items())
    return usual and row["batch"] == (1 if row["model"] == "e3d_lstm" else 4)


def _name(row: Row, *, full: bool = False) -> str:
    if not full:
        return str(row["model"])
    return f"{row['model']}, {row['hidden']} channels, {row['kernel']} × {row['kernel']}, batch {row['batch']}" + (
        "" if row["size"] == USUAL["size"] else f", {row['size']} × {row['size']} cells"
    )


def _about(rows: Sequence[Row]) -> str:
    """The machine, the versions and the rounds."""
    said = {
        f"{row['threads']} threads of {row['processor']}, torch {row['torch'].split('+')[0]}, {row['date']}, "
        f"{row['load']:.0f} programs at work on it"
        for row in rows
    }
    versions = sorted({f"OpenSTL {row['openstl']}" for row in rows if "openstl" in row})
    rounds = sorted({row["rounds"] for row in rows})
    return (
        f"{'; '.join([*sorted(said), *versions])}; rounds of a row: {' or '.join(map(str, rounds))}. Written from "
        "`docs/records/against_openstl.json`, which `python benchmarks/against_openstl.py --openstl PATH --profile "
        "--output docs/records/against_openstl.json` makes."
    )
