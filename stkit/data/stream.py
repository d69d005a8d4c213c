"""Training batches as a function of the seed and the step.

Nothing is remembered from one step to the next, so a resumed run, a run with other worker processes, and a run that
several processes share all see the same windows in the same order.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from multiprocessing.context import BaseContext

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from stkit.data.box import Box
from stkit.data.windows import Sample, Windows
from stkit.errors import UsageError
from stkit.recipe.sections.data import CropConfig

_ORDER, _CROP, _TURN = 1, 2, 3
"""Which random numbers: so that the order of the windows and their crops do not depend on each other."""


class TrainStream:
    """Batches of training windows without end; one process takes its contiguous share of each.

    In an epoch every window comes once, in an order that the seed and the epoch give. Where new windows never end, none
    comes twice. Crops are placed by the seed and the window's number in the stream.

    Args:
        windows: the training windows.
        seed: of the order and the crops.
        global_batch: windows of one step over all processes.
        rank: number of this process.
        world: number of processes.
        crop: size of the random crops; None: whole fields.

    Raises:
        UsageError: if the batch cannot be shared equally, or the crop is larger than the grid.
    """

    def __init__(
        self,
        windows: Windows,
        seed: int,
        global_batch: int,
        rank: int = 0,
        world: int = 1,
        crop: CropConfig | None = None,
    ) -> None:
        if global_batch % world:
            raise UsageError(
                f"train.batch_size: {global_batch} windows cannot be shared equally by {world} processes; "
                f"take {max(1, global_batch // world) * world} or {(global_batch // world + 1) * world}"
            )
        if not 0 <= rank < world:
            raise UsageError(f"process {rank} of {world}")
        check_crop(crop, windows.grid)
        self.windows = windows
        self.seed = seed
        self.global_batch = global_batch
        self.crop = crop
        share = global_batch // world
        self._mine = range(rank * share, (rank + 1) * share)
        self._order: tuple[int, NDArray[np.int64]] | None = None

    @property
    def steps_per_epoch(self) -> float:
        """Steps in which every window comes once."""
        return len(self.windows) / self.global_batch

    def indices(self, step: int) -> list[int]:
        """Which windows this process takes at a step."""
        return [self._index(number) for number in self._numbers(step)]

    def boxes(self, step: int) -> list[Box | None]:
        """Where they are cropped."""
        return [self._box(number) for number in self._numbers(step)]

    def batch(self, step: int) -> Sample:
        """This process's share of the batch of a step: the samples stacked along a new first axis."""
        chosen = zip(self._numbers(step), self.indices(step), self.boxes(step), strict=True)
        samples = [self._turned(number, self.windows.sample(index, box)) for number, index, box in chosen]
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    def batches(self, start: int, stop: int, workers: int = 0) -> Iterator[Sample]:
        """The batches of the steps ``start`` to ``stop`` (exclusive), in order.

        Args:
            start: first step.
            stop: step after the last one.
            workers: processes that prepare batches ahead; 0: this process does it when asked.
        """
        if workers == 0:
            return (self.batch(step) for step in range(start, stop))
        loader: DataLoader[Sample] = DataLoader(
            _Steps(self, start, stop),
            batch_size=None,
            num_workers=workers,
            multiprocessing_context=_fresh_processes(),
            # its own generator: a loader must not draw from the one that sampling and dropout use
            generator=torch.Generator().manual_seed(self.seed),
        )
        return iter(loader)

    def _numbers(self, step: int) -> range:
        first = step * self.global_batch
        return range(first + self._mine.start, first + self._mine.stop)

    def _index(self, number: int) -> int:
        if self.windows.endless:
            return number
        epoch, place = divmod(number, len(self.windows))
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng((self.seed, _ORDER, epoch))
            self._order = (epoch, rng.permutation(len(self.windows)))
        return int(self._order[1][place])

    def _turned(self, number: int, sample: Sample) -> Sample:
        """Each with rows and columns as they are, or turned and mirrored, all of its tensors alike."""
        if self.crop is None or not self.crop.turns:
            return sample
        quarters, mirrored = np.random.default_rng((self.seed, _TURN, number)).integers((4, 2))
        return {
            name: values
            if values.ndim < 2
            else torch.rot90(values.flip(-1) if mirrored else values, int(quarters), (-2, -1)).contiguous()
            for name, values in sample.items()
        }

    def _box(self, number: int) -> Box | None:
        if self.crop is None:
            return None
        height, width = self.windows.grid
        rng = np.random.default_rng((self.seed, _CROP, number))
        top = rng.integers(height - self.crop.height + 1)
        left = rng.integers(width - self.crop.width + 1)
        return Box(int(top), int(left), self.crop.height, self.crop.width)


def check_crop(crop: CropConfig | None, grid: tuple[int, int]) -> None:
    """Refuse a crop that is larger than the grid.

    Raises:
        UsageError: with both sizes.
    """
    if crop is not None and (crop.height > grid[0] or crop.width > grid[1]):
        raise UsageError(
            f"data.crop: {crop.height} x {crop.width} cells do not fit in the field of {grid[0]} x {grid[1]}"
        )


def _fresh_processes() -> BaseContext:
    """Workers that do not begin as a copy of this process: neither threads nor open HDF5 files survive a fork."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # torch is imported once, not by every worker
    return context


class _Steps(Dataset[Sample]):
    """The steps as a map-style data set, so that a loader's workers can make them in order."""

    def __init__(self, stream: TrainStream, start: int, stop: int) -> None:
        self.stream = stream
        self.start = start
        self.stop = stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> Sample:
        return self.stream.batch(self.start + index)
