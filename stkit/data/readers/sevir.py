"""SEVIR: Veillette, Samsi and Mattioli (2020), SEVIR: a storm event imagery dataset for deep learning applications in
radar and satellite meteorology, NeurIPS 2020.

``CATALOG.csv`` has a line for each storm and kind of image: ``file_name`` under ``data``, ``file_index`` in it,
``img_type``, ``time_utc``. Each file has an array of the image's name, N H W T.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stkit.data.clips import Clip, ClipSequences
from stkit.data.readers.config import SevirConfig
from stkit.data.readers.layout import had_from, open_hdf5, root_of
from stkit.data.source import PARTS, Fields, Part, Variable
from stkit.errors import DataError

_COLUMNS = ("id", "file_name", "file_index", "img_type", "time_utc")
_KINDS = {
    "vil": Variable("vil", "1", "vertically integrated liquid, as bytes from 0 to 254 of the scale of the data set"),
    "ir069": Variable("ir069", "degC", "brightness temperature at 6.9 micrometres"),
    "ir107": Variable("ir107", "degC", "brightness temperature at 10.7 micrometres"),
    "vis": Variable("vis", "1", "reflectance factor at 0.6 micrometres"),
}
_SCALE = {"vil": 1.0, "ir069": 0.01, "ir107": 0.01, "vis": 0.0001}
_MISSING = {"vil": 255, "ir069": -32768, "ir107": -32768, "vis": -32768}


class Sevir:
    """The data set ``sevir``: one kind of image, storms split by their day."""

    @classmethod
    def from_config(cls, config: SevirConfig) -> ClipSequences:
        """Read the catalogue.

        Raises:
            DataError: if it or a file is missing or has not this layout, or a part has no storm.
        """
        if config.image not in _KINDS:
            raise DataError(f"sevir: {config.image!r} are flashes, not images; known: {', '.join(_KINDS)}")
        root = root_of(config.path, config)
        found: dict[Part, list[Clip]] = {part: [] for part in PARTS}
        for row in _catalogue(root / "CATALOG.csv", config):
            if row["img_type"] != config.image:
                continue
            day = row["time_utc"][:10]
            part: Part = "train" if day < config.validation_from else "validation" if day < config.test_from else "test"
            found[part].append(Storm(root / "data" / row["file_name"], config.image, int(row["file_index"]), row["id"]))
        for part in PARTS:
            if not found[part]:
                raise DataError(
                    f"sevir: no storm of {config.image!r} in the {part} part; it ends and begins by validation_from "
                    f"({config.validation_from}) and test_from ({config.test_from})"
                )
        return ClipSequences(
            "sevir", [_KINDS[config.image]], found, citation="Veillette, Samsi and Mattioli (2020), NeurIPS 2020"
        )


class Storm(Clip):
    """One storm of a file."""

    def __init__(self, path: Path, image: str, index: int, name: str) -> None:
        self.path, self.image, self.index, self.name = path, image, index, name
        if not path.is_file():
            raise DataError(f"{path}: CATALOG.csv names this file, and it is not there")
        with open_hdf5(path) as file:
            if image not in file or file[image].ndim != 4:
                raise DataError(f"{path}: expected an array {image!r} of N H W T, got {', '.join(file) or 'none'}")
            count, height, width, self.frames = file[image].shape
        if not 0 <= index < count:
            raise DataError(f"{path}: CATALOG.csv names storm {index} of it, and it has {count}")
        self.shape = 1, height, width

    def read(self, start: int, stop: int) -> Fields:
        """See :meth:`stkit.data.clips.Clip.read`."""
        with open_hdf5(self.path) as file:
            try:
                raw = file[self.image][self.index, :, :, start:stop]
            except OSError as error:
                raise DataError(f"{self.path}: cannot read storm {self.index}: the file is cut short") from error
        values = np.where(raw == _MISSING[self.image], np.nan, raw * np.float32(_SCALE[self.image]))
        return np.ascontiguousarray(values.transpose(2, 0, 1)[:, None], dtype=np.float32)


def _catalogue(path: Path, config: SevirConfig) -> list[Mapping[str, str]]:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file. {had_from(config)}")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        lacking = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
        if lacking:
            raise DataError(f"{path}: has no column {', '.join(lacking)}")
        return list(reader)
