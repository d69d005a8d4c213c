"""Which variables are forecast, which are given, and a data set seen as some of its variables.

Axes: ``T`` time, ``C`` variables, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stkit.data.optimum import Optimum
from stkit.data.source import Fields, FieldSource, Part, SequenceSource, Variable, masked
from stkit.errors import DataError, nearest
from stkit.recipe.sections.data import RolesConfig


class Roles(NamedTuple):
    """The channels of a data set by what they are to a model."""

    state: tuple[int, ...]
    """Known in the past, forecast, fed back."""
    target: tuple[int, ...]
    """Forecast only."""
    forcing: tuple[int, ...]
    """Known in the past and in the future."""
    static: tuple[int, ...]
    """The same at all times."""

    @property
    def forecast(self) -> tuple[int, ...]:
        """What is forecast: the state, then the targets."""
        return self.state + self.target


def roles_of(config: RolesConfig, variables: Sequence[Variable], where: str) -> Roles:
    """The channels of each role; those that no role names are the state.

    Raises:
        DataError: if there is no variable of a name, or none is left for the state.
    """
    names = [variable.name for variable in variables]

    def found(role: str) -> tuple[int, ...]:
        wanted: tuple[str, ...] = getattr(config, role)
        for name in wanted:
            if name not in names:
                close = nearest(name, names)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise DataError(f"data.roles.{role}: {where} has no variable {name!r}; it has {', '.join(names)}{hint}")
        return tuple(names.index(name) for name in wanted)

    target, forcing, static = found("target"), found("forcing"), found("static")
    state = tuple(number for number in range(len(names)) if number not in {*target, *forcing, *static})
    if not state:
        raise DataError(
            f"data.roles: {where} has the variables {', '.join(names)}, and each has a role: leave at least one as "
            "the state, which the forecast starts from"
        )
    return Roles(state, target, forcing, static)


class SelectedFields(FieldSource):
    """Some variables of a record, in a given order.

    Args:
        source: the record.
        channels: which of its variables.
        is_masked: whether its masks say where these variables count.
    """

    def __init__(self, source: FieldSource, channels: Sequence[int], *, is_masked: bool) -> None:
        self.whole = source
        self.is_masked = is_masked
        self.channels = tuple(channels)
        self.name, self.times, self.grid, self.steps = source.name, source.times, source.grid, source.steps
        self.licence, self.citation = source.licence, source.citation
        self.variables = tuple(source.variables[channel] for channel in self.channels)

    def read(self, start: int, stop: int) -> Fields:
        """See :meth:`stkit.data.source.FieldSource.read`."""
        return masked(self.whole.read_variables(start, stop, self.channels), self.moving_mask(start, stop))

    def moving_mask(self, start: int, stop: int) -> NDArray[np.bool_] | None:
        """That of the record, if it holds here."""
        return self.whole.moving_mask(start, stop) if self.is_masked else None

    @property
    def block_steps(self) -> int:
        """That of the record."""
        return self.whole.block_steps

    def optimum(self, input_steps: int) -> Optimum | None:
        """None: the law is that of all variables together."""
        return None

    @property
    def identity(self) -> str:
        """That of the record."""
        return self.whole.identity

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """That of the record, if it holds here."""
        return self.whole.mask if self.is_masked else None


class SelectedSequences(SequenceSource):
    """Some variables of sequences, in a given order."""

    def __init__(self, source: SequenceSource, channels: Sequence[int]) -> None:
        self.whole = source
        self.channels = tuple(channels)
        variables = tuple(source.variables[channel] for channel in self.channels)
        super().__init__(source.name, variables, source.grid, licence=source.licence, citation=source.citation)

    def sequence(self, part: Part, number: int, length: int, seed: int) -> Fields:
        """See :meth:`stkit.data.source.SequenceSource.sequence`."""
        return self.whole.sequence(part, number, length, seed)[:, list(self.channels)]

    def count(self, part: Part) -> int | None:
        """See :meth:`stkit.data.source.SequenceSource.count`."""
        return self.whole.count(part)

    @property
    def identity(self) -> str:
        """That of the source."""
        return self.whole.identity


def select_fields(source: FieldSource, channels: Sequence[int], *, is_masked: bool = True) -> FieldSource:
    """The record seen as some of its variables; itself where they are all of them in order."""
    if is_masked and tuple(channels) == tuple(range(len(source.variables))):
        return source
    return SelectedFields(source, channels, is_masked=is_masked)


def select_sequences(source: SequenceSource, channels: Sequence[int]) -> SequenceSource:
    """As :func:`select_fields`."""
    return source if tuple(channels) == tuple(range(len(source.variables))) else SelectedSequences(source, channels)
