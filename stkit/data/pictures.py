"""Pictures as frames: the data set ``images``, and what a picture becomes for ``video``."""

from __future__ import annotations

import os
import re
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stkit.data.calendar import Times
from stkit.data.clips import ClipRecord, ClipSequences, FileFrames
from stkit.data.frames_config import ImagesConfig, PicturesConfig
from stkit.data.source import Fields, Variable
from stkit.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

GREY = (Variable("brightness", "1", "brightness of the pixel"),)
RGB = tuple(Variable(name, "1", f"{name} of the pixel") for name in ("red", "green", "blue"))


class Images:
    """The data set ``images``."""

    @classmethod
    def from_config(cls, config: ImagesConfig) -> ClipRecord | ClipSequences:
        """One record, or sequences where the folder has folders.

        Raises:
            DataError: if there is no such folder, no picture in it, or a name tells no time.
        """
        root = folder(config.path)
        decode = partial(decode_picture, config=config)
        variables = channels_of(config)
        own = frames_in(root, config.pattern)
        if own:
            times = None if config.time_format is None else times_of(own, config.time_format)
            clip = FileFrames(root.name, own, decode)
            return ClipRecord(clip, variables, times=times, allow_gaps=config.allow_gaps)
        inside = [(entry, frames_in(entry, config.pattern)) for entry in _sorted(root) if entry.is_dir()]
        clips = [FileFrames(entry.name, found, decode) for entry, found in inside if found]
        if not clips:
            raise DataError(f"{root}: no file matches {config.pattern!r} there, nor in the folders inside it")
        return ClipSequences(root.name, variables, clips)


def folder(path: str) -> Path:
    """A folder that exists.

    Raises:
        DataError: if it does not.
    """
    root = Path(os.path.expanduser(path))
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else f"no such folder (looked from {Path.cwd()})"
        raise DataError(f"{path}: {what}")
    return root


def frames_in(root: Path, pattern: str) -> list[Path]:
    """The files of a folder that match, in the order of their names, where numbers count as numbers."""
    return sorted((path for path in root.glob(pattern) if path.is_file()), key=by_number)


def by_number(path: Path) -> list[tuple[int, int, str]]:
    """Sorts ``frame10`` after ``frame9``."""
    parts = re.split(r"(\d+)", str(path))
    return [(1, int(part), part) if part.isdigit() else (0, 0, part) for part in parts]


def times_of(paths: list[Path], time_format: str) -> Times:
    """The times that names tell.

    Raises:
        DataError: if one does not.
    """
    found = []
    for path in paths:
        try:
            found.append(np.datetime64(datetime.strptime(path.name, time_format), "ns"))
        except ValueError:
            raise DataError(f"{path}: its name does not have the form {time_format!r}, so it tells no time") from None
    return np.array(found, dtype="datetime64[ns]")


def channels_of(config: PicturesConfig) -> tuple[Variable, ...]:
    """The variables of a picture."""
    return GREY if config.colour == "grey" else RGB


def decode_picture(path: Path, config: PicturesConfig) -> Fields:
    """A picture file as ``C H W`` in 0 to 1.

    Raises:
        DataError: if it is damaged or no picture.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.load()
            return as_field(picture, config)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a picture; it may be cut short ({error})") from error


def as_field(picture: Image.Image, config: PicturesConfig) -> Fields:
    """A picture as ``C H W`` in 0 to 1; one of 16 bits keeps them."""
    from PIL import Image

    if picture.mode.startswith("I") and config.colour == "grey":
        picture = Image.fromarray(np.asarray(picture, dtype=np.float32))
        full = 65535
    else:
        picture = picture.convert("L" if config.colour == "grey" else "RGB")
        full = 255
    if config.size is not None:
        height, width = config.size
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    values = np.asarray(picture, dtype=np.float32) / np.float32(full)
    return values[None] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))


def _sorted(root: Path) -> list[Path]:
    return sorted(root.iterdir(), key=by_number)
