"""Results in the documentation come from run records, and this command writes them.

    python docs/tables.py record RUN      keep what the tables need of a finished run or ablation, in docs/records/
    python docs/tables.py write           write the tables of README.md and recipes/README.md
    python docs/tables.py check           exit 1 if a table differs from its record

A table stands between ``<!-- table: KIND NAME -->`` and ``<!-- end of table -->``.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stkit.evaluate.verdict import spoken

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

import ablation_records  # noqa: E402
import ablation_text  # noqa: E402
import benchmark_text  # noqa: E402
import field_ablations  # noqa: E402
import gpu_text  # noqa: E402
import scaling_text  # noqa: E402
import speed_text  # noqa: E402

RECORDS = ROOT / "docs" / "records"
PAGES = (
    ROOT / "README.md",
    ROOT / "recipes" / "README.md",
    ROOT / "docs" / "cells" / "small-runs.md",
    ROOT / "docs" / "guides" / "attention.md",
    ROOT / "docs" / "guides" / "when-modules-help.md",
    ROOT / "docs" / "guides" / "nowcaster.md",
    ROOT / "docs" / "guides" / "data.md",
    ROOT / "docs" / "guides" / "ocean-answer.md",
    ROOT / "docs" / "guides" / "speed.md",
    ROOT / "docs" / "guides" / "gpu.md",
    ROOT / "docs" / "guides" / "bench.md",
    ROOT / "docs" / "guides" / "memory.md",
    ROOT / "docs" / "guides" / "scaling.md",
)
BLOCK = re.compile(r"(<!-- table: (?P<kind>\w+)(?: (?P<name>[\w+.,-]+))? -->\n).*?(<!-- end of table -->)", re.DOTALL)

# fmt: off
KEPT_OF_RUN = (
    "name", "summary", "recipe_hash", "seed", "command", "started", "finished", "outcome", "step", "best_step",
    "platform", "python", "versions", "device", "world_size", "precision", "parameters", "split", "windows_hash",
)
KEPT_OF_SCORES = (
    "windows", "independent_windows", "span", "lead_steps", "lead_unit", "metrics", "variables", "skill", "verdict",
)
# fmt: on

Record = Mapping[str, Any]


def record(run: Path) -> Path:
    """Keep a finished run's record.

    Raises:
        SystemExit: if the run has not finished, or changed its recipe on the command line.
    """
    about = json.loads((run / "run.json").read_text(encoding="utf-8"))
    scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    if about["outcome"] != "finished":
        raise SystemExit(f"{run} has not finished: {about['outcome']}")
    if (run / "source" / "overrides.txt").read_text(encoding="utf-8").strip():
        raise SystemExit(f"{run} changed its recipe on the command line; a record is of a recipe as shipped")
    kept = {
        "run": {key: about[key] for key in KEPT_OF_RUN},
        "scores": {key: scores[key] for key in KEPT_OF_SCORES},
        "loss": YAML(typ="safe").load(run / "recipe.yaml")["train"]["loss"],
        "curve": curve(run),
    }
    RECORDS.mkdir(exist_ok=True)
    path = RECORDS / f"{about['name']}.json"
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def curve(run: Path) -> dict[str, list[dict[str, Any]]]:
    """Every validation of a run, and the terms of its training loss at the end of each tenth of it."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    training = [line for line in lines if line["kind"] == "train"]
    tenths = [training[len(training) * tenth // 10 - 1] for tenth in range(1, 11)] if len(training) >= 10 else training
    keys = ("step", "seconds", "loss", "terms")
    return {
        kind: [{key: line[key] for key in keys if key in line} for line in kept]
        for kind, kept in (("train", tenths), ("validation", [line for line in lines if line["kind"] == "validation"]))
    }


def load_records() -> dict[str, Record]:
    """Every record that is kept, by the name of its recipe."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RECORDS.glob("*.json"))}


def scores_table(records: Mapping[str, Record], name: str) -> Iterator[str]:
    """The first score of one run, by lead time, beside its baselines."""
    from stkit.evaluate.words import steps_text, unit_text

    run, scores = records[name]["run"], records[name]["scores"]
    metric = next(iter(scores["metrics"]))
    about = scores["metrics"][metric]
    for variable, found in scores["variables"].items():
        unit = about["unit"].replace("{u}", found["units"])
        leads = [steps_text(lead, scores["lead_unit"]) for lead in scores["lead_steps"]]
        label = f"{about['label']} of {variable}".replace("{u}", unit_text(found["units"]))
        heading = label if unit == "1" else f"{label} [{unit}]"
        yield f"| {heading} | " + " | ".join(leads) + " |"
        yield "|---|" + "---:|" * len(leads)
        for forecast, values in found["scores"].items():
            row = " | ".join("–" if value is None else f"{value:.3f}" for value in values[metric])
            label = f"**{name}**" if forecast == "model" else spoken(forecast)
            yield f"| {label} | {row} |"
    yield ""
    cost = f"{minutes(run)} of training and scoring on {run['device']}, {run['parameters']:,} parameters"
    yield f"{scores['verdict']} ({cost}.)"


def index_table(records: Mapping[str, Record], _name: str) -> Iterator[str]:
    """Every shipped recipe: what it is, its size, its time and its score where a run was recorded."""
    from stkit.recipe.shipped_files import shipped_specs

    yield "| recipe | what it is | parameters | run time | score, and the best baseline |"
    yield "|---|---|---:|---:|---|"
    for spec in shipped_specs():
        if spec.name in records:
            run, scores = records[spec.name]["run"], records[spec.name]["scores"]
            size, time = f"{run['parameters']:,}", minutes(run)
            result = summary(scores)
        else:
            size = time = result = ""
        yield f"| `{spec.name}` | {spec.summary} | {size} | {time} | {result} |"


def summary(scores: Record) -> str:
    """The first score averaged over the lead times, and that of the best baseline."""
    metric = next(iter(scores["metrics"]))
    about = scores["metrics"][metric]
    out = []
    for variable, found in scores["variables"].items():
        mean = {
            forecast: sum(values[metric]) / len(values[metric])
            for forecast, values in found["scores"].items()
            if None not in values[metric]
        }
        baselines = {forecast: value for forecast, value in mean.items() if forecast not in ("model", "optimal")}
        pick: Callable[..., str] = max if about["better"] == "higher" else min
        best = pick(baselines, key=lambda forecast: baselines[forecast])
        unit = "" if found["units"] == "1" else about["unit"].replace("{u}", found["units"])
        text = f"{variable} {about['label']} {mean['model']:.3g} {unit}".rstrip()
        out.append(f"{text} ({best.replace('_', ' ')} {baselines[best]:.3g})")
    return "; ".join(out)


def minutes(run: Record) -> str:
    """How long a run took from start to report."""
    seconds = (datetime.fromisoformat(run["finished"]) - datetime.fromisoformat(run["started"])).total_seconds()
    return f"{seconds / 60:.1f} min"


def runs_table(records: Mapping[str, Record], names: str) -> Iterator[str]:
    """The runs of one task beside each other, scores averaged over lead times.

    ``names`` are recipes with commas between them, or ``-ending`` for all whose names end like this.
    """
    chosen = {
        name: record
        for name, record in records.items()
        if (name.endswith(names) if names.startswith("-") else name in names.split(","))
    }
    if not chosen:
        yield "No run is recorded yet."
        return
    metrics = next(iter(chosen.values()))["scores"]["metrics"]
    labels = [f"{about['label']} {'↑' if about['better'] == 'higher' else '↓'}" for about in metrics.values()]
    yield "| recipe | parameters | steps | run time | " + " | ".join(labels) + " |"
    yield "|---|---:|---:|---:|" + "---:|" * len(labels)
    for name, record in chosen.items():
        run = record["run"]
        size = f"{run['parameters']:,} | {run['step']:,} | {minutes(run)}"
        yield f"| `{name}` | {size} | {mean_scores(record, 'model')} |"
    baselines = next(iter(next(iter(chosen.values()))["scores"]["variables"].values()))["scores"]
    for forecast in baselines:
        if forecast != "model":
            yield f"| {forecast.replace('_', ' ')} |  |  |  | {mean_scores(next(iter(chosen.values())), forecast)} |"


def recognition_line(records: Mapping[str, Record], name: str) -> Iterator[str]:
    """How well a run recognised, at the end of the first and of the last tenth of its training."""
    if name not in records:
        yield "No run is recorded yet."
        return
    weight, lines = records[name]["loss"]["recognition_weight"], records[name]["curve"]["train"]
    first, last = (line["terms"]["recognition"] / weight for line in (lines[0], lines[-1]))
    yield (
        f"Cross-entropy of the recognition, on training sequences that were never seen before: {first:.2f} at step "
        f"{lines[0]['step']}, {last:.2f} at step {lines[-1]['step']}; guessing gives {math.log(2):.2f}."
    )


def mean_scores(record: Record, forecast: str) -> str:
    """The cells of a row: each score of the first variable, averaged over the lead times."""
    found = next(iter(record["scores"]["variables"].values()))["scores"][forecast]
    return " | ".join("–" if None in values else f"{sum(values) / len(values):.3g}" for values in found.values())


TABLES: dict[str, Callable[[Mapping[str, Record], str], Iterator[str]]] = {
    "scores": scores_table,
    "index": index_table,
    "runs": runs_table,
    "recognition": recognition_line,
    "attention": benchmark_text.attention,
    "streaming": benchmark_text.streaming,
    "verdict": ablation_text.verdict,
    "differences": ablation_text.differences,
    "seeds": ablation_text.seeds,
    "cost": ablation_text.cost,
    "field": field_ablations.field_table,
    "expected": field_ablations.expected_table,
    "came_out": field_ablations.count_line,
    "needed": ablation_text.needed,
    "engines": benchmark_text.engines,
    "against_openstl": speed_text.against_openstl,
    "gpu_times": gpu_text.times,
    "gpu_launched": gpu_text.launched,
    "gpu_launches": gpu_text.launches,
    "gpu_errors": gpu_text.errors,
    "gpu_machine": gpu_text.machine,
    "waiting": benchmark_text.waiting,
    "startup": benchmark_text.startup,
    "growth": scaling_text.growth,
    "horizons": scaling_text.horizons,
    "processes": scaling_text.processes,
    "plan": scaling_text.plan,
}


def rendered(text: str, records: Mapping[str, Record]) -> str:
    """A page with its tables written from the records."""

    def fill(block: re.Match[str]) -> str:
        lines = TABLES[block["kind"]](records, block["name"] or "")
        return f"{block[1]}{chr(10).join(lines)}\n{block[4]}"

    return BLOCK.sub(fill, text)


def main(arguments: list[str]) -> int:
    """The command; see the top of this file."""
    match arguments:
        case ["record", *runs] if runs:
            for run in runs:
                path = Path(run)
                keep = ablation_records.record if ablation_records.is_ablation(path) else record
                print(keep(path).relative_to(ROOT))
        case ["write"]:
            for page in PAGES:
                page.write_text(rendered(page.read_text(encoding="utf-8"), load_records()), encoding="utf-8")
        case ["check"]:
            stale = [
                page for page in PAGES if rendered(page.read_text("utf-8"), load_records()) != page.read_text("utf-8")
            ]
            for page in stale:
                print(f"{page.relative_to(ROOT)} differs from the run records; run: python docs/tables.py write")
            return 1 if stale else 0
        case _:
            print(__doc__)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
