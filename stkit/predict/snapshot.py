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

from stkit.data.calendar import Times
from stkit.data.source import Fields
from stkit.errors import CheckpointError
from stkit.run.files import write_bytes
from stkit.run.load import TrainedStream
from stkit.stacks.forecaster import StreamState
from stkit.stacks.rollout import RolloutState
from stkit.stacks.stack import StackState
from stkit.train.tree import flatten, storable, unflatten

_FORMAT = 3
_HEADER = "stkit_stream"


@dataclass
class Snapshot:
    """Everything that a stream needs to go on.

    Attributes:
        run: what tells the runs and their weights from others.
        states: of each run, where its model stands, and stood before; empty before there are enough frames.
        forcing: of each run, what was read of its forcing: times, and ``T F H W``; None where it takes none.
        pending: ``S H W`` frames that are not enough yet.
        times: of these; None where frames have no times.
        last: time of the last frame that was taken in; None before the first, and where frames have no times.
        seen: ``S H W``, the cells that count, where the region is not that of the training; None before it is known.
        count: frames taken in since the stream began.
        taken: names of the files that were taken in, or refused.
    """

    run: Mapping[str, Any]
    states: list[list[TrainedStream]] = field(default_factory=list)
    forcing: list[tuple[Times, Fields] | None] = field(default_factory=list)
    pending: list[Tensor] = field(default_factory=list)
    times: list[np.datetime64] = field(default_factory=list)
    last: np.datetime64 | None = None
    seen: NDArray[np.bool_] | None = None
    count: int = 0
    taken: set[str] = field(default_factory=set)

    def save(self, path: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            DiskFull: so is the disk.
        """
        tensors: dict[str, Tensor] = {}
        states = [[state._replace(times=None) for state in states] for states in self.states]
        forcing = [None if kept is None else torch.from_numpy(kept[1]) for kept in self.forcing]
        header = {
            "format": _FORMAT,
            "run": dict(self.run),
            "states": flatten(states, tensors, "states"),
            "state_times": [[_as_numbers(state.times) for state in states] for states in self.states],
            "forcing": flatten(forcing, tensors, "forcing"),
            "forcing_times": [_as_numbers(None if kept is None else kept[0]) for kept in self.forcing],
            "pending": flatten(self.pending, tensors, "pending"),
            "times": _as_numbers(np.array(self.times, dtype="datetime64[ns]")),
            "last": None if self.last is None else _as_numbers(np.array(self.last)),
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
                raise CheckpointError(
                    f"{path}: format {header['format']!r}, this version reads {_FORMAT}; begin again in another folder"
                )
            seen = unflatten(header["seen"], tensors)
            return cls(
                run=header["run"],
                states=[
                    [_stream(state, _as_times(when)) for state, when in zip(states, times, strict=True)]
                    for states, times in zip(unflatten(header["states"], tensors), header["state_times"], strict=True)
                ],
                forcing=[
                    None if fields is None else (_as_times(when), fields.cpu().numpy())
                    for fields, when in zip(unflatten(header["forcing"], tensors), header["forcing_times"], strict=True)
                ],
                pending=unflatten(header["pending"], tensors),
                times=list(_as_times(header["times"])),
                last=None if header["last"] is None else _as_times(header["last"])[()],
                seen=None if seen is None else seen.cpu().numpy(),
                count=int(header["count"]),
                taken=set(header["taken"]),
            )
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path}: the state of the stream is damaged ({error}); begin again in another folder"
            ) from error


def _stream(value: Any, times: Times | None) -> TrainedStream:
    """Plain tuples as what they were."""
    stream = TrainedStream(*value)
    model = StreamState(*stream.model)
    stacks, hidden = model.rollout
    rollout = RolloutState(tuple(StackState(*stack) for stack in stacks), hidden)
    return stream._replace(model=model._replace(rollout=rollout), times=times)


def _as_numbers(times: Times | None) -> Any:
    return None if times is None else times.astype("datetime64[ns]").astype(np.int64).tolist()


def _as_times(numbers: Any) -> Any:
    return None if numbers is None else np.array(numbers, dtype=np.int64).astype("datetime64[ns]")
