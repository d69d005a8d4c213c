"""Tables of what was measured on a GPU, from the record of ``benchmarks/gpu.py``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RECORD = Path(__file__).resolve().parents[1] / "records" / "gpu.json"
OURS = "stkit graph"
PRECISIONS = ("bf16", "tf32", "fp32")
LAYER_STEPS = 4 * 19
"""Of the networks that are measured."""
NOTHING = "No GPU was measured yet."

Record = Mapping[str, Any]


def kept() -> Record | None:
    """The latest record; None if there is none."""
    found: Record | None = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else None
    return found


def times(_records: object, name: str) -> Iterator[str]:
    """How long both take in one precision at one work, and what share of the card's own speed that is.

    ``name``: ``bf16,forecast``, ``tf32,train``, ...
    """
    precision, work = name.split(",")
    record = kept()
    if record is None:
        yield NOTHING
        return
    rows = [row for row in record["rows"] if row["precision"] == precision]
    if not rows:
        yield "Not measured, for want of time on the card."
        return
    yield "| model | batch | OpenSTL [ms] | stkit [ms] | times faster | of the peak | GB, both |"
    yield "|---|" + "---:|" * 6
    for row in ordered(record, rows):
        cells = [f"`{row['model']}`", str(row["batch"])]
        if "failed" in row:
            yield f"| {' | '.join(cells)} | {row['failed'].partition('.')[0]} |" + " |" * 4
            continue
        cells += [*pair(row[work]), peak(record, row, work)]
        cells.append(",&nbsp;".join(gigabytes(row[work].get(side, {})) for side in ("openstl", OURS)))
        yield f"| {' | '.join(cells)} |"
    yield from other_days(record, rows)
    missing = [case(model, batch) for model, kind, batch in record["left_out"] if kind == precision]
    if missing:
        yield ""
        yield f"Not measured, for want of time on the card: {', '.join(missing)}."


def other_days(record: Record, rows: Sequence[Any]) -> Iterator[str]:
    """Which rows were not measured on the record's day."""
    days: dict[str, list[str]] = {}
    for row in ordered(record, rows):
        days.setdefault(day(row.get("date", record["about"]["date"])), []).append(case(row["model"], row["batch"]))
    for date in sorted(days.keys() - {day(record["about"]["date"])}):
        yield ""
        yield f"Measured on {date}, not with the rest: {', '.join(days[date])}."


def day(date: str) -> str:
    """Of a date, with or without a time of day."""
    return date[:10]


def case(model: str, batch: int) -> str:
    """A row in a sentence."""
    return f"`{model}` at batch {batch}"


def ordered(record: Record, rows: Sequence[Any]) -> list[Any]:
    """By model, then by batch."""
    models = list(record["operations"])
    return sorted(rows, key=lambda row: (models.index(row["model"]), row["batch"]))


def pair(found: Mapping[str, Any], ours: str = OURS) -> list[str]:
    """Milliseconds of both with the spread of the turns, and how many times faster ours is."""
    cells = []
    for side in ("openstl", ours):
        told = found.get(side, {})
        if "seconds" not in told:
            cells.append("no memory")
            continue
        low, high = told["spread"]
        cells.append(f"{1000 * told['seconds']:.1f}&nbsp;({1000 * low:.1f}&#8288;–&#8288;{1000 * high:.1f})")
    both = [found.get(side, {}).get("seconds") for side in ("openstl", ours)]
    return [*cells, "" if None in both else f"{both[0] / both[1]:.1f}"]


def peak(record: Record, row: Mapping[str, Any], work: str) -> str:
    """Multiplications and additions a second, as a share of a large product's in the same precision."""
    told = row[work].get(OURS, {})
    if "seconds" not in told:
        return ""
    speed = record["operations"][row["model"]][work] * row["batch"] / told["seconds"]
    return f"{100 * speed / record['limits'][row['precision'] + '_flops']:.0f} %"


def gigabytes(told: Mapping[str, Any]) -> str:
    """Memory of a step, where it was measured."""
    return "–" if told.get("gigabytes") is None else f"{told['gigabytes']:.2f}"


def launched(_records: object, precision: str) -> Iterator[str]:
    """How long both take launch by launch, and how long a launch is."""
    record = kept()
    if record is None:
        yield NOTHING
        return
    sides = "OpenSTL | stkit | times faster |"
    yield f"| model | batch | forecast [ms]: {sides} training step [ms]: {sides}"
    yield "|---|" + "---:|" * 7
    rows = [row for row in record["rows"] if row["precision"] == precision and "failed" not in row]
    for row in ordered(record, rows):
        cells = [cell for work in ("forecast", "train") for cell in pair(row[work], "stkit")]
        yield f"| `{row['model']}` | {row['batch']} | {' | '.join(cells)} |"
    alone = min(ordered(record, rows), key=lambda row: int(row["batch"]))
    counts = {
        row["model"]: row["launches"]
        for row in record["launches"]
        if row["side"] == "openstl" and row["work"] == "forecast"
    }
    taken = alone["forecast"]["openstl"]["seconds"] / counts[alone["model"]] / LAYER_STEPS
    yield ""
    yield (
        f"OpenSTL's forecast with `{alone['model']}` at batch {alone['batch']} takes {1e6 * taken:.0f} µs for each "
        "kernel that it launches: the processor's time, not the card's."
    )


def launches(_records: object, _name: str) -> Iterator[str]:
    """Kernels and copies for each layer and time step."""
    record = kept()
    if record is None:
        yield NOTHING
        return
    found = {(row["model"], row["work"], row["side"]): row["launches"] for row in record["launches"]}
    yield "| model | forecast: OpenSTL | stkit | training step: OpenSTL | stkit |"
    yield "|---|---:|---:|---:|---:|"
    for model in dict.fromkeys(model for model, _, _ in found):
        cells = [found.get((model, work, side)) for work in ("forecast", "train") for side in ("openstl", "stkit")]
        yield f"| `{model}` | " + " | ".join("" if cell is None else f"{cell:.1f}" for cell in cells) + " |"


def errors(_records: object, _name: str) -> Iterator[str]:
    """How far results are from the processor's in float64."""
    record = kept()
    if record is None or "check" not in record:
        yield NOTHING
        return
    yield "| model | precision | outputs: direct | stkit's engine | by graph | gradients: direct | engine | by graph |"
    yield "|---|---|" + "---:|" * 6
    rows = {(r["model"], r["precision"], r["engine"], r["graph"]): r for r in record["check"]}
    ways = (("direct", False), ("auto", False), ("auto", True))
    models = list(record["operations"])
    pairs = {(model, precision) for model, precision, _, _ in rows}
    for model, precision in sorted(pairs, key=lambda pair: (models.index(pair[0]), PRECISIONS.index(pair[1]))):
        told = [rows.get((model, precision, *way), {}).get(what) for what in ("outputs", "gradients") for way in ways]
        cells = ["" if value is None else f"{value:.1e}" for value in told]
        yield f"| `{model}` | {precision} | " + " | ".join(cells) + " |"


def machine(_records: object, _name: str) -> Iterator[str]:
    """The card, what it reaches, and the versions."""
    record = kept()
    if record is None:
        yield NOTHING
        return
    about, limits = record["about"], record["limits"]
    date = day(about["date"])
    reached = ", ".join(f"{limits[name + '_flops'] / 1e12:.0f} in {name}" for name in ("bf16", "tf32", "fp32"))
    yield (
        f"{about['card']}, torch {about['torch']}, CUDA {about['cuda']}, cuDNN {about['cudnn']}, {date}. It "
        f"reaches {reached} (10^12 operations a second, a product of matrices of 8192), and copies "
        f"{limits['copy_bytes_per_second'] / 1e12:.1f} TB/s. Written from `docs/records/gpu.json`, which "
        "`python benchmarks/gpu.py --openstl PATH --record` makes."
    )
