"""Where a stream stands, in one file: tensors in safetensors, the rest as JSON in its header; nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stkit.errors import CheckpointError
from stkit.run.files import write_bytes
from stkit.run.load import TrainedStream
from stkit.stacks.forecaster import StreamState
from stkit.stacks.rollout import RolloutState
from stkit.stacks.stack import StackState
from stkit.train.tree import flatten, storable, unflatten

_FORMAT = 1
_HEADER = "stkit_stream"


@dataclass
class Snapshot:
    """Everything that a stream needs to go on.

    Attributes:
        run: what tells the run and its weights from others.
        stream: where the model stands; None before it has enough frames.
        pending: ``S H W`` frames that are not enough yet.
        times: of these; None where frames have no times.
        seen: ``S H W``, the cells that count, where the region is not that of the training; None before it is known.
        count: frames taken in since the stream began.
        taken: names of the files that were taken in, or refused.
    """

    run: Mapping[str, Any]
    stream: TrainedStream | None = None
    pending: list[Tensor] = field(default_factory=list)
    times: list[np.datetime64] = field(default_factory=list)
    seen: NDArray[np.bool_] | None = None
    count: int = 0
    taken: set[str] = field(default_factory=set)

    def save(self, path: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            DiskFull: so is the disk.
        """
        tensors: dict[str, Tensor] = {}
        stream = None if self.stream is None else self.stream._replace(times=None)
        header = {
            "format": _FORMAT,
            "run": dict(self.run),
            "stream": flatten(stream, tensors, "stream"),
            "stream_times": None if self.stream is None else _as_numbers(self.stream.times),
            "pending": flatten(self.pending, tensors, "pending"),
            "times": [int(time.astype("datetime64[ns]").astype(np.int64)) for time in self.times],
            "seen": flatten(None if self.seen is None else torch.from_numpy(self.seen), tensors, "seen"),
            "count": self.count,
            "taken": sorted(self.taken),
        }
        write_bytes(path, safetensors.torch.save(storable(tensors), {_HEADER: json.dumps(header)}))

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Snapshot:
        """Read it back.

        Raises:
            CheckpointError: the file is damaged or of another version.
        """
        try:
            with safe_open(path, "pt") as file:
                header = json.loads((file.metadata() or {})[_HEADER])
                tensors = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118
            if header["format"] != _FORMAT:
                raise CheckpointError(f"{path}: format {header['format']!r}, this version reads {_FORMAT}")
            seen = unflatten(header["seen"], tensors)
            return cls(
                run=header["run"],
                stream=_stream(unflatten(header["stream"], tensors), _as_times(header["stream_times"])),
                pending=unflatten(header["pending"], tensors),
                times=[np.datetime64(time, "ns") for time in header["times"]],
                seen=None if seen is None else seen.cpu().numpy(),
                count=int(header["count"]),
                taken=set(header["taken"]),
            )
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path}: the state of the stream is damaged ({error}); begin again in another folder"
            ) from error


def _stream(value: Any, times: NDArray[np.datetime64] | None) -> TrainedStream | None:
    """Plain tuples as what they were."""
    if value is None:
        return None
    stream = TrainedStream(*value)
    model = StreamState(*stream.model)
    stacks, hidden = model.rollout
    rollout = RolloutState(tuple(StackState(*stack) for stack in stacks), hidden)
    return stream._replace(model=model._replace(rollout=rollout), times=times)


def _as_numbers(times: NDArray[np.datetime64] | None) -> list[list[int]] | None:
    if times is None:
        return None
    numbers: list[list[int]] = times.astype("datetime64[ns]").astype(np.int64).tolist()
    return numbers


def _as_times(numbers: list[list[int]] | None) -> NDArray[np.datetime64] | None:
    return None if numbers is None else np.array(numbers, dtype=np.int64).astype("datetime64[ns]")
