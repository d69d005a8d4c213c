"""Configuration of the data sets ``arrays``, ``images`` and ``video``. Imports neither torch nor a reader."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stkit.plugin.config import ComponentConfig

Size = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


class ArraysConfig(ComponentConfig):
    """NumPy arrays: a ``.npy`` file, which is read window by window, or one of a ``.npz`` file."""

    path: str
    """The file. ``~`` is the home directory."""
    key: str | None = None
    """Which array of a ``.npz`` file; null: its only one."""
    axes: str | None = Field(None, pattern="^[NTCHW]+$")
    """The array's axes, one letter each: N sequences, T time, C variables, H rows, W columns; null: ``THW``. With N the
    sequences are split; without it the array is one record in time."""
    variables: tuple[str, ...] = ()
    """A name for each channel; empty: ``field``, or ``field0`` and so on."""
    units: str = "1"
    """Of the values, after ``scale``."""
    scale: float = Field(1.0, gt=0)
    """Values are multiplied by it: 0.00392156862745098 makes bytes brightness in 0 to 1."""
    missing_values: tuple[float, ...] = ()
    """Values in the file that mean "missing", besides NaN."""
    times: str | None = None
    """Which array of the ``.npz`` file has the times, as datetime64; null: time is counted in steps."""


class PicturesConfig(ComponentConfig):
    """What pictures become: brightness from 0 to 1."""

    colour: Literal["grey", "rgb"] = "grey"
    """One channel, or red, green and blue."""
    size: Size | None = None
    """Height and width to which pictures are scaled; null: as they are."""


class ImagesConfig(PicturesConfig):
    """Folders of pictures. A folder of them is one record in time; folders in it are sequences, which are split."""

    path: str
    """The folder."""
    pattern: str = "*.png"
    """Which files in each folder are frames; they follow each other in the order of their names, numbers as numbers."""
    time_format: str | None = None
    """How a file's name tells its time: ``RAD%y%m%d%H%M%S.png``; null: time is counted in steps."""
    allow_gaps: bool = False
    """Leave out the windows that would cross a gap in time, instead of refusing the folder."""

    @model_validator(mode="after")
    def _time_in_name(self) -> ImagesConfig:
        if self.time_format is not None and "%" not in self.time_format:
            raise ValueError("time_format says where a name has the year, month and so on: RAD%Y%m%d%H%M.png")
        return self


class VideoConfig(PicturesConfig):
    """Video files. One file is one record in time; several are sequences, which are split."""

    path: str | tuple[str, ...]
    """A file, a pattern such as ``clips/*.mp4``, or a list of these."""
    every: int = Field(1, ge=1)
    """Take every so-manieth frame."""
