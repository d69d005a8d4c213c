"""Radar images, one file a time: HKO-7, KNMI, FMI, ODIM and MRMS.

HKO-7: Shi et al. (2017), arXiv:1706.03458. ODIM: OPERA Data Information Model for HDF5. GRIB2: WMO Manual on Codes 306.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stkit.data.clips import ClipRecord, FileFrames
from stkit.data.projection import grid_mapping
from stkit.data.readers.config import (
    FmiRadarConfig,
    Hko7Config,
    KnmiRadarConfig,
    MrmsRadarConfig,
    OdimRadarConfig,
)
from stkit.data.readers.grib2 import decode_grib2, grid_of_grib2
from stkit.data.readers.layout import files_of, open_hdf5, root_of, text_of, time_in_name, times_in_names
from stkit.data.source import Axis, Fields, Grid, GridMapping, Variable
from stkit.errors import DataError

_RATE = Variable("rain_rate", "mm/h", "rain rate", "rainfall_rate")
_DBZ = Variable("reflectivity", "dBZ", "radar reflectivity", "equivalent_reflectivity_factor")
_HKO_A, _HKO_B = 58.53, 1.56
_ODIM_NUMBERS: tuple[str, ...] = ("gain", "offset", "nodata", "undetect")
_FORMULA = re.compile(r"=\s*([-+.\deE]+)\s*\*\s*PV\s*\+?\s*([-+.\deE]+)")


class Hko7:
    """The data set ``hko7``. A mask is 1 where a pixel counts: what lies out of range, and weak clutter, is missing."""

    @classmethod
    def from_config(cls, config: Hko7Config) -> ClipRecord:
        """Find the pictures; their names say the year with two digits: ``RAD090101000000.png``.

        Raises:
            DataError: if there are none, or one is damaged.
        """
        root = root_of(config.path, config)
        pictures = files_of(str(root / "radarPNG"), (".png",), config)
        times = np.array([_hko_time(path) for path in pictures], dtype="datetime64[ns]")
        clip = FileFrames("hko7", pictures, partial(_decode_hko, root=root, as_rate=config.quantity == "rain_rate"))
        variable = _RATE if config.quantity == "rain_rate" else _DBZ
        return ClipRecord(clip, [variable], name="hko7", times=times, allow_gaps=config.allow_gaps)


def _hko_time(path: Path) -> np.datetime64:
    match = re.fullmatch(r"RAD(\d{12})\.png", path.name)
    if match is None:
        raise DataError(f"{path}: expected a name such as RAD090101000600.png")
    return time_in_name(Path(f"20{match[1]}"))


def _decode_hko(path: Path, root: Path, as_rate: bool) -> Fields:
    pixels = _grey(path.read_bytes(), path)
    dbz = pixels / 255.0 * 70.0 - 10.0
    field = (10.0 ** (dbz / 10.0) / _HKO_A) ** (1.0 / _HKO_B) if as_rate else dbz
    mask = root / "radarPNG_mask" / path.relative_to(root / "radarPNG").with_suffix(".mask")
    if mask.is_file():
        try:
            counts = np.frombuffer(zlib.decompress(mask.read_bytes()), dtype=np.uint8)
        except zlib.error as error:
            raise DataError(f"{mask}: cannot be read as a mask; it may be cut short ({error})") from error
        if counts.size != pixels.size:
            raise DataError(f"{mask}: {counts.size} cells, but {path.name} has {pixels.size}")
        field = np.where(counts.reshape(pixels.shape) != 0, field, np.nan)
    return np.asarray(field[None], dtype=np.float32)


class KnmiRadar:
    """The data set ``knmi_radar``: sums of rain as a rate, or reflectivity, by the file's own calibration."""

    @classmethod
    def from_config(cls, config: KnmiRadarConfig) -> ClipRecord:
        """Find the files.

        Raises:
            DataError: if there are none, or one has not this layout.
        """
        files = files_of(config.path, (".h5", ".hdf", ".hdf5"), config)
        with open_hdf5(files[0]) as file:
            quantity = text_of(file["image1"].attrs.get("image_geo_parameter", b"")) if "image1" in file else ""
            geographic = _attributes(file, "geographic") | _attributes(file, "geographic/map_projection")
        variable = _DBZ if "DBZ" in quantity.upper() or "REFLECT" in quantity.upper() else _RATE
        factor = 1.0 if variable is _DBZ else 60.0 / config.accumulation_minutes
        clip = FileFrames("knmi_radar", files, partial(_decode_knmi, factor=factor))
        grid = _knmi_grid(geographic, clip.shape[1], clip.shape[2])
        return ClipRecord(clip, [variable], times=times_in_names(files), allow_gaps=config.allow_gaps, grid=grid)


def _attributes(file: Any, group: str) -> dict[str, Any]:
    return dict(file[group].attrs) if group in file else {}


def _knmi_grid(geographic: dict[str, Any], height: int, width: int) -> Grid | None:
    """The projection's coordinates [m]: pixels are in kilometres, counted from its origin, rows downwards."""
    try:
        sides: list[NDArray[np.float64]] = [
            1000.0
            * float(np.ravel(geographic[f"geo_pixel_size_{axis}"])[0])
            * (float(np.ravel(geographic[f"geo_{offset}_offset"])[0]) + np.arange(count, dtype=np.float64) + 0.5)
            for axis, offset, count in (("y", "row", height), ("x", "column", width))
        ]
        text = text_of(geographic["projection_proj4_params"])
    except (KeyError, ValueError):
        return None
    mapping = grid_mapping(text)
    y, x = (Axis(name, values, "m", f"projection_{name}_coordinate") for name, values in zip("yx", sides, strict=True))
    return Grid(height, width, y, x, None if mapping is None else GridMapping("crs", mapping))


def _decode_knmi(path: Path, factor: float) -> Fields:
    with open_hdf5(path) as file:
        try:
            pixels = file["image1/image_data"][:]
            calibration = dict(file["image1/calibration"].attrs)
        except (KeyError, OSError) as error:
            raise DataError(f"{path}: is not a KNMI radar file: no image1/image_data with a calibration") from error
    match = _FORMULA.search(text_of(calibration.get("calibration_formulas", b"")))
    if match is None:
        raise DataError(f"{path}: its calibration is not of the form GEO = a * PV + b")
    field = (float(match[1]) * pixels.astype(np.float64) + float(match[2])) * factor
    for name in ("calibration_missing_data", "calibration_out_of_image"):
        if name in calibration:
            field[pixels == np.ravel(calibration[name])[0]] = np.nan
    return np.asarray(field[None], dtype=np.float32)


class FmiRadar:
    """The data set ``fmi_radar``: reflectivity, ``(pixel - 64) / 2``."""

    @classmethod
    def from_config(cls, config: FmiRadarConfig) -> ClipRecord:
        """Find the files.

        Raises:
            DataError: if there are none, or one is damaged.
        """
        files = files_of(config.path, (".pgm", ".pgm.gz"), config)
        clip = FileFrames("fmi_radar", files, _decode_fmi)
        return ClipRecord(clip, [_DBZ], times=times_in_names(files), allow_gaps=config.allow_gaps)


def _decode_fmi(path: Path) -> Fields:
    content = _unpacked(path)
    said = re.search(rb"#\s*missingval\s+(\d+)", content)
    pixels = _grey(content, path)
    field = (pixels - 64.0) / 2.0
    if said:
        field[pixels == int(said[1])] = np.nan
    return np.asarray(field[None], dtype=np.float32)


class OdimRadar:
    """The data set ``odim_radar``: one quantity of a composite. No echo is zero rain, or the least reflectivity."""

    @classmethod
    def from_config(cls, config: OdimRadarConfig) -> ClipRecord:
        """Find the files.

        Raises:
            DataError: if there are none, or one has not this layout.
        """
        files = files_of(config.path, (".h5", ".hdf", ".hdf5"), config)
        about = [_odim_about(path, config.quantity) for path in files]
        order = sorted(range(len(files)), key=lambda number: about[number][0])
        quantity = about[0][1]
        variable = {"RATE": _RATE, "DBZH": _DBZ, "TH": _DBZ}.get(quantity, Variable(quantity.lower()))
        if quantity == "ACRR":
            variable = Variable("rain_amount", "mm", "accumulated rain")
        clip = FileFrames("odim_radar", [files[i] for i in order], partial(_decode_odim, quantity=quantity))
        times = np.array([about[i][0] for i in order], dtype="datetime64[ns]")
        return ClipRecord(clip, [variable], times=times, allow_gaps=config.allow_gaps)


def _odim_about(path: Path, quantity: str | None) -> tuple[np.datetime64, str]:
    """The time, and which quantity is read."""
    with open_hdf5(path) as file:
        if "what" not in file or "date" not in file["what"].attrs:
            raise DataError(f"{path}: is not ODIM HDF5: it has no what/date")
        what = file["what"].attrs
        time = time_in_name(Path(text_of(what["date"]) + text_of(what["time"])))
        there = list(_odim_fields(file))
    chosen = quantity or (there[0] if there else "")
    if chosen not in there:
        raise DataError(f"{path}: has no quantity {chosen!r}; it has {', '.join(there) or 'none'}")
    return time, chosen


def _odim_fields(file: Any) -> dict[str, tuple[str, dict[str, float]]]:
    """For each quantity where it is, and its gain, offset, nodata and undetect."""
    found: dict[str, tuple[str, dict[str, float]]] = {}
    for dataset in sorted(name for name in file if name.startswith("dataset")):
        group = file[dataset]
        for name in sorted(entry for entry in group if re.fullmatch(r"data\d+", entry)):
            what: dict[str, Any] = dict(group["what"].attrs) if "what" in group else {}
            what |= dict(group[name]["what"].attrs) if "what" in group[name] else {}
            if "quantity" in what and "data" in group[name]:
                numbers = {key: float(np.ravel(what[key])[0]) for key in _ODIM_NUMBERS if key in what}
                found.setdefault(text_of(what["quantity"]), (f"{dataset}/{name}/data", numbers))
    return found


def _decode_odim(path: Path, quantity: str) -> Fields:
    with open_hdf5(path) as file:
        fields = _odim_fields(file)
        if quantity not in fields:
            raise DataError(f"{path}: has no quantity {quantity!r}; it has {', '.join(fields) or 'none'}")
        where, what = fields[quantity]
        try:
            pixels = file[where][:].astype(np.float64)
        except OSError as error:
            raise DataError(f"{path}: cannot read {where}: the file is cut short") from error
    field = what.get("gain", 1.0) * pixels + what.get("offset", 0.0)
    if quantity in ("RATE", "ACRR"):
        field[pixels == what.get("undetect", np.nan)] = 0.0
    field[pixels == what.get("nodata", np.nan)] = np.nan
    return np.asarray(field[None], dtype=np.float32)


class MrmsRadar:
    """The data set ``mrms_radar``: rain rate."""

    @classmethod
    def from_config(cls, config: MrmsRadarConfig) -> ClipRecord:
        """Find the files.

        Raises:
            DataError: if there are none, or one is packed in a way that is not read here.
        """
        files = files_of(config.path, (".grib2", ".grib2.gz"), config)
        clip = FileFrames("mrms_radar", files, partial(_decode_mrms, shrink=config.shrink))
        grid = _mrms_grid(files[0], config.shrink)
        return ClipRecord(clip, [_RATE], times=times_in_names(files), allow_gaps=config.allow_gaps, grid=grid)


def _mrms_grid(path: Path, shrink: int) -> Grid | None:
    found = grid_of_grib2(_unpacked(path), path)
    if found is None:
        return None
    rows, columns = (side[: side.size // shrink * shrink].reshape(-1, shrink).mean(axis=1) for side in found)
    latitude = Axis("latitude", rows, "degrees_north", "latitude")
    return Grid(rows.size, columns.size, latitude, Axis("longitude", columns, "degrees_east", "longitude"))


def _decode_mrms(path: Path, shrink: int) -> Fields:
    """Negative values are missing (-1) or not covered (-3)."""
    field = decode_grib2(_unpacked(path), path)
    field = np.where(field < 0, np.nan, field)
    height, width = (side // shrink * shrink for side in field.shape)
    blocks = field[:height, :width].reshape(height // shrink, shrink, width // shrink, shrink)
    there = np.isfinite(blocks)
    count = there.sum(axis=(1, 3))
    total = np.where(there, blocks, 0.0).sum(axis=(1, 3))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)[None].astype(np.float32)


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    if not path.name.endswith(".gz"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be unpacked; it may be cut short ({error})") from error


def _grey(content: bytes, path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as picture:
            return np.asarray(picture.convert("L"), dtype=np.float64)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a picture; it may be cut short ({error})") from error
