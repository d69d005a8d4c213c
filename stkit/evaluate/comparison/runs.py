"""From run directories to what is compared: runs of one recipe with several seeds belong together."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stkit.errors import StkitError, UsageError
from stkit.evaluate.comparison.group import Cost, Group
from stkit.evaluate.metric import Metric
from stkit.evaluate.window_errors import RunErrors, read_errors
from stkit.recipe.loaded import LoadedRecipe, load
from stkit.run.directory import RunDirectory

_NO_PART_OF_IT = ("seed", "summary")
"""Values of a recipe in which runs of one group may differ."""
_MOST_DIFFERENCES = 3


class _Run(NamedTuple):
    path: Path
    loaded: LoadedRecipe
    record: Mapping[str, Any]
    errors: RunErrors
    key: str
    seconds: float | None


def read_groups(paths: Sequence[str | Path]) -> list[Group]:
    """The runs as groups, in the order of each group's first run.

    Raises:
        UsageError: one is no run, was not scored, or is the same recipe with the same seed as another.
    """
    by_key: dict[str, list[_Run]] = {}
    for run in [_read(Path(path)) for path in paths]:
        same = by_key.setdefault(run.key, [])
        for other in same:
            if other.loaded.recipe.seed == run.loaded.recipe.seed:
                raise UsageError(
                    f"{run.path} and {other.path}: the same recipe with the same seed ({run.loaded.recipe.seed}); "
                    "each seed counts once"
                )
        same.append(run)
    names = _names([runs[0] for runs in by_key.values()])
    return [
        Group(
            name=name,
            seeds=tuple(run.loaded.recipe.seed for run in runs),
            runs=tuple(str(run.path) for run in runs),
            errors=tuple(run.errors for run in runs),
            cost=Cost(
                parameters=runs[0].record.get("parameters"),
                flops=count_flops(runs[0].loaded),
                steps=tuple(run.record.get("step") for run in runs),
                seconds=tuple(run.seconds for run in runs),
            ),
        )
        for name, runs in zip(names, by_key.values(), strict=True)
    ]


def metric_of(path: str | Path, score: str) -> Metric:
    """A score of a run's recipe, by which forecasts can be ranked.

    Raises:
        UsageError: the recipe does not name it, or neither the lower nor the higher is better.
    """
    from stkit.evaluate.metric_set import make_metrics

    scores = load(str(path)).recipe.evaluate.scores
    if score not in scores:
        raise UsageError(f"--score {score}: {path} is not scored by it; it knows mse, mae, {', '.join(scores)}")
    metric = make_metrics({score: scores[score]})[score]
    if metric.better not in ("lower", "higher"):
        near = "0" if metric.better == "zero" else "1"
        raise UsageError(f"--score {score}: it is best near {near}, so a difference does not say which is better")
    return metric


def count_flops(loaded: LoadedRecipe) -> int | None:
    """Operations of one forward pass over one training window; None where the data cannot be opened any more."""
    from stkit.recipe.dryrun import dry_run

    try:
        return dry_run(loaded).flops_per_window
    except StkitError:
        return None


def training_seconds(run: RunDirectory) -> float | None:
    """Seconds that a run was trained, over all the times it was resumed; None where nothing was noted."""
    seconds = [line["seconds"] for line in run.read_metrics() if isinstance(line.get("seconds"), (int, float))]
    if not seconds:
        return None
    # Each process counts from its own start: where the number falls, another one begins.
    falls = [before for before, after in itertools.pairwise(seconds) if after < before]
    return float(sum(falls) + seconds[-1])


def _read(path: Path) -> _Run:
    run = RunDirectory.open(path)
    record = run.read_record()
    errors = read_errors(run.errors)
    loaded = load(str(run.path))
    return _Run(run.path, loaded, record, errors, recipe_key(loaded), training_seconds(run))


def recipe_key(loaded: LoadedRecipe) -> str:
    """The same for two recipes that differ in nothing but the seed."""
    values = {
        name: value for name, value in loaded.recipe.model_dump(mode="json").items() if name not in _NO_PART_OF_IT
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _names(runs: Sequence[_Run]) -> list[str]:
    """The name of each run's recipe; where several have the same, with what tells them apart."""
    plain = [str(run.record.get("name") or run.path.name) for run in runs]
    names = []
    for place, name in enumerate(plain):
        alike = [other for other, its_name in zip(runs, plain, strict=True) if its_name == name]
        if len(alike) == 1:
            names.append(name)
            continue
        values = [other.loaded.recipe.model_dump(mode="json", exclude=set(_NO_PART_OF_IT)) for other in alike]
        told = differences(values)[alike.index(runs[place])]
        few = [f"{key}={value}" for key, value in list(told.items())[:_MOST_DIFFERENCES]]
        names.append(f"{name} ({', '.join(few)})")
    return [name if names.count(name) == 1 else f"{name} [{run.path}]" for name, run in zip(names, runs, strict=True)]


def differences(values: Sequence[Any], key: str = "") -> list[dict[str, str]]:
    """For each of several nested values what is not the same in all, by dotted key; a component by its name."""
    if all(value == values[0] for value in values[1:]):
        return [{} for _ in values]
    mappings = [value for value in values if isinstance(value, Mapping)]
    if len(mappings) == len(values) and len({value.get("name") for value in mappings}) == 1:
        found: list[dict[str, str]] = [{} for _ in values]
        for child in dict.fromkeys(child for value in mappings for child in value):
            inner = differences([value.get(child) for value in mappings], f"{key}.{child}" if key else child)
            for mine, more in zip(found, inner, strict=True):
                mine.update(more)
        return found
    return [{key: _short(value)} for value in values]


def _short(value: Any) -> str:
    if isinstance(value, Mapping) and value.get("name"):
        return str(value["name"])
    if isinstance(value, list) and all(isinstance(item, Mapping) and set(item) >= {"width"} for item in value):
        return "[" + ",".join(str(item["width"]) for item in value) + "]"
    text = "none" if value is None else json.dumps(value) if isinstance(value, (Mapping, list)) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
