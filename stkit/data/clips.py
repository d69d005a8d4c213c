"""Frames that come as files, arrays or videos: one record in time, or sequences that are split.

Axes: ``T`` time, ``C`` variables, ``H`` rows, ``W`` columns. A missing value is NaN.
"""

from __future__ import annotations

import hashlib
import json
import logging
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from stkit.data.calendar import Times, check_times
from stkit.data.source import PARTS, Fields, FieldSource, Grid, Part, SequenceSource, Variable
from stkit.data.split import split as split_record
from stkit.errors import DataError
from stkit.recipe.sections.data import SplitConfig

LOG = logging.getLogger("stkit.data")

_KEPT_BYTES = 2**30


class Clip(ABC):
    """Frames that follow each other.

    Attributes:
        name: what messages call it.
        frames: how many.
        shape: variables, height, width.
    """

    name: str
    frames: int
    shape: tuple[int, int, int]

    @abstractmethod
    def read(self, start: int, stop: int) -> Fields:
        """The frames ``start`` to ``stop`` (exclusive): ``T C H W``."""


class FileFrames(Clip):
    """One file a frame.

    Args:
        name: what messages call it.
        paths: the files, in order.
        decode: a file as ``C H W``; it refuses a file with a :class:`DataError`.
    """

    def __init__(self, name: str, paths: Sequence[Path], decode: Callable[[Path], Fields]) -> None:
        if not paths:
            raise DataError(f"{name}: no frames")
        self.name = name
        self.paths = tuple(paths)
        self.decode = decode
        self.frames = len(self.paths)
        channels, height, width = decode(self.paths[0]).shape
        self.shape = channels, height, width

    def read(self, start: int, stop: int) -> Fields:
        """See :meth:`Clip.read`."""
        out = np.empty((stop - start, *self.shape), dtype=np.float32)
        for frame, path in zip(out, self.paths[start:stop], strict=True):
            decoded = self.decode(path)
            if decoded.shape != self.shape:
                raise DataError(f"{path}: {_size(decoded.shape)}, but {self.paths[0]} has {_size(self.shape)}")
            frame[:] = decoded
        return out


class ClipRecord(FieldSource):
    """A clip as a record in time; a small one is kept in memory once it was read."""

    def __init__(
        self,
        clip: Clip,
        variables: Sequence[Variable],
        *,
        name: str = "",
        times: Times | None = None,
        allow_gaps: bool = False,
        grid: Grid | None = None,
        licence: str = "",
        citation: str = "",
    ) -> None:
        self.clip = clip
        self.name = name or clip.name
        self.variables = tuple(variables)
        self.grid = Grid(*clip.shape[1:]) if grid is None else grid
        self.steps = clip.frames
        self.times = times
        self.licence, self.citation = licence, citation
        self._kept: Fields | None = None
        if times is not None:
            check_times(times, self.name, allow_gaps)

    def read(self, start: int, stop: int) -> Fields:
        """See :meth:`stkit.data.source.FieldSource.read`."""
        if self._kept is None:
            if 4 * self.steps * int(np.prod(self.clip.shape)) > _KEPT_BYTES:
                return self.clip.read(start, stop)
            self._kept = self.clip.read(0, self.steps)
        return self._kept[start:stop]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}


class ClipSequences(SequenceSource):
    """Clips as sequences, as many from each as fit in it.

    Args:
        name: what messages and reports call it.
        variables: one for each channel.
        clips: for each part its own; a plain sequence is split by the recipe, in its order.
        licence: terms of the data.
        citation: how to cite it.

    Raises:
        DataError: if there is no clip, or clips differ in size.
    """

    def __init__(
        self,
        name: str,
        variables: Sequence[Variable],
        clips: Mapping[Part, Sequence[Clip]] | Sequence[Clip],
        *,
        licence: str = "",
        citation: str = "",
    ) -> None:
        self.split_already = isinstance(clips, Mapping)
        parts = dict(clips) if isinstance(clips, Mapping) else {"train": clips}
        self._clips: dict[Part, tuple[Clip, ...]] = {part: tuple(parts.get(part, ())) for part in PARTS}
        every = [clip for part in PARTS for clip in self._clips[part]]
        if not every:
            raise DataError(f"{name}: there are no sequences")
        for clip in every:
            if clip.shape != every[0].shape:
                raise DataError(f"{clip.name}: {_size(clip.shape)}, but {every[0].name} has {_size(every[0].shape)}")
        super().__init__(name, tuple(variables), Grid(*every[0].shape[1:]), licence=licence, citation=citation)
        self._frames: int | None = None
        self._stride = 1
        self._ends: dict[Part, list[int]] = {part: list(accumulate(1 for _ in self._clips[part])) for part in PARTS}

    def arranged(self, frames: int, stride: int, split: SplitConfig) -> ClipSequences:
        """Sequences of ``frames`` frames, ``stride`` apart within each clip. See :meth:`SequenceSource.arranged`."""
        clips = dict(self._clips)
        if not self.split_already:
            clips = _by_share(self._clips["train"], split, self.name)
        elif split != SplitConfig():
            raise DataError(f"data.split: {self.name} has its own training, validation and test parts: leave it out")
        arranged = ClipSequences(self.name, self.variables, clips, licence=self.licence, citation=self.citation)
        arranged._frames, arranged._stride = frames, stride
        for part in PARTS:
            counts = [max(0, (clip.frames - frames) // stride + 1) for clip in clips[part]]
            arranged._ends[part] = list(accumulate(counts))
            short = counts.count(0)
            if short == len(counts):
                longest = max((clip.frames for clip in clips[part]), default=0)
                raise DataError(
                    f"{self.name}: the {part} part has {len(counts)} sequences, the longest of {longest} frames, but a "
                    f"window needs {frames}"
                )
            if short:
                LOG.warning(
                    "%s: %d of %d sequences of the %s part are shorter than a window of %d frames and left out",
                    self.name, short, len(counts), part, frames,
                )  # fmt: skip
        return arranged

    def sequence(self, part: Part, number: int, length: int, seed: int) -> Fields:
        """See :meth:`stkit.data.source.SequenceSource.sequence`."""
        ends = self._ends[part]
        place = bisect_right(ends, number)
        clip = self._clips[part][place]
        start = (number - (ends[place - 1] if place else 0)) * self._stride
        if start + length > clip.frames:
            raise DataError(f"{clip.name}: has {clip.frames} frames, {length} from frame {start} were asked for")
        return clip.read(start, start + length)

    def count(self, part: Part) -> int | None:
        """See :meth:`stkit.data.source.SequenceSource.count`."""
        return self._ends[part][-1] if self._ends[part] else 0

    @property
    def identity(self) -> str:
        """A digest of the clips' names and lengths, part by part."""
        told = {part: [(clip.name, clip.frames) for clip in self._clips[part]] for part in PARTS}
        return hashlib.sha256(json.dumps([told, self._stride]).encode()).hexdigest()[:16]


def _by_share(clips: Sequence[Clip], config: SplitConfig, name: str) -> dict[Part, tuple[Clip, ...]]:
    """Whole clips, so that no part sees a frame of another; there is nothing to leave out between them."""
    if any(isinstance(share, str) for share in (config.train, config.validation, config.test)):
        raise DataError(f"data.split: {name} has sequences without a common time: give shares such as 0.7")
    spans = split_record(config.model_copy(update={"gap_steps": 0}), len(clips), None)
    return {part: tuple(clips[span.start : span.stop]) for part, span in spans.items()}


def _size(shape: tuple[int, ...]) -> str:
    channels, height, width = shape
    return f"{channels} channel{'s' if channels > 1 else ''} of {height} x {width} cells"
