"""The part of GRIB2 that MRMS uses: one message, a grid of latitudes and longitudes, values packed as a PNG.

WMO Manual on Codes, No. 306: templates 3.0 (grid), 5.41 (PNG); a value is ``(R + X 2**E) / 10**D``.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stkit.errors import DataError

_LATITUDE_LONGITUDE = 0
_PNG = 41
_GRID_OCTETS = 72
_OTHER_ORDER = 0x30
"""Bits of the scanning mode: columns first, rows in alternating directions."""


def decode_grib2(content: bytes, path: Path) -> NDArray[np.float64]:
    """The field of the only message, ``H W``, NaN where its bitmap says so.

    Raises:
        DataError: if it is no GRIB2, is cut short, or is packed in another way.
    """
    sections = dict(_sections(content, path))
    grid, packing, data = (sections.get(number) for number in (3, 5, 7))
    if grid is None or packing is None or data is None:
        raise DataError(f"{path}: a GRIB2 message has a grid, a packing and data; here one of them is missing")
    template = _number(grid, 12, 2)
    if template != _LATITUDE_LONGITUDE:
        raise DataError(f"{path}: its grid (template 3.{template}) is not one of latitudes and longitudes: convert it")
    width, height = _number(grid, 30, 4), _number(grid, 34, 4)
    kind = _number(packing, 9, 2)
    if kind != _PNG:
        raise DataError(
            f"{path}: its values are packed in a way that is not read here (template 5.{kind}; MRMS has 5.{_PNG}): "
            "convert it to NetCDF, for which there is the data set netcdf"
        )
    reference = struct.unpack(">f", packing[11:15])[0]
    binary, decimal = _signed(packing, 15), _signed(packing, 17)
    packed = _png(data[5:], path).ravel() if packing[19] else np.zeros(_number(packing, 5, 4))
    values = (reference + packed * 2.0**binary) / 10.0**decimal
    return _on_grid(values, sections.get(6), height, width, path)


def grid_of_grib2(content: bytes, path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Latitude of each row and longitude of each column of the only message [degrees]; None where it does not say them.

    Raises:
        DataError: as :func:`decode_grib2`, or cells are not stored row by row.
    """
    grid = dict(_sections(content, path)).get(3, b"")
    if len(grid) < _GRID_OCTETS or _number(grid, 12, 2) != _LATITUDE_LONGITUDE:
        return None
    if grid[71] & _OTHER_ORDER:
        raise DataError(f"{path}: its cells are stored in another order than row by row: convert it")
    width, height = _number(grid, 30, 4), _number(grid, 34, 4)
    first, last = ([_signed(grid, at, 4) * 1e-6 for at in places] for places in ((46, 50), (55, 59)))
    if first[0] == last[0] or first[1] == last[1]:
        return None
    return np.linspace(first[0], last[0], height), np.linspace(first[1], last[1], width)


def _on_grid(
    values: NDArray[np.float64], bitmap: bytes | None, height: int, width: int, path: Path
) -> NDArray[np.float64]:
    cells = height * width
    if bitmap is not None and bitmap[5] == 0:
        there = np.unpackbits(np.frombuffer(bitmap[6:], dtype=np.uint8))[:cells].astype(bool)
        if values.size < there.sum():
            raise DataError(f"{path}: {values.size} values, but its bitmap has {there.sum()}")
        field = np.full(cells, np.nan)
        field[there] = values[: there.sum()]
        return field.reshape(height, width)
    if values.size != cells:
        raise DataError(f"{path}: {values.size} values on a grid of {height} x {width}")
    return values.reshape(height, width)


def _sections(content: bytes, path: Path) -> Iterator[tuple[int, bytes]]:
    if content[:4] != b"GRIB" or len(content) < 16 or content[7] != 2:
        raise DataError(f"{path}: not a GRIB2 file (it starts with {content[:8]!r})")
    at = 16
    while content[at : at + 4] != b"7777":
        length = _number(content, at, 4) if at + 5 <= len(content) else 0
        if length < 5 or at + length > len(content):
            raise DataError(f"{path}: the file is cut short")
        yield content[at + 4], content[at : at + length]
        at += length


def _number(section: bytes, at: int, octets: int) -> int:
    return int.from_bytes(section[at : at + octets], "big")


def _signed(section: bytes, at: int, octets: int = 2) -> int:
    """GRIB says the sign in the first bit."""
    value, sign = _number(section, at, octets), 1 << (8 * octets - 1)
    return -(value - sign) if value & sign else value


def _png(content: bytes, path: Path) -> NDArray[np.float64]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as picture:
            pixels = np.asarray(picture, dtype=np.int64)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: its values cannot be unpacked; it may be cut short ({error})") from error
    if pixels.ndim == 3:  # 24 or 32 bits come as bytes of a colour
        weights = 256 ** np.arange(pixels.shape[2] - 1, -1, -1)
        pixels = (pixels * weights).sum(axis=2)
    return pixels.astype(np.float64)
