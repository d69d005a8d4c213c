"""What a stream is asked for, and what it tells."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class StreamOptions:
    """How a stream is followed."""

    horizon: int | None = None
    """Lead times of each forecast; None: as trained."""
    once: bool = False
    """Stop when what is there has been taken in."""
    poll_seconds: float = 10.0
    """Between two looks at the folder."""
    patience_seconds: float = 60.0
    """How long a file that cannot be read is waited for."""
    max_gap: int = 1
    """Missing frames in a row that forecasts stand in for; after more the stream is warmed again."""
    fresh: bool = False
    """Start every forecast from the last frames alone, as many as in training, instead of the state that was kept."""
    pattern: str = "*.nc"
    """Of the files' names."""
    lags: int = 1
    """States that each run forecasts from: the latest one and those of the frames before it."""
    statistics: bool = False
    """Write the mean and the spread of the ensemble, too."""
    by_valid_time: bool = False
    """As for a single forecast."""


@dataclass(frozen=True)
class Streamed:
    """One forecast that was written."""

    out: str
    start: str
    """Time of the last known frame, or its number where there are no times."""
    horizon: int
    stood_in: int
    """Missing frames before the start that forecasts stood in for, since the last one but the start's."""
    members: int
    """Forecasts in the file."""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


@dataclass
class Followed:
    """What became of a stream until it was stopped."""

    forecasts: int = 0
    frames: int = 0
    """Taken in."""
    refused: int = 0
    """Frames that came out of order, twice, between two steps, without a value or on another grid."""
    stood_in: int = 0
    """Frames that did not come, and that forecasts stood in for."""
    restarts: int = 0
    """How often the state was given up after a gap."""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)
