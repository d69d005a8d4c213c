"""Tables of how cost grows, from the record of ``benchmarks/scaling.py``; and of several GPUs, computed from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from scaling_plan import Links, data_parallel, sharded

RECORDS = Path(__file__).resolve().parents[1] / "records"
SIZES = {"frames": "frames of a window", "batch": "windows of a batch", "side": "cells of a field", "layers": "layers"}
"""What is varied, in words."""
FIGURES = {
    "seconds": "training step",
    "forecast_seconds": "forecast",
    "training_bytes": "memory of training",
    "training_bytes_layer": "memory, layers again",
    "forecast_bytes": "memory of a forecast",
}
GPUS = (8, 64)
PLANNED = (("predrnn", "bf16"), ("mim", "bf16"))
"""Steps that many GPUs are computed from: model and precision."""
PLANNED_BATCH = 16
"""Windows of a step on each GPU."""


class Fit(NamedTuple):
    """A straight line through measured points, the squares of the relative errors least."""

    start: float
    slope: float
    largest: float
    """Largest distance of a point from the line, as a share of the point."""

    def at(self, size: float) -> float:
        """The line's value."""
        return self.start + self.slope * size


def load() -> Mapping[str, Any] | None:
    """The record, if there is one."""
    path = RECORDS / "scaling.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def series(record: Mapping[str, Any], size: str, figure: str) -> tuple[list[float], list[float]]:
    """The points of one size in their order: how large it is, and the figure. Of a side the cells of the field."""
    base = record["about"]["base"]
    rows = [row for row in record["points"] if all(row[name] == value for name, value in base.items() if name != size)]
    rows.sort(key=lambda row: row[size])
    return [float(row[size] ** 2 if size == "side" else row[size]) for row in rows], [row[figure] for row in rows]


def fit(sizes: list[float], values: list[float]) -> Fit:
    """The line."""
    weights = [value**-2 for value in values]
    total = sum(weights)
    mean_size = sum(w * size for w, size in zip(weights, sizes, strict=True)) / total
    mean_value = sum(w * value for w, value in zip(weights, values, strict=True)) / total
    above = sum(
        w * (size - mean_size) * (value - mean_value) for w, size, value in zip(weights, sizes, values, strict=True)
    )
    slope = above / sum(w * (size - mean_size) ** 2 for w, size in zip(weights, sizes, strict=True))
    start = mean_value - slope * mean_size
    largest = max(abs(start + slope * size - value) / value for size, value in zip(sizes, values, strict=True))
    return Fit(start, slope, largest)


def growth(_records: object, _name: str) -> Iterator[str]:
    """For each size the largest distance of the measured figures from a straight line, and the factor they grow by."""
    record = load()
    if record is None:
        yield "Nothing is recorded yet."
        return
    yield "| from smallest to largest | " + " | ".join(FIGURES.values()) + " |"
    yield "|---|" + "---:|" * len(FIGURES)
    for size, words in SIZES.items():
        cells = []
        for figure in FIGURES:
            sizes, values = series(record, size, figure)
            cells.append(f"{values[-1] / values[0]:.3g} × (line within {fit(sizes, values).largest:.0%})")
        ends = series(record, size, "seconds")[0]
        yield f"| {words}, {ends[0]:,.0f} to {ends[-1]:,.0f} ({ends[-1] / ends[0]:.3g} ×) | " + " | ".join(cells) + " |"
    yield ""
    about = record["about"]
    base = about["base"]
    yield (
        f"PredRNN, {base['layers']} layers of {about['width']} channels, kernels of {about['kernel']} × "
        f"{about['kernel']}, patches of {about['patch']}, {base['frames']} frames of {base['side']} × {base['side']} "
        f"cells, batch {base['batch']}, varied one at a time; direct convolution, one thread, a process for each "
        f"point, medians of three steps ({about['processor']}, "
        f"torch {about['torch'].split('+')[0]}, {about['date']}). In brackets: how far "
        "the farthest point is from the straight line that fits best. Written from "
        "`docs/records/scaling.json`, which `python benchmarks/scaling.py --record` makes."
    )


def horizons(_records: object, _name: str) -> Iterator[str]:
    """What a forecast holds at the highest, by its horizon."""
    record = load()
    if record is None or "horizons" not in record:
        yield "Nothing is recorded yet."
        return
    rows = record["horizons"]
    yield "| horizon | " + " | ".join(str(row["horizon"]) for row in rows) + " |"
    yield "|---|" + "---:|" * len(rows)
    yield "| highest, in MB | " + " | ".join(f"{row['bytes'] / 1e6:.2f}" for row in rows) + " |"


def processes(_records: object, _name: str) -> Iterator[str]:
    """What a second process on the same machine brings."""
    record = load()
    if record is None or "processes" not in record:
        yield "Nothing is recorded yet."
        return
    alone = record["processes"][0]
    yield "| processes of one thread | batch | seconds a step | sequences a second | efficiency |"
    yield "|---:|---:|---:|---:|---:|"
    for row in record["processes"]:
        rate = row["batch"] / row["seconds"]
        efficiency = rate / (alone["batch"] / alone["seconds"]) / row["processes"]
        low, high = row["spread"]
        yield (
            f"| {row['processes']} | {row['batch']} | {row['seconds']:.3g} ({low:.3g} to {high:.3g}) | {rate:.3g} | "
            f"{efficiency:.0%} |"
        )


def plan(_records: object, _name: str) -> Iterator[str]:
    """What several GPUs bring: computed, not measured."""
    steps = measured_steps()
    if not steps:
        yield "No step is recorded yet."
        return
    links = Links()
    yield "| step | GPUs | DDP | DDP, 4 parts a step | FSDP | weights and optimiser on each: DDP | FSDP |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for name, seconds, parameters in steps:
        for gpus in GPUS:
            whole = data_parallel(seconds, parameters, gpus, links)
            parts = data_parallel(seconds, parameters, gpus, links, accumulate=4)
            cut = sharded(seconds, parameters, gpus, links)
            shares = [f"{way.worst:.1%} to {way.best:.1%}" for way in (whole, parts, cut)]
            memory = [f"{way.weight_bytes / 1e6:,.0f} MB" for way in (whole, cut)]
            yield f"| {name}, {1000 * seconds:.3g} ms | {gpus} | " + " | ".join([*shares, *memory]) + " |"
    yield ""
    yield (
        "Share of perfect speed-up: with nothing of the exchange hidden, and with all that fits beside the backward "
        "pass. "
        f"Assumed: {links.gpus_per_machine} GPUs a machine, {links.within_bytes / 1e9:.0f} GB/s reached between them, "
        f"{links.between_bytes / 1e9:.0f} GB/s for each GPU between machines, {links.latency_seconds * 1e6:.0f} µs a "
        "message, exchange in a ring, gradients in float32, Adam. Computed by `docs/_ext/scaling_plan.py`."
    )


def measured_steps() -> list[tuple[str, float, int]]:
    """Name, seconds and parameters of training steps that were measured on one GPU, launch by launch.

    Several processes train without graphs.
    """
    import stkit

    path = RECORDS / "gpu.json"
    if not path.is_file():
        return []
    record = json.loads(path.read_text(encoding="utf-8"))
    found = []
    for row in record["rows"]:
        seconds = row.get("train", {}).get("stkit", {}).get("seconds")
        if (row["model"], row["precision"]) in PLANNED and row["batch"] == PLANNED_BATCH and seconds:
            model = stkit.build(row["model"], layers=[record["hidden"]] * 4, patch=4, device="meta")
            parameters = sum(parameter.numel() for parameter in model.parameters())
            name = f"{row['model']}, {row['precision']}, batch {row['batch']} on {record['about']['card']}"
            found.append((name, seconds, parameters))
    return found
