"""From physical units to what a model sees, and back.

Each transform is fitted on the training part only, on fields that the transforms before it have been through. Missing
values are NaN on both sides. Axes: ``B`` any leading axes, ``T`` time, ``C`` variables, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from stkit.data.box import Box, crop
from stkit.data.calendar import Times
from stkit.data.record import Piece, Record
from stkit.data.source import Variable
from stkit.errors import DataError
from stkit.evaluate.climatology import Climatology, ClimatologyKind
from stkit.recipe.sections.data import TransformConfig, VariableTransformConfig

Frames = Float[Tensor, "*B T C H W"]


class Transform(ABC):
    """One step towards what a model sees. :meth:`inverse` undoes :meth:`forward` exactly, up to rounding."""

    kind: ClassVar[str]

    @abstractmethod
    def forward(self, frames: Frames, times: Times | None, box: Box | None = None) -> Frames:
        """Towards the model. ``times``: ``*B T``; ``box``: the part of the grid that the frames are."""

    @abstractmethod
    def inverse(self, frames: Frames, times: Times | None, box: Box | None = None) -> Frames:
        """Back towards physical units."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """The tensors that make it up."""

    def settings(self) -> dict[str, str]:
        """What else :meth:`from_state` needs."""
        return {}

    @classmethod
    @abstractmethod
    def from_state(cls, settings: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Transform:
        """Back from :meth:`settings` and :meth:`state`."""

    @abstractmethod
    def to(self, device: torch.device) -> Transform:
        """The same on another device."""


class Log(Transform):
    """``log((value + offset) / offset)``: zero stays zero, large values come closer. For rain and the like.

    Values below zero by nearly the offset or more are lifted just above it; training data that has them is refused.
    """

    kind = "log"
    _LOWEST = -0.999
    """In units of the offset; only what a baseline extrapolates comes here."""

    def __init__(self, offset: Float[Tensor, ""]) -> None:
        self.offset = offset

    @classmethod
    def fit(cls, record: Record, offset: float, variables: Sequence[Variable]) -> Log:
        """Check that the training part has no value at or below ``-offset`` (0.999 of it, to be exact)."""
        for piece in record:
            for index, variable in enumerate(variables):
                values = piece.fields[:, index]
                lowest = float(torch.where(values.isfinite(), values, 0.0).min())
                if lowest <= cls._LOWEST * offset:
                    raise DataError(
                        f"transforms.log_offset: {variable.name} goes down to {lowest:g} {variable.units}, "
                        f"too low for a logarithm with the offset {offset:g}: take a larger offset or null"
                    )
        return cls(torch.tensor(offset))

    def forward(self, frames: Frames, times: Times | None, box: Box | None = None) -> Frames:
        """See :meth:`Transform.forward`."""
        return torch.log1p((frames / self.offset).clamp(min=self._LOWEST))

    def inverse(self, frames: Frames, times: Times | None, box: Box | None = None) -> Frames:
        """See :meth:`Transform.inverse`."""
        return torch.expm1(frames) * self.offset

    def state(self) -> dict[str, Tensor]:
        """See :meth:`Transform.state`."""
        return {"offset": self.offset}

    @classmethod
    def from_state(cls, settings: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Log:
        """See :meth:`Transform.from_state`."""
        return cls(tensors["offset"])

    def to(self, device: torch.device) -> Log:
        """See :meth:`Transform.to`."""
        return Log(self.offset.to(device))


class Anomaly(Transform):
    """Subtract a climatology. Where that has no value (a month that a cell never had) neither has the result."""

    kind = "anomaly"

    def __init__(self, climatology: Climatology) -> None:
        self.climatology = climatology

    @classmethod
    def fit(cls, record: Record, kind: ClimatologyKind) -> Anomaly:
        """Fit the climatology to the training record."""
        return cls(Climatology.fit(record, kind))

    def forward(self, frames: Frames, times: Times | None, box: Box | None = None) -> Frames:
        """See :meth:`Transform.forward`."""
        return frames - self.climatology.at(times, frames.shape[-4], box)

    def inverse(self, frames: Frames, times: Times | None, box: Box | None = None) -> Frames:
        """See :meth:`Transform.inverse`."""
        return frames + self.climatology.at(times, frames.shape[-4], box)

    def state(self) -> dict[str, Tensor]:
        """See :meth:`Transform.state`."""
        return self.climatology.state()

    def settings(self) -> dict[str, str]:
        """See :meth:`Transform.settings`."""
        return {"climatology": self.climatology.kind}

    @classmethod
    def from_state(cls, settings: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Anomaly:
        """See :meth:`Transform.from_state`."""
        kind: ClimatologyKind = settings["climatology"]  # type: ignore[assignment]
        return cls(Climatology.from_state(kind, tensors))

    def to(self, device: torch.device) -> Anomaly:
        """See :meth:`Transform.to`."""
        return Anomaly(self.climatology.to(device))


class Standardise(Transform):
    """Subtract a mean and divide by a standard deviation, of each variable or of each of its cells.

    A field that does not vary is divided by one. A cell that hardly varies (under a hundredth of what the cells of its
    variable do on average, as under lasting sea ice) is divided by that hundredth, so that no cell becomes huge.
    """

    kind = "standardise"

    def __init__(self, mean: Float[Tensor, "C H W"], deviation: Float[Tensor, "C H W"]) -> None:
        self.mean = mean
        self.deviation = deviation

    @classmethod
    def fit(cls, record: Record, per: Literal["variable", "cell"]) -> Standardise:
        """Mean and deviation of the values that are there; in two passes, so that large means cost no digits."""
        count, total = _sums(record, None)
        field_mean = total.sum((-2, -1), keepdim=True) / count.sum((-2, -1), keepdim=True).clamp(min=1)
        mean = field_mean if per == "variable" else total / count.clamp(min=1)
        _, squares = _sums(record, mean)
        pooled = (squares.sum((-2, -1), keepdim=True) / count.sum((-2, -1), keepdim=True).clamp(min=1)).sqrt()
        # values are float32: less spread than its rounding of the mean is none
        constant = pooled <= field_mean.abs() * 1e-6
        pooled = torch.where(constant, 1.0, pooled)
        if per == "variable":
            return cls(mean.float(), pooled.float())
        deviation = torch.maximum((squares / count.clamp(min=1)).sqrt(), 0.01 * pooled)
        deviation = torch.where(constant, 1.0, deviation)
        return cls(torch.where(count > 0, mean, 0.0).float(), torch.where(count > 0, deviation, 1.0).float())

    def forward(self, frames: Frames, times: Times | None, box: Box | None = None) -> Frames:
        """See :meth:`Transform.forward`."""
        return (frames - crop(self.mean, box)) / crop(self.deviation, box)

    def inverse(self, frames: Frames, times: Times | None, box: Box | None = None) -> Frames:
        """See :meth:`Transform.inverse`."""
        return frames * crop(self.deviation, box) + crop(self.mean, box)

    def state(self) -> dict[str, Tensor]:
        """See :meth:`Transform.state`."""
        return {"mean": self.mean, "deviation": self.deviation}

    @classmethod
    def from_state(cls, settings: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Standardise:
        """See :meth:`Transform.from_state`."""
        return cls(tensors["mean"], tensors["deviation"])

    def to(self, device: torch.device) -> Standardise:
        """See :meth:`Transform.to`."""
        return Standardise(self.mean.to(device), self.deviation.to(device))


class Only(Transform):
    """A transform of some variables; the others go through as they are."""

    kind = "only"

    def __init__(self, channels: Sequence[int], inner: Transform) -> None:
        self.channels = tuple(channels)
        self.inner = inner

    def forward(self, frames: Frames, times: Times | None, box: Box | None = None) -> Frames:
        """See :meth:`Transform.forward`."""
        return self._changed(frames, self.inner.forward(self._mine(frames), times, box))

    def inverse(self, frames: Frames, times: Times | None, box: Box | None = None) -> Frames:
        """See :meth:`Transform.inverse`."""
        return self._changed(frames, self.inner.inverse(self._mine(frames), times, box))

    def _mine(self, frames: Tensor) -> Tensor:
        return frames[..., list(self.channels), :, :]

    def _changed(self, frames: Tensor, mine: Tensor) -> Tensor:
        channels = torch.tensor(self.channels, device=frames.device)
        return frames.index_copy(-3, channels, mine.to(frames.dtype))

    def state(self) -> dict[str, Tensor]:
        """See :meth:`Transform.state`."""
        return self.inner.state()

    def settings(self) -> dict[str, str]:
        """See :meth:`Transform.settings`."""
        channels = " ".join(map(str, self.channels))
        return {**self.inner.settings(), "channels": channels, "of": self.inner.kind}

    @classmethod
    def from_state(cls, settings: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Transform:
        """See :meth:`Transform.from_state`."""
        inner = TRANSFORMS[settings["of"]].from_state(settings, tensors)
        return cls([int(channel) for channel in settings["channels"].split()], inner)

    def to(self, device: torch.device) -> Only:
        """See :meth:`Transform.to`."""
        return Only(self.channels, self.inner.to(device))


TRANSFORMS: Mapping[str, type[Transform]] = {kind.kind: kind for kind in (Log, Anomaly, Standardise, Only)}
"""By the name under which they are saved."""


@dataclass(frozen=True)
class Transformed(Record):
    """A record seen through transforms that are fitted already."""

    record: Record
    transforms: tuple[Transform, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Variables, height, width."""
        return self.record.shape

    @property
    def times(self) -> Times | None:
        """Times of all frames."""
        return self.record.times

    def __iter__(self) -> Iterator[Piece]:
        for piece in self.record:
            fields = piece.fields
            for transform in self.transforms:
                fields = transform.forward(fields, piece.times)
            yield piece._replace(fields=fields)


@dataclass(frozen=True)
class Chosen(Record):
    """Some variables of a record."""

    record: Record
    channels: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Variables, height, width."""
        return len(self.channels), *self.record.shape[1:]

    @property
    def times(self) -> Times | None:
        """Times of all frames."""
        return self.record.times

    def __iter__(self) -> Iterator[Piece]:
        for piece in self.record:
            yield piece._replace(fields=piece.fields[:, list(self.channels)])


def fit_transforms(config: TransformConfig, record: Record, variables: Sequence[Variable]) -> tuple[Transform, ...]:
    """The transforms that a recipe asks for, fitted one after the other on the training record.

    Variables that ask for the same are fitted together.

    Raises:
        DataError: if the record does not suffice, or a logarithm is asked of values that have none.
    """
    groups: list[tuple[VariableTransformConfig, list[int]]] = []
    for channel, variable in enumerate(variables):
        wanted = _plain(config.of(variable.name))
        known = next((channels for other, channels in groups if other == wanted), None)
        if known is None:
            groups.append((wanted, [channel]))
        else:
            known.append(channel)
    if len(groups) == 1:
        return _fit(groups[0][0], record, variables)
    return tuple(
        Only(channels, transform)
        for wanted, channels in groups
        for transform in _fit(wanted, Chosen(record, tuple(channels)), [variables[channel] for channel in channels])
    )


def _plain(config: VariableTransformConfig) -> VariableTransformConfig:
    values = {name: getattr(config, name) for name in VariableTransformConfig.model_fields}
    return VariableTransformConfig.model_validate(values)


def _fit(config: VariableTransformConfig, record: Record, variables: Sequence[Variable]) -> tuple[Transform, ...]:
    fitted: tuple[Transform, ...] = ()
    if config.log_offset is not None:
        fitted = (*fitted, Log.fit(record, config.log_offset, variables))
    if config.anomaly != "none":
        fitted = (*fitted, Anomaly.fit(Transformed(record, fitted), config.anomaly))
    if config.standardise != "none":
        fitted = (*fitted, Standardise.fit(Transformed(record, fitted), config.standardise))
    return fitted


def _sums(record: Record, centre: Tensor | None) -> tuple[Tensor, Tensor]:
    """Number of values in each cell, and the sum of them or, about a centre, of their squares; ``C H W``, float64."""
    count = torch.zeros(record.shape, dtype=torch.float64)
    total = torch.zeros(record.shape, dtype=torch.float64)
    for piece in record:
        finite = piece.fields.isfinite()
        fields = piece.fields.double()
        if centre is not None:
            fields = (fields - centre).square()
        total += torch.where(finite, fields, 0.0).sum(0)
        count += finite.sum(0)
    return count, total
