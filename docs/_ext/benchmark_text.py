"""Tables of what was measured, from the records of `benchmarks/`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

RECORDS = Path(__file__).resolve().parents[1] / "records"


def attention(_records: object, _name: str) -> Iterator[str]:
    """What each form of attention takes at the highest, and how long a step takes, by the side of the grid."""
    kept = json.loads((RECORDS / "attention" / "cost.json").read_text(encoding="utf-8"))
    about, rows = kept["about"], kept["rows"]
    sides = sorted({row["side"] for row in rows})
    yield "| MiB, and seconds, of a step | " + " | ".join(f"{side} × {side}" for side in sides) + " |"
    yield "|---|" + "---:|" * len(sides)
    for form in dict.fromkeys(row["form"] for row in rows):
        found = {row["side"]: row for row in rows if row["form"] == form}
        cells = [f"{found[side]['mebibytes']:.0f}, {found[side]['milliseconds'] / 1000:.2g} s" for side in sides]
        name, _, options = form.partition(", ")
        yield f"| `{name}`{', ' + options if options else ''} | " + " | ".join(cells) + " |"
    matrix = [f"{side**4 * 4 / 2**20:,.0f}" for side in sides]
    yield "| *one matrix of scores, which none of them holds* | " + " | ".join(matrix) + " |"
    yield ""
    yield (
        f"One step, forward and backward, of {about['channels']} channels and one sample in float32: memory beyond "
        "inputs and parameters, and processor time on one core "
        f"({_machine(about)}). Written from `docs/records/attention/cost.json`, which "
        "`python benchmarks/attention.py --record` makes."
    )


def streaming(_records: object, _name: str) -> Iterator[str]:
    """What training from a store larger than memory had in memory, and how long it waited for batches."""
    path = RECORDS / "streaming" / "zarr.json"
    if not path.is_file():
        yield "No run is recorded yet."
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    steps, height, width = found["shape"]
    yield "| | fitting | training |"
    yield "|---|---:|---:|"
    memory = found["highest_gigabytes"]
    label = "most in memory, all processes, shared pages once [GB]"
    yield f"| {label} | {memory['fitting']:.2f} | {memory['training']:.2f} |"
    yield f"| time | {found['fitting_seconds']:.0f} s | {found['step_seconds']:.2f} s a step |"
    yield f"| of it waiting for a batch | | {found['waited_seconds']:.3f} s a step |"
    yield ""
    yield (
        f"A store of {found['gigabytes']:.1f} GB in float32 ({steps:,} x {height} x {width}; compressible fields, "
        f"{found['gigabytes_on_disk']:.1f} GB on disk), {found['training_steps']} steps of {found['batch_size']} "
        f"windows with one worker process, {found['processors']} processors, {found['date']}. Written from "
        "`docs/records/streaming/zarr.json`."
    )


def engines(_records: object, _name: str) -> Iterator[str]:
    """How much faster Winograd's engine is than the direct convolution, and how much larger its rounding."""
    kept = json.loads((RECORDS / "engines.json").read_text(encoding="utf-8"))
    about = kept["about"]
    yield "| model | training step | forecast | rounding of outputs | of gradients |"
    yield "|---|---:|---:|---:|---:|"
    for row in kept["rows"]:
        cells = [f"{row[f'{what}_direct'] / row[f'{what}_winograd']:.2f} ×" for what in ("train", "forecast")]
        cells += [f"{row[name]:.1f} ×" for name in ("output_error", "gradient_error")]
        widths, kernel = row["widths"], row["kernel"]
        model = f"{row['model']}, {len(widths)} × {widths[0]} channels, {kernel} × {kernel}, batch {row['batch']}"
        yield f"| {model} | " + " | ".join(cells) + " |"
    yield ""
    yield (
        "How many times faster `winograd` is than `direct`, by processor time on one core, and how many times as large "
        f"its largest error is ({_machine(about)}). Written from `docs/records/engines.json`, which "
        "`python benchmarks/engines.py --record` makes."
    )


def _machine(about: Mapping[str, str]) -> str:
    return f"{about['processor']}, torch {about['torch'].split('+')[0]}, {about['date']}"


def waiting(_records: object, _name: str) -> Iterator[str]:
    """Which share of the time in training steps the shipped recipes wait for batches."""
    path = RECORDS / "waiting.json"
    if not path.is_file():
        yield "Nothing is recorded yet."
        return
    kept = json.loads(path.read_text(encoding="utf-8"))
    yield "| recipe | worker processes | seconds a step | waiting for batches |"
    yield "|---|---:|---:|---:|"
    for row in kept["rows"]:
        share = f"{row['waiting_share']:.2%}"
        yield f"| `{row['recipe']}` | {row['workers']} | {row['step_seconds']:.3g} | {share} |"
    yield ""
    yield (
        f"The recipes as they are shipped, {kept['about']['threads']} threads ({_machine(kept['about'])}). "
        "Written from `docs/records/waiting.json`, which `python benchmarks/waiting.py --record` makes."
    )


def startup(_records: object, _name: str) -> Iterator[str]:
    """Seconds from the start of a process until a command has answered, and until a first training step is done."""
    path = RECORDS / "startup.json"
    if not path.is_file():
        yield "Nothing is recorded yet."
        return
    kept = json.loads(path.read_text(encoding="utf-8"))
    yield "| first training step of | torch and stkit imported | data, model and optimiser put together | step done |"
    yield "|---|---:|---:|---:|"
    for row in kept["first_steps"]:
        cells = [f"{row[name]:.2f} s" for name in ("imported", "assembled", "first_step")]
        yield f"| `{row['recipe']}` | " + " | ".join(cells) + " |"
    yield ""
    longest = max(kept["commands"], key=lambda row: float(row["seconds"]))
    named = ", ".join(f"`{row['command']}`" for row in kept["commands"])
    yield (
        f"Since the process was started. Commands that need no model ({named}) take at most "
        f"{longest['seconds']:.2f} s. Medians of fresh processes ({_machine(kept['about'])}). Written from "
        "`docs/records/startup.json`, which `python benchmarks/startup.py --record` makes."
    )
