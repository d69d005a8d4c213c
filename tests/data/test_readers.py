"""Readers of published layouts, each on a small file that is written here in that layout."""

from __future__ import annotations

import csv
import gzip
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from PIL import Image

from stkit.cli.main import run as stkit
from stkit.data.prepare import open_source, prepare
from stkit.data.source import PARTS
from stkit.errors import DataError
from tests.data.fields import config, days
from tests.data.test_frames import write_pictures, write_video

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (6, 4, 5), dtype=np.uint8)
READERS = (
    "kth",
    "human36m",
    "taxibj",
    "sevir",
    "hko7",
    "knmi_radar",
    "fmi_radar",
    "odim_radar",
    "mrms_radar",
    "oisst",
    "weatherbench",
)


def opened(name: str, path: Path, **values: Any) -> Any:
    return open_source(config(dataset={"name": name, "path": str(path), **values}).dataset)


def refused(message: str, name: str, path: Path, **values: Any) -> None:
    with pytest.raises(DataError, match=message):
        read_all(name, path, values)


def read_all(name: str, path: Path, values: Any) -> None:
    source = opened(name, path, **values)
    source.read(0, source.steps)


@pytest.mark.parametrize("name", READERS)
def test_where_the_data_is_had(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {"variables": ["geopotential_500"]} if name == "weatherbench" else {}
    with pytest.raises(DataError, match=r"there is nothing \(looked from .*Had from "):
        opened(name, tmp_path / "none", **values)
    assert stkit(["info", name, "--no-build"]) == 0
    assert "Had from" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize("name", READERS)
def test_an_empty_folder(name: str, tmp_path: Path) -> None:
    values = {"variables": ["geopotential_500"]} if name == "weatherbench" else {}
    with pytest.raises(DataError, match="Had from"):
        opened(name, tmp_path, **values)


# moving digits


def test_the_published_moving_mnist(tmp_path: Path) -> None:
    array = RNG.integers(0, 256, (20, 7, 64, 64), dtype=np.uint8)
    np.save(tmp_path / "mnist_test_seq.npy", array)
    chosen = config(dataset={"name": "moving_mnist", "test_file": str(tmp_path / "mnist_test_seq.npy")})
    data = prepare(chosen, 0)
    assert len(data.test) == 7
    np.testing.assert_allclose(data.test.raw(3).fields[:, 0], array[:5, 3] / 255.0, rtol=1e-6)
    made = prepare(config(dataset={"name": "moving_mnist", "test_sequences": 7}), 0)
    assert made.windows_hash != data.windows_hash
    with pytest.raises(DataError, match=r"no such file\. Had from www\.cs\.toronto\.edu"):
        open_source(config(dataset={"name": "moving_mnist", "test_file": str(tmp_path / "none.npy")}).dataset)
    np.save(tmp_path / "other.npy", array[:, :, :32])
    with pytest.raises(DataError, match="expected frames x sequences x 64 x 64, got"):
        open_source(config(dataset={"name": "moving_mnist", "test_file": str(tmp_path / "other.npy")}).dataset)


# people


def test_kth(tmp_path: Path) -> None:
    """A video and folders of frames; persons are split."""
    (tmp_path / "boxing").mkdir()
    (tmp_path / "walking").mkdir()
    video = write_video(tmp_path / "boxing" / "person01_boxing_d1_uncomp.avi", 8)
    for person in (2, 15, 17, 25):
        pictures = np.full((6, 16, 32), person, dtype=np.uint8)
        write_pictures(tmp_path / "walking" / f"person{person:02d}_walking_d2_uncomp", pictures, "image-{}.png")
    data = prepare(config(dataset={"name": "kth", "path": str(tmp_path), "size": [16, 32]}), 0)
    assert [len(getattr(data, part)) for part in PARTS] == [4 + 2, 2, 4]
    np.testing.assert_allclose(data.train.raw(1).fields[:, 0], video[1:6] / 255.0, atol=1e-6)
    assert {round(float(data.test.raw(i).fields.mean() * 255)) for i in range(4)} == {17, 25}


def test_human36m(tmp_path: Path) -> None:
    for subject in ("S1", "S8", "S9", "S11"):
        folder = tmp_path / subject / "Videos"
        folder.mkdir(parents=True)
        for name in ("Walking.54138969.mp4", "Walking 1.55011271.mp4", "WalkDog.54138969.mp4", "Eating.5.mp4"):
            write_video(folder / name, 30, "h264", "yuv420p")
    data = prepare(config(dataset={"name": "human36m", "path": str(tmp_path), "size": [8, 8]}), 0)
    assert [len(getattr(data, part)) for part in PARTS] == [4, 4, 8]  # two videos of six frames each
    assert data.pipeline.state_channels == 3
    refused("no video of the train part", "human36m", tmp_path, action="Sitting")


# taxis and storms


def write_taxi(path: Path, dates: list[str], fields: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["data"], file["date"] = fields, np.array(dates, dtype="S10")


def test_taxibj(tmp_path: Path) -> None:
    fields = RNG.integers(0, 1000, (100, 2, 32, 32)).astype(np.float64)
    dates = [f"2013070{1 + i // 48}{1 + i % 48:02d}" for i in range(100)]
    write_taxi(tmp_path / "BJ14_M32x32_T30_InOut.h5", dates[50:], fields[50:])
    write_taxi(tmp_path / "BJ13_M32x32_T30_InOut.h5", dates[:48], fields[:48])
    source = opened("taxibj", tmp_path)
    assert (source.steps, source.step_name) == (98, "30 min")
    np.testing.assert_array_equal(source.read(48, 98), fields[50:])
    assert str(source.times[48])[:16] == "2013-07-02T01:00"
    data = prepare(config(dataset=source_config("taxibj", tmp_path)), 0)
    stops = data.split_summary["train"]["stop"]
    assert all(not 44 <= data.train.start(i) <= 47 for i in range(len(data.train))), stops
    write_taxi(tmp_path / "BJ13_M32x32_T30_InOut.h5", ["2013070149"] * 48, fields[:48])
    refused("the date '2013070149' is not a day and a half hour from 01 to 48", "taxibj", tmp_path)
    with h5py.File(tmp_path / "BJ13_M32x32_T30_InOut.h5", "w") as file:
        file["flow"] = fields
    refused("expected the arrays 'data' and 'date', got flow", "taxibj", tmp_path)
    (tmp_path / "BJ13_M32x32_T30_InOut.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50))
    refused(r"BJ13_.*: cannot be read as HDF5; it may be cut short", "taxibj", tmp_path)


def test_taxibj_cut_into_windows(tmp_path: Path) -> None:
    """No window of the training part shares a half hour with one of the validation part."""
    flows = RNG.uniform(-1, 1, (57, 2, 4, 5))
    windows = np.stack([flows[i : i + 8] for i in range(50)])
    arrays = {"X_train": windows[:40, :4], "Y_train": windows[:40, 4:]}
    arrays |= {"X_test": windows[40:, :4], "Y_test": windows[40:, 4:]}
    path = tmp_path / "dataset.npz"
    np.savez(path, **arrays)
    data = config(dataset=source_config("taxibj", path), input_steps=4, horizon=4)
    source = open_source(data.dataset).arranged(8, 1, data.split)
    assert [source.count(part) for part in PARTS] == [29, 4, 10]
    np.testing.assert_allclose(source.sequence("train", 3, 8, 0), (windows[3] + 1) / 2, rtol=0, atol=1e-7)
    np.testing.assert_allclose(source.sequence("validation", 0, 8, 0), (windows[36] + 1) / 2, rtol=0, atol=1e-7)
    np.testing.assert_allclose(source.sequence("test", 9, 8, 0), (windows[49] + 1) / 2, rtol=0, atol=1e-7)
    with pytest.raises(DataError, match="has its own training, validation and test parts"):
        source.arranged(8, 1, config(split={"train": 0.5, "validation": 0.3, "test": 0.2}).split)
    np.savez(path, **{**arrays, "Y_test": windows[40:, 4:, :1]})
    with pytest.raises(DataError, match=r"expected X_test and Y_test as N T 2 H W, got \(10, 4, 2, 4, 5\) and"):
        open_source(data.dataset)
    np.savez(path, X_train=windows)
    with pytest.raises(DataError, match="no array 'Y_train'; it has X_train"):
        open_source(data.dataset)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="cannot be read as a NumPy file; it may be cut short"):
        open_source(data.dataset)
    path.unlink()
    with pytest.raises(DataError, match=r"there is nothing .*Had from"):
        open_source(data.dataset)


def source_config(name: str, path: Path, **values: Any) -> dict[str, Any]:
    return {"name": name, "path": str(path), **values}


def write_sevir(root: Path) -> np.ndarray:
    storms = RNG.integers(0, 255, (4, 6, 7, 12), dtype=np.uint8)
    storms[0, 0, 0, 0] = 255
    folder = root / "data" / "vil" / "2018"
    folder.mkdir(parents=True)
    with h5py.File(folder / "SEVIR_VIL_STORMEVENTS_2018.h5", "w") as file:
        file["vil"] = storms
    when = ("2018-05-01", "2019-02-01", "2019-07-01", "2018-06-01")
    with (root / "CATALOG.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "file_name", "file_index", "img_type", "time_utc", "minute_offsets"])
        for index, day in enumerate(when):
            name = "vil/2018/SEVIR_VIL_STORMEVENTS_2018.h5"
            writer.writerow([f"S{index}", name, index, "vil", f"{day} 18:00:00", "-120:-115"])
            writer.writerow([f"S{index}", "ir069/none.h5", index, "ir069", f"{day} 18:00:00", "-120:-115"])
    return storms


def test_sevir(tmp_path: Path) -> None:
    storms = write_sevir(tmp_path)
    data = prepare(config(dataset=source_config("sevir", tmp_path), window_stride=4), 0)
    assert [len(getattr(data, part)) for part in PARTS] == [4, 2, 2]
    expected = storms[2].transpose(2, 0, 1)[4:9]
    np.testing.assert_array_equal(data.test.raw(1).fields[:, 0], expected)
    assert np.isnan(data.source.sequence("train", 0, 2, 0)[0, 0, 0, 0])
    refused("ir069/none.h5: CATALOG.csv names this file, and it is not there", "sevir", tmp_path, image="ir069")
    refused("no storm of 'vil' in the test part", "sevir", tmp_path, test_from="2020-01-01")
    refused("are flashes, not images", "sevir", tmp_path, image="lght")
    (tmp_path / "CATALOG.csv").write_text("id,file_name\n")
    refused("has no column file_index, img_type, time_utc", "sevir", tmp_path)


# radar


def test_hko7(tmp_path: Path) -> None:
    for number, pixels in enumerate(BYTES):
        folder = tmp_path / "radarPNG" / "2009" / "01" / "01"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"RAD0901010{number // 10}{6 * number % 60:02d}00.png")
    counts = np.ones((4, 5), bool)
    counts[0] = False
    masks = tmp_path / "radarPNG_mask" / "2009" / "01" / "01"
    masks.mkdir(parents=True)
    (masks / "RAD090101001200.mask").write_bytes(zlib.compress(counts.tobytes()))
    dbz = opened("hko7", tmp_path, quantity="reflectivity")
    assert (dbz.step_name, str(dbz.times[1])[:16]) == ("6 min", "2009-01-01T00:06")
    read = dbz.read(0, 6)[:, 0]
    expected = BYTES / 255.0 * 70 - 10
    assert np.isnan(read[2, 0]).all()
    np.testing.assert_allclose(read[3:], expected[3:], rtol=1e-5)
    rate = opened("hko7", tmp_path).read(3, 6)[:, 0]
    np.testing.assert_allclose(10 * np.log10(58.53 * rate**1.56), expected[3:], atol=1e-3)
    (masks / "RAD090101001200.mask").write_bytes(zlib.compress(counts[:3].tobytes()))
    refused("15 cells, but RAD090101001200.png has 20", "hko7", tmp_path)
    (masks / "RAD090101001200.mask").write_bytes(b"text")
    refused("cannot be read as a mask", "hko7", tmp_path)


def write_knmi(
    path: Path, pixels: np.ndarray, formula: str = "GEO=0.010000*PV+0.000000", what: str = "PRECIP_[MM]"
) -> None:
    with h5py.File(path, "w") as file:
        image = file.create_group("image1")
        image["image_data"] = pixels
        image.attrs["image_geo_parameter"] = np.bytes_(what)
        calibration = image.create_group("calibration")
        calibration.attrs["calibration_formulas"] = np.bytes_(formula)
        calibration.attrs["calibration_missing_data"] = np.array([65535])
        calibration.attrs["calibration_out_of_image"] = np.array([65534])
        geographic = file.create_group("geographic")
        geographic.attrs.update(geo_pixel_size_x=[1.0], geo_pixel_size_y=[-1.0], geo_column_offset=[0.0])
        geographic.attrs["geo_row_offset"] = [3650.0]
        projection = geographic.create_group("map_projection")
        text = b"+proj=stere +lat_0=90 +lon_0=0.0 +lat_ts=60.0 +a=6378.137 +b=6356.752 +x_0=0 +y_0=0"
        projection.attrs["projection_proj4_params"] = np.bytes_(text)


def test_knmi_radar(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 500, (3, 4, 5)).astype(np.uint16)
    pixels[1, 0, :2] = 65535, 65534
    for number in range(3):
        write_knmi(tmp_path / f"RAD_NL25_RAP_5min_20100826{5 * number:04d}.h5", pixels[number])
    source = opened("knmi_radar", tmp_path)
    assert (source.step_name, source.variables[0].units) == ("5 min", "mm/h")
    read = source.read(0, 3)[:, 0]
    assert np.isnan(read[1, 0, :2]).all()
    np.testing.assert_allclose(read[[0, 2]], pixels[[0, 2]] * 0.01 * 12, rtol=1e-6)
    np.testing.assert_allclose(source.grid.x.values, 1000 * np.array([0.5, 1.5, 2.5, 3.5, 4.5]))
    np.testing.assert_allclose(source.grid.y.values, -1000 * np.array([3650.5, 3651.5, 3652.5, 3653.5]))
    assert (source.grid.x.units, source.grid.x.standard_name) == ("m", "projection_x_coordinate")
    assert source.grid.mapping.attributes["grid_mapping_name"] == "polar_stereographic"
    with h5py.File(tmp_path / "RAD_NL25_RAP_5min_201008260000.h5", "a") as file:
        del file["geographic"]
    assert opened("knmi_radar", tmp_path).grid.x.values is None
    for path in tmp_path.glob("*.h5"):
        write_knmi(path, pixels[0], "GEO = 0.500000 * PV + -32.000000", "REFLECTIVITY_[DBZ]")
    source = opened("knmi_radar", tmp_path)
    assert source.variables[0].units == "dBZ"
    np.testing.assert_allclose(source.read(0, 1)[0, 0], pixels[0] * 0.5 - 32, rtol=1e-6)
    write_knmi(path, pixels[0], "GEO = log(PV)", "REFLECTIVITY_[DBZ]")
    refused("its calibration is not of the form", "knmi_radar", tmp_path)
    write_taxi(path, ["1"], pixels)
    refused("is not a KNMI radar file", "knmi_radar", tmp_path)
    path.unlink()
    write_knmi(tmp_path / "radar.h5", pixels[0])
    refused("its name has no date and time", "knmi_radar", tmp_path)


def test_fmi_radar(tmp_path: Path) -> None:
    pixels = BYTES.copy()
    pixels[0, 0, 0] = 255
    for number, frame in enumerate(pixels):
        header = b"P5\n# param CorrectedReflectivity\n# missingval 255\n5 4\n255\n"
        name = f"20160928{1445 + 5 * number if number < 3 else 1500 + 5 * (number - 3)}_fmi.radar.composite.pgm.gz"
        (tmp_path / name).write_bytes(gzip.compress(header + frame.tobytes()))
    source = opened("fmi_radar", tmp_path)
    assert source.step_name == "5 min"
    expected = np.where(pixels == 255, np.nan, (pixels - 64.0) / 2)
    np.testing.assert_allclose(source.read(0, 6)[:, 0], expected)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    refused("cannot be unpacked; it may be cut short", "fmi_radar", tmp_path)


def write_odim(path: Path, time: str, pixels: np.ndarray, quantity: str = "RATE") -> None:
    with h5py.File(path, "w") as file:
        file.create_group("what").attrs.update({"date": np.bytes_("20240501"), "time": np.bytes_(time)})
        data = file.create_group("dataset1/data1")
        data["data"] = pixels
        what = {"quantity": np.bytes_(quantity), "gain": 0.5, "offset": -32.0, "nodata": 255.0, "undetect": 0.0}
        data.create_group("what").attrs.update(what)


def test_odim_radar(tmp_path: Path) -> None:
    pixels = RNG.integers(1, 255, (3, 4, 5), dtype=np.uint8)
    pixels[:, 0, 0], pixels[:, 1, 1] = 0, 255
    for number, name in enumerate(("b.h5", "a.h5", "c.h5")):
        write_odim(tmp_path / name, f"12{5 * number:02d}00", pixels[number])
    source = opened("odim_radar", tmp_path)
    read = source.read(0, 3)[:, 0]
    assert (source.step_name, source.variables[0].units) == ("5 min", "mm/h")
    assert (read[:, 0, 0] == 0).all()
    assert np.isnan(read[:, 1, 1]).all()
    np.testing.assert_allclose(read[:, 2], pixels[:, 2] * 0.5 - 32)
    refused("has no quantity 'DBZH'; it has RATE", "odim_radar", tmp_path, quantity="DBZH")
    write_odim(tmp_path / "c.h5", "121000", pixels[0], "DBZH")
    refused("has no quantity 'RATE'; it has DBZH", "odim_radar", tmp_path)
    write_taxi(tmp_path / "c.h5", ["1"], pixels)
    refused("is not ODIM HDF5", "odim_radar", tmp_path)


def section(number: int, content: bytes) -> bytes:
    return struct.pack(">IB", 5 + len(content), number) + content


def grib2(
    values: np.ndarray, template: int = 41, decimal: int = 1, bitmap: np.ndarray | None = None, scanning: int = 0
) -> bytes:
    """Values as ``(-30 + X) / 10``, packed as a PNG of 16 bits; written from the tables of the manual."""
    height, width = values.shape
    there = values if bitmap is None else values[bitmap][None]
    packed = np.round(there * 10**decimal + 30).astype(np.uint16)
    picture = io.BytesIO()
    Image.fromarray(packed).save(picture, "PNG")
    grid = bytes(7) + struct.pack(">H", 0) + bytes(16) + struct.pack(">II", width, height) + bytes(8)
    south = 1 << 31 | 1_000_000  # the first bit is the sign
    grid += struct.pack(">IIBII", 2_000_000, 230_005_000, 0x30, south, 230_005_000 + 10_000 * (width - 1))
    grid += struct.pack(">IIB", 10_000, 10_000, scanning)
    packing = struct.pack(">IH", there.size, template) + struct.pack(">fHHBB", -30.0, 0, decimal, 16, 0)
    bits = b"\xff" if bitmap is None else b"\0" + np.packbits(bitmap.ravel()).tobytes()
    sections = [
        section(1, bytes(16)),
        section(3, grid),
        section(4, bytes(4)),
        section(5, packing),
        section(6, bits),
        section(7, picture.getvalue()),
        b"7777",
    ]
    body = b"".join(sections)
    return b"GRIB" + bytes(2) + bytes([209, 2]) + struct.pack(">Q", 16 + len(body)) + body


def test_mrms_radar(tmp_path: Path) -> None:
    rain = np.round(RNG.uniform(0, 60, (3, 4, 6)), 1)
    rain[0, 0, 0], rain[0, 0, 1] = -3, -1
    for number, field in enumerate(rain):
        name = tmp_path / f"PrecipRate_00.00_20190610-00{2 * number:02d}00.grib2.gz"
        name.write_bytes(gzip.compress(grib2(field)))
    source = opened("mrms_radar", tmp_path)
    assert source.step_name == "2 min"
    np.testing.assert_allclose(source.latitude, [2, 1, 0, -1])
    np.testing.assert_allclose(source.longitude, 230.005 + 0.01 * np.arange(6))
    np.testing.assert_allclose(opened("mrms_radar", tmp_path, shrink=2).latitude, [1.5, -0.5])
    expected = np.where(rain < 0, np.nan, rain)
    np.testing.assert_allclose(source.read(0, 3)[:, 0], expected, atol=1e-4)
    halves = opened("mrms_radar", tmp_path, shrink=2).read(0, 3)[:, 0]
    blocks = expected.reshape(3, 2, 2, 3, 2)
    np.testing.assert_allclose(halves, np.nanmean(blocks, axis=(2, 4)), atol=1e-4)
    there = rain[1] > 10
    name.write_bytes(gzip.compress(grib2(rain[1], bitmap=there)))
    np.testing.assert_allclose(
        opened("mrms_radar", tmp_path).read(2, 3)[0, 0], np.where(there, rain[1], np.nan), atol=1e-4
    )
    for content, message in (
        (grib2(rain[0], template=3), r"packed in a way that is not read here \(template 5\.3; MRMS has 5\.41\)"),
        (grib2(rain[0])[:-60], "the file is cut short"),
        (grib2(rain[0], scanning=0x20), "stored in another order than row by row"),
        (b"text of some length", "not a GRIB2 file"),
    ):
        name.write_bytes(gzip.compress(content))
        refused(message, "mrms_radar", name)


# grids


def test_oisst(tmp_path: Path) -> None:
    values = RNG.normal(15, 5, (5, 1, 4, 6)).astype(np.float32)
    for number, time in enumerate(days(5, "1981-09-28")):
        day = str(time)[:10].replace("-", "")
        (tmp_path / day[:6]).mkdir(exist_ok=True)
        dims = ("time", "zlev", "lat", "lon")
        coords = {
            "time": ("time", [time]),
            "zlev": ("zlev", [0.0]),
            "lat": ("lat", np.linspace(-89.875, 89.875, 4), {"units": "degrees_north"}),
            "lon": ("lon", np.linspace(0.125, 359.875, 6), {"units": "degrees_east"}),
        }
        field = xr.Dataset({"sst": (dims, values[number : number + 1], {"units": "Celsius"})}, coords)
        field["ice"] = field.sst / 100
        field.to_netcdf(tmp_path / day[:6] / f"oisst-avhrr-v02r01.{day}.nc", engine="h5netcdf")
    source = opened("oisst", tmp_path)
    assert (source.step_name, source.variables[0].units) == ("day", "Celsius")
    np.testing.assert_array_equal(source.read(0, 5), values)
    assert opened("oisst", tmp_path, variables=["sst", "ice"]).read(0, 2).shape == (2, 2, 4, 6)
    (tmp_path / "198109" / "oisst-avhrr-v02r01.19810930.nc").unlink()
    refused("1981-09-29 is followed by 1981-10-01", "oisst", tmp_path)
    assert opened("oisst", tmp_path, allow_gaps=True).steps == 4


def write_weather(root: Path, folder: str, name: str, values: np.ndarray, year: int, levels: bool = False) -> None:
    (root / folder).mkdir(exist_ok=True)
    times = np.datetime64(f"{year}-01-01T00", "ns") + np.arange(len(values)) * np.timedelta64(6, "h")
    coords: dict[str, Any] = {
        "time": times,
        "lat": ("lat", np.linspace(-80, 80, 4), {"units": "degrees_north"}),
        "lon": ("lon", np.linspace(0, 300, 6), {"units": "degrees_east"}),
    }
    dims = ("time", "level", "lat", "lon") if levels else ("time", "lat", "lon")
    coords |= {"level": np.array([500, 850])} if levels else {}
    data = xr.Dataset({name: (dims, values, {"units": "K"})}, coords)
    data.to_netcdf(root / folder / f"{folder}_{year}_5.625deg.nc", engine="h5netcdf")


def test_weatherbench(tmp_path: Path) -> None:
    z, t = RNG.normal(size=(4, 4, 6)).astype("f4"), RNG.normal(size=(4, 2, 4, 6)).astype("f4")
    write_weather(tmp_path, "geopotential_500", "z", z, 1979)
    write_weather(tmp_path, "geopotential_500", "z", z + 1, 1980)
    write_weather(tmp_path, "temperature", "t", t, 1979, levels=True)
    land = RNG.normal(size=(4, 6)).astype("f4")
    (tmp_path / "constants").mkdir()
    xr.Dataset({"lsm": (("lat", "lon"), land), "lat2d": (("lat", "lon"), land)}).to_netcdf(
        tmp_path / "constants" / "constants_5.625deg.nc", engine="h5netcdf"
    )
    names = ["geopotential_500", "temperature@850", "constants/lsm"]
    source = opened("weatherbench", tmp_path, variables=names, years="1979..1979")
    assert [variable.name for variable in source.variables] == ["geopotential_500", "temperature_850", "lsm"]
    read = source.read(1, 3)
    np.testing.assert_array_equal(read[:, 0], z[1:3])
    np.testing.assert_array_equal(read[:, 1], t[1:3, 1])
    np.testing.assert_array_equal(read[:, 2], [land, land])
    refused("1979-01-01T18:00 is followed by 1980-01-01", "weatherbench", tmp_path, variables=names)
    write_weather(tmp_path, "temperature", "t", t[:3], 1979, levels=True)
    short = r"temperature has 1979-01-01 to 1979-01-01T12:00 \(3 steps\), but geopotential_500 has .* \(4 steps\)"
    refused(short, "weatherbench", tmp_path, variables=names, years="1979..1979")
    refused("no folder 'wind'; it has constants, geo", "weatherbench", tmp_path, variables=["wind"])
    refused("no file of the years 1990..1991", "weatherbench", tmp_path, variables=names, years="1990..1991")
    refused("only constants are named", "weatherbench", tmp_path, variables=["constants/lsm"])
    refused("no variable 'lsn'; it has lsm", "weatherbench", tmp_path, variables=["constants/lsn"])
