"""Where a run that goes on from another one comes from, and the data of any run.

A run that was continued on new data keeps the pipeline of the first one; ``run.json`` says under ``continues`` which
run it goes on from, and what was trained on before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from stkit.data.pipeline import Pipeline
from stkit.data.prepare import Fitted, PreparedData, prepare, training_record
from stkit.data.record import JoinedRecord
from stkit.recipe.model import Recipe
from stkit.recipe.sections.data import DataConfig
from stkit.run.directory import RunDirectory

_KEY = "continues"


@dataclass(frozen=True)
class Origin:
    """What a run goes on from."""

    run: str
    """The run directory."""
    recipe_hash: str
    weights_of_step: int
    """Of that run: what training began with."""
    until: str
    """The last time of that run's data; this one has only later ones."""
    trained_on: tuple[Mapping[str, Any], ...]
    """The ``data:`` sections whose training parts were trained on before, first to last."""
    optimiser: str = "fresh"
    """``kept``: it went on with the moments that it had at these weights."""

    def as_record(self) -> dict[str, Any]:
        """For ``run.json``."""
        return {_KEY: {**asdict(self), "trained_on": list(self.trained_on)}}


def origin_of(run: RunDirectory) -> Origin | None:
    """What a run goes on from; None: it began with weights that were drawn."""
    said = run.read_record().get(_KEY)
    return None if said is None else Origin(**{**said, "trained_on": tuple(said["trained_on"])})


def prepared(run: RunDirectory, recipe: Recipe) -> PreparedData:
    """The data of a run, as it was trained on them.

    Raises:
        UsageError: as :func:`stkit.data.prepare.prepare`, of the data that were trained on before, too.
    """
    origin = origin_of(run)
    if origin is None:
        return prepare(recipe.data, recipe.seed)
    before = JoinedRecord(tuple(training_record(DataConfig.model_validate(data)) for data in origin.trained_on))
    return prepare(recipe.data, recipe.seed, Fitted(Pipeline.load(run.pipeline), before))
