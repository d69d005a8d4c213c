"""From a recipe's ``data:`` section to windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from stkit.data.known_fields import KnownFields, fit_known_fields
from stkit.data.pipeline import Pipeline
from stkit.data.record import JoinedRecord, Record, SequencesRecord, SpanRecord
from stkit.data.roles import Roles, roles_of, select_fields, select_sequences
from stkit.data.source import PARTS, Fields, FieldSource, Part, SequenceSource, Variable
from stkit.data.split import Span, describe, split
from stkit.data.stream import TrainStream, check_crop
from stkit.data.test_record import windows_of_test_record
from stkit.data.windows import FieldWindows, SequenceWindows, Windows
from stkit.errors import DataError
from stkit.evaluate.baselines import Baseline, make_baseline
from stkit.plugin.config import ComponentConfig
from stkit.recipe.sections.data import DataConfig

_FITTED_SEQUENCES = 1000
"""Training sequences that statistics and baselines are fitted to where there is no record."""
_OF_CELLS = ("climatology", "damped_anomaly", "eof_linear", "mean_frame", "optimal")
"""Baselines that belong to the cells they were fitted on."""


class Fitted(NamedTuple):
    """What an earlier training was fitted to, where another one goes on from it."""

    pipeline: Pipeline
    """It stays as it is."""
    record: Record
    """The training parts so far."""


@dataclass(frozen=True)
class PreparedData:
    """Three parts that share nothing, and the pipeline that was fitted on the first.

    Attributes:
        config: the section it was made from.
        source: where the fields that are forecast come from.
        record: the training part as a record; everything that is fitted is fitted to it.
        train: windows to learn from.
        validation: windows to choose and stop by.
        test: windows for the scores; training never touches them.
        pipeline: fitted on the training part.
        split_summary: for each part its first and last step and its number of windows.
        continued: whether the pipeline is that of an earlier training, whose parts the record begins with.
    """

    config: DataConfig
    source: FieldSource | SequenceSource
    record: Record
    train: Windows
    validation: Windows
    test: Windows
    pipeline: Pipeline
    split_summary: dict[str, dict[str, Any]]
    continued: bool = False

    @property
    def forecast_channels(self) -> int:
        """Channels that are forecast: the state and the targets."""
        return self.pipeline.forecast_channels

    @property
    def state_channels(self) -> int:
        """Channels that are given and fed back."""
        return self.pipeline.state_channels

    @property
    def known_channels(self) -> int:
        """Channels that are known for the future too."""
        return self.pipeline.known_channels

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width."""
        return self.source.grid.shape

    @property
    def tested(self) -> FieldSource | SequenceSource:
        """Where the test windows come from: the source, unless the recipe tests on another record."""
        return self.test.source

    @property
    def windows_hash(self) -> str:
        """Of the test windows: two runs with the same one are scored on the same windows."""
        return self.test.hash

    def baseline(self, config: ComponentConfig | str) -> Baseline:
        """A baseline fitted on the training part.

        Args:
            config: its entry in ``evaluate.baselines``, or its name alone.
        """
        name = config if isinstance(config, str) else config.name
        self.check_baseline(name)
        fitted = self.pipeline.departure
        if fitted is not None and fitted.name == name and not self.continued:
            return fitted
        return make_baseline(config, self.config).fit(self.record)

    @property
    def other_grid(self) -> str | None:
        """How the grid of the test part differs from that of the training; None where it does not."""
        return self.pipeline.grid.difference(self.test.pipeline.grid)

    def knows_cells(self, name: str) -> bool:
        """Whether a baseline is fitted to each cell of the training."""
        return name in _OF_CELLS

    def check_baseline(self, name: str) -> None:
        """Refuse a baseline that knows the cells of the training, where the test part lies on other ones.

        Raises:
            DataError: it is one.
        """
        difference = self.other_grid
        if difference and self.knows_cells(name):
            raise DataError(
                f"{name} is fitted to each cell of the training, but data.test_dataset has another grid: {difference}; "
                "leave it out of evaluate.baselines, and scores against a climatology out of evaluate.metrics"
            )

    def stream(self, seed: int, global_batch: int, rank: int = 0, world: int = 1) -> TrainStream:
        """The training batches, with the recipe's crops."""
        return TrainStream(self.train, seed, global_batch, rank, world, self.config.crop)


def prepare(config: DataConfig, seed: int, fitted: Fitted | None = None) -> PreparedData:
    """Open the data set that a recipe names, split it, fit the pipeline on the training part and cut windows.

    Args:
        config: the section.
        seed: of the recipe.
        fitted: of the training that this one goes on from, for a record; None: nothing has been fitted yet.

    Raises:
        UsageError: if the data set is not installed, its file or variable is missing, a part is too short, or anything
            else does not fit; mostly :class:`stkit.errors.DataError`.
    """
    tested = None if config.test_dataset is None else open_source(config.test_dataset)
    return from_source(config, open_source(config.dataset), seed, tested, fitted)


def from_source(
    config: DataConfig,
    source: FieldSource | SequenceSource,
    seed: int,
    tested: FieldSource | SequenceSource | None = None,
    fitted: Fitted | None = None,
) -> PreparedData:
    """As :func:`prepare`, on data sets that are open already, such as an :class:`stkit.data.source.ArraySource`."""
    check_crop(config.crop, source.grid.shape)
    if isinstance(source, FieldSource) and (tested is None or isinstance(tested, FieldSource)):
        return _from_record(config, source, tested, fitted)
    if isinstance(source, SequenceSource) and tested is None:
        return _from_sequences(config, source, seed)
    raise DataError("data.test_dataset: only a record in time can be tested on another record in time")


def open_source(dataset: ComponentConfig) -> FieldSource | SequenceSource:
    """A data set that a recipe names."""
    from stkit.plugin.manager import plugins

    spec = plugins().resolve("datasets", dataset.name)
    source = spec.load_target().from_config(dataset)
    if not isinstance(source, (FieldSource, SequenceSource)):
        raise DataError(
            f"data set {dataset.name!r}: {spec.target} gives a {type(source).__name__}, "
            "expected a FieldSource or a SequenceSource"
        )
    return source


def training_record(config: DataConfig) -> Record:
    """The training part of the record that a section names.

    Raises:
        UsageError: as :func:`prepare`.
    """
    whole = open_source(config.dataset)
    if isinstance(whole, SequenceSource):
        raise DataError(f"{whole.name}: these are sequences, not a record")
    source = select_fields(whole, roles_of(config.roles, whole.variables, whole.name).forecast)
    return SpanRecord(source, *split(config.split, source.steps, source.times)["train"])


def _from_record(
    config: DataConfig, whole: FieldSource, tested: FieldSource | None, fitted: Fitted | None
) -> PreparedData:
    if (tested is None) != (config.split.test is not None):
        raise DataError("data.split.test: null says that all of data.test_dataset is the test part; name both or none")
    roles = roles_of(config.roles, whole.variables, whole.name)
    source = select_fields(whole, roles.forecast)
    forcing = select_fields(whole, roles.forcing, is_masked=False) if roles.forcing else None
    spans = split(config.split, source.steps, source.times)
    record: Record = SpanRecord(source, *spans["train"])
    if fitted is None:
        pipeline = _fitted(config, whole, roles, record, forcing, spans["train"])
    else:
        pipeline, record = fitted.pipeline, JoinedRecord((fitted.record, record))
        pipeline.check_grid(source.grid, source.name)
    windows = {
        part: FieldWindows(source, part, span, pipeline, config.window_stride, forcing) for part, span in spans.items()
    }
    summary = describe(spans, source.times)
    if tested is not None:
        windows["test"] = windows_of_test_record(config, tested, pipeline, source, spans)
        found = windows["test"].source
        summary |= describe({"test": windows["test"].span}, found.times)
        summary["test"]["of"] = found.name
    for part in PARTS[1:]:
        start, stop = windows[part].span
        truth = SpanRecord(windows[part].source, start + config.input_steps, stop)
        _check_truth(part, truth, windows[part].pipeline)
    together = _together(config, source, record, windows, pipeline, summary)
    return replace(together, continued=fitted is not None)


def _fitted(
    config: DataConfig, whole: FieldSource, roles: Roles, record: Record, forcing: FieldSource | None, span: Span
) -> Pipeline:
    """The pipeline, fitted on the training part."""
    given = None if forcing is None else SpanRecord(forcing, *span)
    known = _known_fields(config, roles, whole, given, _static(whole, roles.static, span))
    source = select_fields(whole, roles.forecast)
    return Pipeline.fit(
        config, record, source.variables, source.grid, source.mask, source.typical_step, len(roles.target), known
    )


def _check_truth(part: Part, record: Record, pipeline: Pipeline) -> None:
    """Refuse a part of which nothing can be scored. Read no further than to the first values."""
    found = torch.zeros(pipeline.forecast_channels, dtype=torch.bool)
    for piece in record:
        found |= (piece.fields.isfinite() & pipeline.valid).flatten(2).any(2).any(0)
        if found.all():
            return
    missing = next(variable for variable, some in zip(pipeline.variables, found, strict=True) if not some)
    raise DataError(
        f"{missing.name}: every value that the {part} part would be scored on is missing (NaN), or where the training "
        f"part has none; choose another span in data.split.{part}"
    )


def _from_sequences(config: DataConfig, whole: SequenceSource, seed: int) -> PreparedData:
    frames = config.input_steps + config.horizon
    whole = whole.arranged(frames, config.window_stride, config.split)
    roles = roles_of(config.roles, whole.variables, whole.name)
    source = select_sequences(whole, roles.forecast)
    forcing = select_sequences(whole, roles.forcing) if roles.forcing else None
    number = min(_FITTED_SEQUENCES, source.count("train") or _FITTED_SEQUENCES)
    record = SequencesRecord(source, number, frames, seed)
    given = None if forcing is None else SequencesRecord(forcing, number, frames, seed)
    static = _static_of_sequences(whole, roles.static, frames, seed)
    known = _known_fields(config, roles, whole, given, static)
    pipeline = Pipeline.fit(
        config, record, source.variables, source.grid, targets=len(roles.target), known_fields=known
    )
    windows = {part: SequenceWindows(source, part, pipeline, seed, forcing) for part in PARTS}
    return _together(config, source, record, windows, pipeline, {part: {} for part in PARTS})


def _known_fields(
    config: DataConfig, roles: Roles, source: FieldSource | SequenceSource, forcing: Record | None, static: Fields
) -> KnownFields | None:
    if not (roles.forcing or roles.static):
        return None
    named = _named(source, roles.forcing), _named(source, roles.static)
    return fit_known_fields(config.transforms, forcing, named[0], static, named[1])


def _named(source: FieldSource | SequenceSource, channels: Sequence[int]) -> tuple[Variable, ...]:
    return tuple(source.variables[channel] for channel in channels)


def _static(source: FieldSource, channels: Sequence[int], span: Span) -> Fields:
    """Static variables, ``S H W``: those of the first training step, which are those of the last one."""
    if not channels:
        return np.zeros((0, *source.grid.shape), dtype=np.float32)
    first, last = (source.read_variables(step, step + 1, channels)[0] for step in (span.start, span.stop - 1))
    for variable, one, other in zip(_named(source, channels), first, last, strict=True):
        if not np.array_equal(one, other, equal_nan=True):
            raise DataError(
                f"data.roles.static: {variable.name!r} of {source.name} changes in time: name it as forcing if it is "
                "known for the future, or leave it to the state"
            )
    return np.asarray(first)


def _static_of_sequences(source: SequenceSource, channels: Sequence[int], frames: int, seed: int) -> Fields:
    """Static variables, ``S H W``: those of the first training sequence, which are those of the last one."""
    if not channels:
        return np.zeros((0, *source.grid.shape), dtype=np.float32)
    last = (source.count("train") or _FITTED_SEQUENCES) - 1
    found = np.concatenate([source.sequence("train", number, frames, seed)[:, list(channels)] for number in (0, last)])
    for place, variable in enumerate(_named(source, channels)):
        if not all(np.array_equal(found[0, place], field, equal_nan=True) for field in found[:, place]):
            raise DataError(
                f"data.roles.static: {variable.name!r} of {source.name} changes from frame to frame or from sequence "
                "to sequence: name it as forcing if it is known for the future, or leave it to the state"
            )
    return np.asarray(found[0])


def _together(
    config: DataConfig,
    source: FieldSource | SequenceSource,
    record: Record,
    windows: dict[Part, Windows] | dict[Part, FieldWindows] | dict[Part, SequenceWindows],
    pipeline: Pipeline,
    summary: dict[str, dict[str, Any]],
) -> PreparedData:
    for part in PARTS:
        summary[part]["windows"] = None if windows[part].endless else len(windows[part])
    return PreparedData(
        config=config,
        source=source,
        record=record,
        train=windows["train"],
        validation=windows["validation"],
        test=windows["test"],
        pipeline=pipeline,
        split_summary=summary,
    )
