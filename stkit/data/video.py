"""Video files as frames: the data set ``video``, decoded by PyAV."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stkit.data.clips import Clip, ClipRecord, ClipSequences
from stkit.data.frames_config import PicturesConfig, VideoConfig
from stkit.data.netcdf_file import find_files, one_line
from stkit.data.pictures import as_field, channels_of
from stkit.data.source import Fields
from stkit.errors import DataError


class Video:
    """The data set ``video``."""

    @classmethod
    def from_config(cls, config: VideoConfig) -> ClipRecord | ClipSequences:
        """One record of one file, sequences of several.

        Raises:
            DataError: if PyAV is not installed, or a file is missing or cannot be decoded.
        """
        clips = [VideoClip(path, config, config.every) for path in find_files(config.path)]
        variables = channels_of(config)
        if len(clips) == 1:
            return ClipRecord(clips[0], variables)
        return ClipSequences(f"{len(clips)} videos", variables, clips)


class VideoClip(Clip):
    """One file. Frames are decoded when they are asked for, from the key frame before them.

    Args:
        path: the file.
        config: what its pictures become.
        every: only every so-manieth frame.
        first: number of the first frame, from 0.
        last: number of the frame after the last one; None: to the end.

    Raises:
        DataError: if PyAV is not installed, or the file cannot be decoded.
    """

    def __init__(
        self, path: Path, config: PicturesConfig, every: int = 1, first: int = 0, last: int | None = None
    ) -> None:
        if importlib.util.find_spec("av") is None:
            raise DataError(f"{path}: reading videos needs PyAV: pip install 'stkit-torch[video]'")
        self.path = path
        self.name = path.name
        self.config = config
        self._stamps = self._time_stamps()[first:last:every]
        self.frames = len(self._stamps)
        if not self.frames:
            raise DataError(f"{path}: the video has no frames")
        channels, height, width = self.read(0, 1).shape[1:]
        self.shape = channels, height, width

    def read(self, start: int, stop: int) -> Fields:
        """See :meth:`stkit.data.clips.Clip.read`."""
        wanted = {stamp: place for place, stamp in enumerate(self._stamps[start:stop])}
        found: dict[int, Fields] = {}
        with _opened(self.path) as container:
            stream = container.streams.video[0]
            container.seek(self._stamps[start], stream=stream, backward=True)
            for frame in _decoded(container, self.path):
                place = wanted.get(frame.pts)
                if place is not None:
                    found[place] = as_field(frame.to_image(), self.config)
                if len(found) == len(wanted):
                    break
        if len(found) < len(wanted):
            raise DataError(
                f"{self.path}: {len(found)} of the frames {start} to {stop - 1} can be decoded: the file is cut short "
                "or damaged"
            )
        return np.stack([found[place] for place in range(stop - start)])

    def _time_stamps(self) -> list[int]:
        """Of all frames, in the order in which they are shown. Where packets do not have them, frames do."""
        with _opened(self.path) as container:
            stamps = [packet.pts for packet in _packets(container, self.path) if packet.size]
        if any(stamp is None for stamp in stamps):
            with _opened(self.path) as container:
                stamps = [frame.pts for frame in _decoded(container, self.path)]
        if any(stamp is None for stamp in stamps):
            raise DataError(f"{self.path}: its frames have no time stamps, so none can be found again: convert it")
        return sorted(set(stamps))


def _opened(path: Path) -> Any:
    import av

    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a video ({one_line(error)})") from error
    if not container.streams.video:
        container.close()
        raise DataError(f"{path}: there is no video in the file")
    return container


def _packets(container: Any, path: Path) -> Iterator[Any]:
    yield from _told(container.demux(video=0), path)


def _decoded(container: Any, path: Path) -> Iterator[Any]:
    yield from _told(container.decode(video=0), path)


def _told(items: Iterator[Any], path: Path) -> Iterator[Any]:
    import av

    try:
        yield from items
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be decoded; it may be cut short ({one_line(error)})") from error
