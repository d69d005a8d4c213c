"""Training goes on as new data arrive: ``stkit resume RUN --data NEW``.

The run that is gone on from stays as it is. A new one begins with its best weights and keeps its pipeline, so that what
the weights see is in the same units; it has only frames after the last one of the old run's data, split anew into
training, validation and test part. The old weights are its first checkpoint: if training on makes validation no
better, they are what is kept. Its optimiser starts afresh, because its moments are those of other data and of a
learning rate at its end; they may be kept.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from stkit.data.calendar import as_text
from stkit.data.prepare import Fitted, PreparedData, open_source, prepare
from stkit.data.source import PARTS, FieldSource, Variable
from stkit.data.split import split
from stkit.data.units import same_units
from stkit.errors import DataError, UsageError
from stkit.predict.context import same_step, step_words
from stkit.predict.inputs import of_file
from stkit.recipe import LoadedRecipe, load
from stkit.recipe.sections.data import DataConfig, SplitConfig
from stkit.recipe.yaml import dump
from stkit.run.directory import RunDirectory, refuse_occupied
from stkit.run.files import told_when_full
from stkit.run.load import TrainedForecaster
from stkit.run.load import load as load_run
from stkit.run.origin import Origin, origin_of, prepared
from stkit.run.record import new_record
from stkit.train import checkpoint as checkpoints

if TYPE_CHECKING:
    from stkit.train.setup import Training

LOG = logging.getLogger("stkit.run")


@dataclass(frozen=True)
class Old:
    """The run that is gone on from."""

    run: RunDirectory
    forecaster: TrainedForecaster
    loaded: LoadedRecipe
    data: PreparedData

    @property
    def until(self) -> np.datetime64:
        """The last time of its parts."""
        assert isinstance(self.data.source, FieldSource)
        assert self.data.source.times is not None
        last: np.datetime64 = self.data.source.times[max(self.data.split_summary[part]["stop"] for part in PARTS) - 1]
        return last


def begin(
    path: str | Path,
    new: str | Path,
    out: str | Path | None,
    overrides: Sequence[str],
    *,
    keep_optimiser: bool = False,
) -> tuple[Training, RunDirectory]:
    """Make the new run, ready to be trained: its directory, with the old weights as its first checkpoint.

    Args:
        path: the run to go on from; it stays as it is.
        new: a file, or a pattern, of the kind that it was trained on, with later frames.
        out: an empty or new directory; null: ``runs/<recipe name>/<UTC time>``.
        overrides: ``key.path=value`` of the new run's recipe, such as ``train.steps=200``.
        keep_optimiser: whether the optimiser goes on with the moments that it had at the old run's best weights.

    Raises:
        UsageError: the old run's data have no times or are not there any more, or options do not fit.
        DataError: the new data are not of the kind of the old ones, or have nothing after them.
        CheckpointError: the run has no usable weights.
    """
    from stkit.train.device import make_accelerator
    from stkit.train.setup import assemble

    if out is not None:
        refuse_occupied(Path(out))
    old = _opened(path)
    loaded = _recipe(old, new, overrides)
    accelerator = make_accelerator(loaded.recipe.train.precision)
    if accelerator.num_processes > 1:
        raise UsageError("--data: begin in one process; `stkit resume` of the new run goes on in several")
    fitted = Fitted(old.data.pipeline, old.data.record)
    training = assemble(loaded, accelerator, prepare(loaded.recipe.data, loaded.recipe.seed, fitted))
    _start_from(training, old, keep_optimiser=keep_optimiser)
    run = RunDirectory.create(loaded, out)
    run.update_record(**new_record(loaded), **_origin(old, keep_optimiser=keep_optimiser).as_record())
    training.run = run
    _first_checkpoint(training)
    return training, run


def _opened(path: str | Path) -> Old:
    from stkit.evaluate.run import check_same_windows

    run = RunDirectory.open(path)
    forecaster = load_run(run.path)
    data = prepared(run, forecaster.recipe)
    if forecaster.recipe.data.test_dataset is not None:
        raise UsageError(
            f"{run.path}: is tested on another record (data.test_dataset), so there is no test part to come after; "
            "--data is for runs whose parts are of one record"
        )
    if not isinstance(data.source, FieldSource) or data.source.times is None:
        raise UsageError(
            f"{run.path}: was trained on {data.source.name}, which has no times: what is new cannot be told from what "
            "was trained on"
        )
    check_same_windows(run, data)
    return Old(run, forecaster, load(str(run.path)), data)


def _recipe(old: Old, new: str | Path, overrides: Sequence[str]) -> LoadedRecipe:
    """That of the old run, on the new frames."""
    recipe = old.forecaster.recipe
    section = recipe.data.model_copy(update={"dataset": of_file(Path(new), recipe.data.dataset, _names(old))})
    source = _checked(section, old, str(new))
    assert source.times is not None
    first = int(np.searchsorted(source.times, old.until, side="right"))
    if first == source.steps:
        raise DataError(
            f"{new}: has nothing after {as_text(old.until)}, where the data of {old.run.path} end; its frames go from "
            f"{as_text(source.times[0])} to {as_text(source.times[-1])}"
        )
    if first:
        LOG.info("%s: %d frames up to %s are left out: they are the old run's", new, first, as_text(old.until))
    values: dict[str, Any] = recipe.model_dump(mode="json")
    asked = recipe.data.split
    shares = asked if isinstance(asked.train, float) else SplitConfig(gap_steps=asked.gap_steps)
    spans = split(shares, source.steps - first, source.times[first:])
    named = {
        part: f"{as_text(source.times[first + span.start])}..{as_text(source.times[first + span.stop - 1])}"
        for part, span in spans.items()
    }
    values["data"] = {
        **section.model_dump(mode="json"),
        "split": {**named, "gap_steps": shares.gap_steps},
    }
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{old.loaded.name}.yaml"
        file.write_text(dump(values), encoding="utf-8")
        loaded = load(str(file), overrides)
    _check_later(loaded.recipe.data, source, old)
    return loaded


def _names(old: Old) -> tuple[str, ...]:
    """The variables as the old run's data set has them."""
    return tuple(variable.name for variable in _whole(old.forecaster.recipe.data).variables)


def _whole(data: DataConfig) -> FieldSource:
    source = open_source(data.dataset)
    assert isinstance(source, FieldSource), "it has been opened before"
    return source


def _checked(section: DataConfig, old: Old, where: str) -> FieldSource:
    """The new fields, of the kind of the old ones."""
    source = open_source(section.dataset)
    if not isinstance(source, FieldSource) or source.times is None:
        raise DataError(f"{where}: has no times that can be understood: what is new cannot be told")
    known = _whole(old.forecaster.recipe.data).variables
    if [variable.name for variable in known] != [variable.name for variable in source.variables] or not all(
        same_units(mine.units, theirs.units) for mine, theirs in zip(known, source.variables, strict=True)
    ):
        raise DataError(f"{where}: gives {_told(source.variables)}; the run was trained on {_told(known)}")
    old.data.pipeline.check_grid(source.grid, where)
    step, given = old.data.pipeline.step, source.typical_step
    if step is not None and given is not None and not same_step(given, step):
        raise DataError(
            f"{where}: its time step is {step_words(given)}, but the run was trained on steps of one {step_words(step)}"
        )
    return source


def _told(variables: Sequence[Variable]) -> str:
    return ", ".join(f"{variable.name} [{variable.units}]" for variable in variables)


def _check_later(data: DataConfig, source: FieldSource, old: Old) -> None:
    """No part of the new run may reach into what the old run has trained on, chosen by or been scored on."""
    assert source.times is not None
    for part, span in split(data.split, source.steps, source.times).items():
        if source.times[span.start] <= old.until:
            raise DataError(
                f"data.split.{part}: begins at {as_text(source.times[span.start])}, but the parts of {old.run.path} "
                f"reach to {as_text(old.until)}: what a run has been scored on stays out of training; begin later"
            )


def _start_from(training: Training, old: Old, *, keep_optimiser: bool) -> None:
    """The old run's weights, and the parameters of its loss."""
    path = checkpoints.find(old.run.checkpoints, "best") or checkpoints.find(old.run.checkpoints, "latest")
    assert path is not None, "its weights have been loaded"
    saved = checkpoints.load(path, recipe_hash=old.loaded.hash, parts=("model", "ema", "loss", "optimiser"))
    weights = saved.tensors.get("ema") or saved.tensors["model"]
    modules = {"model": training.objective.forecaster, "loss": training.objective.loss}
    found = {"model": weights, "loss": saved.tensors.get("loss", {})}
    for part, module in modules.items():
        checkpoints.check_shapes(found[part], module.state_dict(), path / f"{part}.safetensors")
        module.load_state_dict(found[part])
    if training.ema is not None:
        training.ema.module.load_state_dict(weights)
    if keep_optimiser:
        mine, theirs = training.recipe.train.optimiser.name, old.forecaster.recipe.train.optimiser.name
        if mine != theirs:
            raise UsageError(
                f"--keep-optimiser: {old.run.path} was trained with {theirs}, whose state means nothing to {mine}; "
                "leave out train.optimiser.name, or --keep-optimiser"
            )
        training.restore_moments(saved)


def _origin(old: Old, *, keep_optimiser: bool) -> Origin:
    before = origin_of(old.run)
    return Origin(
        run=str(old.run.path.resolve()),
        recipe_hash=old.loaded.hash,
        weights_of_step=old.forecaster.trained_steps,
        until=as_text(old.until),
        trained_on=(
            *(() if before is None else before.trained_on),
            old.forecaster.recipe.data.model_dump(mode="json"),
        ),
        optimiser="kept" if keep_optimiser else "fresh",
    )


def _first_checkpoint(training: Training) -> None:
    """The old weights as a checkpoint of the new run, and the best one until training has made better ones."""
    from stkit.train.trainer import describe_training, save
    from stkit.train.validation import validate

    with told_when_full(training.run.path):
        describe_training(training)
    loss = math.fsum(validate(training).values())
    better = training.best.update(loss, 0, training.recipe.train.early_stopping)
    training.run.append_metrics(step=0, kind="validation", loss=loss, best=better)
    save(training, best=better)
