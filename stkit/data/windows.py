"""Windows: stretches of consecutive frames that lie wholly inside one part.

Axes: ``T`` time (context and horizon together), ``C`` variables that are forecast, ``F`` forcing, ``K`` known channels,
``H`` rows, ``W`` columns.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from stkit.data.box import Box, crop
from stkit.data.calendar import Times, as_text, breaks
from stkit.data.pipeline import Pipeline
from stkit.data.source import Fields, FieldSource, Part, SequenceSource
from stkit.data.split import Span
from stkit.errors import DataError

Sample = dict[str, Tensor]
"""One window's tensors.

- ``frames`` T C H W: in model space, 0 where missing
- ``valid`` T C H W: where they are not
- ``physical`` T C H W: in physical units, 0 where missing
- ``known`` T K H W: where there are known inputs
- ``base`` T-1 C H W: where a departure is forecast; ``base[t]`` belongs to frame ``t + 1``
- ``start``: number of the first frame in the record, or of the sequence
"""


class Raw(NamedTuple):
    """A window as it is, in physical units."""

    fields: Float[Tensor, "T C H W"]
    """NaN where there is no value or the variable does not count."""
    times: Times | None
    """``T``."""
    forcing: Float[Tensor, "T F H W"] | None = None
    """What is given for all times and not forecast; None where there is none."""


class Windows(Dataset[Sample], ABC):
    """The windows of one part; ``windows[i]`` is a sample, ``windows.raw(i)`` the same in physical units.

    Attributes:
        part: of which part.
        pipeline: what turns fields into tensors.
        grid: height and width.
        source: where the windows are cut from.
        endless: whether there are always new windows; ``len`` is then what counts as an epoch.
    """

    source: FieldSource | SequenceSource

    def __init__(self, part: Part, pipeline: Pipeline) -> None:
        self.part = part
        self.pipeline = pipeline
        self.grid = pipeline.grid.shape
        self.endless = False

    @property
    def frames(self) -> int:
        """Frames of a window: context and horizon."""
        return self.pipeline.input_steps + self.pipeline.horizon

    @abstractmethod
    def __len__(self) -> int:
        """How many windows there are."""

    def raw(self, index: int) -> Raw:
        """Window ``index`` in physical units, with its times."""
        whole = self._read(index, None)
        return whole._replace(fields=torch.where(self.pipeline.valid, whole.fields, torch.nan))

    @abstractmethod
    def start(self, index: int) -> int:
        """Number of its first frame in the record, or of the sequence."""

    @property
    @abstractmethod
    def hash(self) -> str:
        """Equal for two lists of the same windows of the same data set; 16 hexadecimal digits."""

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index)

    def sample(self, index: int, box: Box | None = None) -> Sample:
        """Window ``index``, or the part of it that lies in a box.

        Raises:
            IndexError: if there is no such window.
        """
        if index < 0 or (index >= len(self) and not self.endless):
            raise IndexError(f"window {index} of {len(self)}")
        fields, times, forcing = self._read(index, box)
        frames, valid = self.pipeline.observe(fields, times, box)
        sample = {
            "frames": frames,
            "valid": valid,
            "physical": torch.where(valid, fields, 0.0),
            "start": torch.tensor(self.start(index)),
        }
        if self.pipeline.known_channels:
            sample["known"] = self.pipeline.known(times, self.frames, box, forcing)
        base = self._base(index, fields, times, box)
        if base is not None:
            sample["base"] = base
        return sample

    def _base(self, index: int, fields: Tensor, times: Times | None, box: Box | None) -> Tensor | None:
        """What the departure is counted from; of a part of the window, from what may move into it, too."""
        departure, steps = self.pipeline.departure, self.pipeline.input_steps
        if box is None or departure is None or not departure.looks_around:
            return self.pipeline.base_track(fields, times, steps, box)
        wide = box.around(self.grid)
        base = self.pipeline.base_track(self._read(index, wide).fields, times, steps, wide)
        return None if base is None else crop(base, box.within(wide))

    @abstractmethod
    def _read(self, index: int, box: Box | None) -> Raw:
        """Fields in physical units as the source has them, and their times."""


class FieldWindows(Windows):
    """Windows of a record: they start ``stride`` steps apart and cross neither a border of the part nor a gap in time.

    Raises:
        DataError: if the part is too short for one window.
    """

    source: FieldSource

    def __init__(
        self,
        source: FieldSource,
        part: Part,
        span: Span,
        pipeline: Pipeline,
        stride: int,
        forcing: FieldSource | None = None,
    ) -> None:
        super().__init__(part, pipeline)
        self.source = source
        self.forcing = forcing
        self.span = span
        self._starts = _starts(span, self.frames, stride, source.times)
        if not self._starts:
            raise DataError(self._too_short())

    def __len__(self) -> int:
        return len(self._starts)

    def start(self, index: int) -> int:
        """See :meth:`Windows.start`."""
        return self._starts[index]

    @property
    def hash(self) -> str:
        """See :meth:`Windows.hash`."""
        source = self.source
        times = None if source.times is None else [str(source.times[start]) for start in self._starts]
        identity: dict[str, object] = {"identity": source.identity} if source.identity else {}
        if self.pipeline.known_fields is not None:
            identity["known"] = list(self.pipeline.known_fields.names)
        return _digest(
            **identity,
            variables=[variable.name for variable in source.variables],
            grid=list(source.grid.shape),
            step=source.step_name,
            input_steps=self.pipeline.input_steps,
            horizon=self.pipeline.horizon,
            starts=times or list(self._starts),
        )

    def _read(self, index: int, box: Box | None) -> Raw:
        start = self._starts[index]
        stop = start + self.frames
        times = None if self.source.times is None else self.source.times[start:stop]
        forcing = None if self.forcing is None else _tensor(self.forcing.read(start, stop), box)
        return Raw(_tensor(self.source.read(start, stop), box), times, forcing)

    def _too_short(self) -> str:
        span, times = self.span, self.source.times
        when = "" if times is None else f" ({as_text(times[span.start])} to {as_text(times[span.stop - 1])})"
        gap = "" if times is None or not breaks(times[span.start : span.stop]).size else " without a gap in time"
        return (
            f"{self.source.name}: the {self.part} part has {span.steps} time steps{when}, but one window needs "
            f"{self.frames}{gap} ({self.pipeline.input_steps} input + {self.pipeline.horizon} horizon): "
            "give it more of the record, or take fewer steps"
        )


class SequenceWindows(Windows):
    """One window for each sequence of a part."""

    source: SequenceSource
    EPOCH = 10_000
    """Sequences that count as an epoch where they never end: the size of the usual training set of Moving MNIST."""

    def __init__(
        self, source: SequenceSource, part: Part, pipeline: Pipeline, seed: int, forcing: SequenceSource | None = None
    ) -> None:
        super().__init__(part, pipeline)
        self.source = source
        self.forcing = forcing
        self.seed = seed
        count = source.count(part)
        self.endless = count is None
        self._count = self.EPOCH if count is None else count

    def __len__(self) -> int:
        return self._count

    def start(self, index: int) -> int:
        """See :meth:`Windows.start`."""
        return index

    @property
    def hash(self) -> str:
        """See :meth:`Windows.hash`."""
        identity: dict[str, object] = {"identity": self.source.identity} if self.source.identity else {}
        if self.pipeline.known_fields is not None:
            identity["known"] = list(self.pipeline.known_fields.names)
        return _digest(
            **identity,
            name=self.source.name,
            variables=[variable.name for variable in self.source.variables],
            grid=list(self.source.grid.shape),
            part=self.part,
            seed=self.seed if self.part == "train" else None,
            count=None if self.endless else self._count,
            input_steps=self.pipeline.input_steps,
            horizon=self.pipeline.horizon,
        )

    def _read(self, index: int, box: Box | None) -> Raw:
        def read(source: SequenceSource) -> Tensor:
            return _tensor(source.sequence(self.part, index, self.frames, self.seed), box)

        return Raw(read(self.source), None, None if self.forcing is None else read(self.forcing))


def _starts(span: Span, frames: int, stride: int, times: Times | None) -> tuple[int, ...]:
    """Every ``stride`` steps from the start of the part, and again from what follows a gap in time."""
    jumps = [] if times is None else [int(at) + 1 for at in breaks(times) if span.start < at + 1 < span.stop]
    borders = [span.start, *jumps, span.stop]
    pieces = (range(first, last - frames + 1, stride) for first, last in itertools.pairwise(borders))
    return tuple(itertools.chain.from_iterable(pieces))


def _tensor(fields: Fields, box: Box | None) -> Tensor:
    if box is not None:
        rows, columns = box.slices
        fields = fields[..., rows, columns]
    return torch.from_numpy(np.array(fields))


def _digest(**what: object) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
