"""The cells of an ablation as recipes, all of them checked before anything is trained."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stkit.ablate.axes import Change, fixed_twice, resolve
from stkit.ablate.budget import Budget
from stkit.ablate.grid import Axis, cell_name, cells
from stkit.errors import DataError, RecipeError, UsageError
from stkit.evaluate.comparison.blocks import FEWEST_BLOCKS, windows_of_block
from stkit.evaluate.comparison.runs import recipe_key
from stkit.recipe.find import find
from stkit.recipe.loaded import LoadedRecipe, load
from stkit.recipe.yaml import dump

LOG = logging.getLogger("stkit.ablate")
_SAFE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
_LONGEST_SLUG = 80


@dataclass(frozen=True)
class Cell:
    """One recipe of the grid, before the budget."""

    name: str
    """``attention=none nonstationary=mim``."""
    values: Mapping[str, str]
    """For each axis its value."""
    loaded: LoadedRecipe
    parameters: int
    flops: int
    """Of one forward pass over one training window."""

    @property
    def slug(self) -> str:
        """Its name as a folder's."""
        plain = "".join(character if character in _SAFE else "-" for character in self.name.replace(" ", "__"))
        if plain == self.name.replace(" ", "__").replace("=", "-") and len(plain) <= _LONGEST_SLUG:
            return plain
        return f"{plain[:_LONGEST_SLUG]}-{hashlib.sha256(self.name.encode()).hexdigest()[:6]}"

    @property
    def key(self) -> str:
        """The same for two cells whose recipes differ in nothing but the seed."""
        return recipe_key(self.loaded)


@dataclass(frozen=True)
class Plan:
    """What is to be run."""

    ref: str
    overrides: tuple[str, ...]
    base: LoadedRecipe
    axes: tuple[Axis, ...]
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    budget: Budget

    @property
    def identity(self) -> str:
        """The same for ablations of one recipe at one budget: their runs can be used for each other."""
        return hashlib.sha256(f"{recipe_key(self.base)} {self.budget}".encode()).hexdigest()[:12]


def make_plan(ref: str, overrides: Sequence[str], axes: tuple[Axis, ...], *, seeds: int, budget: Budget) -> Plan:
    """Load and check every cell: its recipe, its model on the meta device, its data and test windows.

    Args:
        ref: the recipe that is varied.
        overrides: what is changed in all cells.
        axes: what is varied.
        seeds: how many: the recipe's own and those that follow it.
        budget: of each run.

    Raises:
        UsageError: something does not fit; one message names every cell that is concerned. Nothing was written then.
    """
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: at least one seed; three or more tell chance from difference")
    for name in fixed_twice(axes, tuple(overrides)):
        raise UsageError(f"--grid {name}: the override {name}=… fixes what the grid is to vary; leave one of them out")
    base = load(ref, overrides)
    changes = {axis.name: dict(zip(axis.values, resolve(axis, base.recipe), strict=True)) for axis in axes}
    made: list[Cell] = []
    wrong: dict[str, list[str]] = {}
    for values in cells(axes):
        name = cell_name(values)
        try:
            made.append(_cell(ref, overrides, name, values, [changes[axis][value] for axis, value in values.items()]))
        except (RecipeError, ValueError) as error:  # a model may refuse the grid when it is run
            wrong.setdefault(str(error), []).append(name)
    if wrong:
        raise UsageError("\n".join(f"--grid: {_told(names)}: {message}" for message, names in wrong.items()))
    _check_different(made)
    _check_data(made)
    first = base.recipe.seed
    return Plan(ref, tuple(overrides), base, axes, tuple(made), tuple(range(first, first + seeds)), budget)


def _cell(ref: str, overrides: Sequence[str], name: str, values: Mapping[str, str], changes: Sequence[Change]) -> Cell:
    from stkit.recipe.dryrun import dry_run

    overlays = [overlay for change in changes for overlay in change.overlays]
    own = [override for change in changes for override in change.overrides]
    with _together(ref, [change.instead for change in changes if change.instead], overlays) as whole:
        loaded = load(whole, [*overrides, *own])
    counted = dry_run(loaded)
    return Cell(name, values, loaded, counted.parameters, counted.flops_per_window)


@contextlib.contextmanager
def _together(ref: str, instead: Sequence[Mapping[str, Any]], overlays: Sequence[str]) -> Iterator[str]:
    """A reference to the recipe with other layers on top, each of them found as if it stood alone."""
    if not instead and not overlays:
        yield ref
        return
    name = "+".join(text.name for part in (ref, *overlays) for text in find(part))
    with tempfile.TemporaryDirectory(prefix="stkit-ablate-") as folder:
        below = _absolute(ref)
        for number, tree in enumerate(instead):
            layer = Path(folder) / f"{number}.yaml"
            layer.write_text(dump({"extends": below, **tree}), encoding="utf-8")
            below = str(layer)
        whole = Path(folder) / "whole" / f"{name}.yaml"
        whole.parent.mkdir()
        whole.write_text(dump({"extends": [below, *map(_absolute, overlays)]}), encoding="utf-8")
        yield str(whole)


def _absolute(ref: str) -> str:
    """A file or run as it is found from any folder; a name stays."""
    path = Path(ref).expanduser()
    beside = [path, path.with_name(f"{path.name}.yaml"), path.with_name(f"{path.name}.yml")]
    found = next((one for one in beside if one.exists()), None)
    return ref if found is None or not _is_file_or_run(found) else str(found.resolve())


def _is_file_or_run(path: Path) -> bool:
    return path.is_file() or (path / "recipe.yaml").is_file()


def _check_different(made: Sequence[Cell]) -> None:
    """Refuse two cells that are the same recipe: their difference would be that of nothing."""
    seen: dict[str, str] = {}
    for cell in made:
        other = seen.setdefault(cell.key, cell.name)
        if other != cell.name:
            raise UsageError(f"--grid: {other!r} and {cell.name!r} are the same recipe; leave one of the values out")


def _check_data(made: Sequence[Cell]) -> None:
    """Open the data of every cell and see that all are scored on the same test windows.

    Raises:
        DataError: they are not, or the data cannot be had.
    """
    from stkit.data.prepare import prepare
    from stkit.data.source import SequenceSource

    hashes: dict[str, tuple[str, str]] = {}
    for cell in made:
        section = dump(cell.loaded.recipe.data.model_dump(mode="json"))
        if section in hashes:
            continue
        data = prepare(cell.loaded.recipe.data, cell.loaded.recipe.seed)
        if not hashes:
            starts = [data.test.start(index) for index in range(len(data.test))]
            block = 1 if isinstance(data.source, SequenceSource) else windows_of_block(starts, data.test.frames)
            if len(starts) < FEWEST_BLOCKS * block:
                LOG.warning(
                    "the test part has %d windows; %d would be needed to rank anything: the report will show scores "
                    "without a verdict",
                    len(starts),
                    FEWEST_BLOCKS * block,
                )
        hashes[section] = (cell.name, data.windows_hash)
    (first, expected), *others = hashes.values()
    for name, found in others:
        if found != expected:
            raise DataError(
                f"--grid: {name!r} has other test windows than {first!r} (hash {found}, {expected}): what changes the "
                "data set, its steps or its split cannot be compared"
            )


def _told(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more cells"
