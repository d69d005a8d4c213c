"""The second stage of checking: does the recipe make sense as a whole. Imports no torch and opens no data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from stkit.recipe.model import Recipe
from stkit.recipe.plan import plan_problems
from stkit.recipe.problem import refuse
from stkit.recipe.sections.data import DataConfig, SplitConfig
from stkit.recipe.sections.train import ReverseScheduledSampling
from stkit.recipe.tree import Path
from stkit.train.sense import training_problems

if TYPE_CHECKING:
    from stkit.recipe.loaded import LoadedRecipe

Found = Iterator[tuple[Path, str]]

EXTRA_CHANNELS = {"calendar": 2, "mask": 1, "latitude": 1}
"""Channels of each known input."""
_MOMENT = r"\d{4}(?:-\d{2}(?:-\d{2}(?:T\d{2}(?::\d{2}(?::\d{2})?)?)?)?)?"
_SPAN = re.compile(rf"({_MOMENT})\.\.({_MOMENT})")


def check_sense(loaded: LoadedRecipe) -> None:
    """Check what no single field can know: layers that fit each other, splits, schedules, the names of scores.

    Raises:
        RecipeError: with every problem found, each with its place.
    """
    recipe = loaded.recipe
    checks = (
        _split(recipe.data.split),
        _test_dataset(recipe.data),
        _roles(recipe),
        _model(recipe),
        _nonstationary(recipe),
        _train(recipe),
        training_problems(recipe),
        _evaluate(recipe),
    )
    refuse(loaded.problem(path, message) for found in checks for path, message in found)


def known_channels(recipe: Recipe) -> int:
    """Channels of the known inputs that the recipe asks for."""
    roles = recipe.data.roles
    return sum(EXTRA_CHANNELS[name] for name in recipe.data.extra_inputs) + len(roles.static) + len(roles.forcing)


def _model(recipe: Recipe) -> Found:
    known = known_channels(recipe)
    crop, patch = recipe.data.crop, recipe.model.patch
    grid = None if crop is None else (-(-crop.height // patch), -(-crop.width // patch))
    yield from plan_problems(recipe.model, known, grid)
    if len(set(recipe.data.extra_inputs)) < len(recipe.data.extra_inputs):
        yield ("data", "extra_inputs"), "an input is named twice"


def _nonstationary(recipe: Recipe) -> Found:
    module, departure = recipe.model.nonstationary, recipe.data.departure_from
    if module is None:
        return
    at: Path = ("model", "nonstationary")
    for sentence in module.problems(input_steps=recipe.data.input_steps):
        yield at, f"{module.name}: {sentence}"
    if module.sets_level and departure != "none":
        yield (
            at,
            f"{module.name} says itself around which level the next frame lies, and so does data.departure_from: "
            f"{departure}; set data.departure_from to none, or model.nonstationary to null",
        )
    if getattr(recipe.model.head, "activation", None) is not None:
        yield (
            ("model", "head", "activation"),
            f"with {module.name} the head says how far the next frame lies from its level, which has no bounds; "
            "set activation to null",
        )


def _train(recipe: Recipe) -> Found:
    train, rollout = recipe.train, recipe.model.rollout
    at: Path = ("train",)
    if rollout.name == "encoder_forecaster" and train.sampling.name != "none":
        message = (
            f"an encoder-forecaster is never shown true frames in the forecast part, so {train.sampling.name!r} would "
            "do nothing; write {name: none}, or the rollout next_frame"
        )
        yield (*at, "sampling"), message
    if isinstance(train.sampling, ReverseScheduledSampling) and train.sampling.first_step > train.sampling.second_step:
        yield (*at, "sampling", "second_step"), f"comes before first_step ({train.sampling.first_step})"
    if train.accumulate > train.batch_size:
        yield (*at, "accumulate"), f"is more than the {train.batch_size} windows of a batch"


def _evaluate(recipe: Recipe) -> Found:
    seen: set[str] = set()
    for place, entry in enumerate(recipe.evaluate.metrics):
        path: Path = ("evaluate", "metrics", place)
        names = entry.scores()
        yield from ((path, f"{name!r} is named twice") for name in names if name in seen)
        seen.update(names)
    named: set[str] = set()
    for place, baseline in enumerate(recipe.evaluate.baselines or ()):
        at: Path = ("evaluate", "baselines", place)
        if baseline.name in named:
            yield at, f"{baseline.name!r} is named twice"
        named.add(baseline.name)
        yield from ((at, sentence) for sentence in baseline.problems(recipe.data.dataset))


def _roles(recipe: Recipe) -> Found:
    data, rollout = recipe.data, recipe.model.rollout
    roles: dict[str, tuple[str, ...]] = {name: getattr(data.roles, name) for name in type(data.roles).model_fields}
    seen: dict[str, str] = {}
    for role, variables in roles.items():
        for place, variable in enumerate(variables):
            if variable in seen:
                yield ("data", "roles", role, place), f"{variable!r} is named before, as {seen[variable]}"
            seen[variable] = role
    if roles["target"] and data.departure_from in ("persistence", "damped_anomaly", "extrapolation"):
        message = (
            f"{data.departure_from} starts from the last known value, and a target ({', '.join(roles['target'])}) has "
            "none when a forecast is made: write climatology or none"
        )
        yield ("data", "departure_from"), message
    if roles["forcing"] and rollout.name == "encoder_forecaster" and not rollout.reads_known:
        message = (
            f"the forcing ({', '.join(roles['forcing'])}) of the frames to forecast would not be read: write "
            "reads_known: true, or the rollout next_frame"
        )
        yield ("model", "rollout"), message


def _split(split: SplitConfig) -> Found:
    parts = {"train": split.train, "validation": split.validation}
    if split.test is not None:
        parts["test"] = split.test
    shares = {name: part for name, part in parts.items() if isinstance(part, float)}
    spans: dict[str, tuple[str, str]] = {}
    for name, part in parts.items():
        path: Path = ("data", "split", name)
        if isinstance(part, float):
            if not 0 < part < 1:
                yield path, f"a share lies between 0 and 1; received {part:g}"
            continue
        match = _SPAN.fullmatch(part)
        if not match:
            yield path, f"should be a share such as 0.7 or a span such as 2006-04..2008-12; received {part!r}"
        elif _end(match[2]) < match[1]:
            yield path, f"the span ends before it starts; received {part!r}"
        else:
            spans[name] = (match[1], _end(match[2]))
    if len(shares) not in (0, len(parts)):
        yield ("data", "split"), "write all parts as shares, or all as spans"
    elif shares and sum(shares.values()) > 1 + 1e-9:
        yield ("data", "split"), f"the shares add up to {sum(shares.values()):g}, more than the whole record"
    ordered = sorted(spans.items(), key=lambda item: item[1])
    for (first, (_, end)), (second, (start, _)) in pairwise(ordered):
        if start <= end:
            yield ("data", "split", second), f"overlaps with {first}"


def _test_dataset(data: DataConfig) -> Found:
    if data.test_dataset is not None and data.split.test is not None:
        yield (
            ("data", "split", "test"),
            "all of data.test_dataset is the test part: write test: null; or take test_dataset away",
        )
    elif data.test_dataset is None and data.split.test is None:
        yield (
            ("data", "split", "test"),
            "null means all of data.test_dataset, and none is named: name one, or give a share such as 0.15",
        )


def _end(moment: str) -> str:
    """An inclusive end as text that sorts after everything within it."""
    return f"{moment}~"
