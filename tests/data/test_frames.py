"""The data sets ``arrays``, ``images`` and ``video``: what was written is what comes, and what does not fit is told."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from stkit.data.clips import ClipRecord, ClipSequences
from stkit.data.prepare import PreparedData, open_source, prepare
from stkit.data.source import PARTS, FieldSource, SequenceSource
from stkit.errors import DataError
from tests.data.fields import config, months

PICTURES = np.random.default_rng(0).integers(0, 256, (12, 6, 8), dtype=np.uint8)


def opened(**values: Any) -> Any:
    return open_source(config(dataset=values).dataset)


def refused(message: str, **values: Any) -> None:
    with pytest.raises(DataError, match=message):
        read_all(opened, values)


def read_all(opener: Any, values: Any) -> None:
    source = opener(**values)
    source.read(0, source.steps) if isinstance(source, FieldSource) else source.sequence("train", 0, 5, 0)


# arrays


@pytest.mark.parametrize(("axes", "shape"), [("THW", (12, 6, 8)), ("HWT", (6, 8, 12)), ("TCHW", (12, 2, 6, 8))])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_an_array_is_a_record(tmp_path: Path, axes: str, shape: tuple[int, ...], suffix: str) -> None:
    array = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    path = tmp_path / f"a{suffix}"
    np.save(path, array) if suffix == ".npy" else np.savez(path, field=array)
    source = opened(name="arrays", path=str(path), axes=axes, scale=2.0, units="K")
    assert isinstance(source, ClipRecord)
    expected = np.moveaxis(array, axes.index("T"), 0).reshape(12, -1, 6, 8) * 2
    np.testing.assert_array_equal(source.read(3, 9), expected[3:9])
    assert {variable.units for variable in source.variables} == {"K"}
    assert source.steps == 12


def test_an_array_is_read_window_by_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stkit.data.clips._KEPT_BYTES", 0)
    np.save(tmp_path / "a.npy", PICTURES)
    source = opened(name="arrays", path=str(tmp_path / "a.npy"), missing_values=[0])
    expected = PICTURES.astype(np.float32)
    expected[expected == 0] = np.nan
    np.testing.assert_array_equal(source.read(2, 5)[:, 0], expected[2:5])
    assert source._kept is None


def test_an_array_with_times(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", rain=PICTURES, when=months(12))
    source = opened(name="arrays", path=str(tmp_path / "a.npz"), key="rain", times="when", variables=["rain"])
    np.testing.assert_array_equal(source.times, months(12))
    assert source.step_name == "month"


def sequences(tmp_path: Path, axes: str = "TNHW", number: int = 20) -> tuple[np.ndarray, PreparedData]:
    array = np.random.default_rng(2).integers(0, 256, (9, number, 6, 8), dtype=np.uint8)
    np.save(tmp_path / "a.npy", np.moveaxis(array, 0, axes.index("T")))
    chosen = {"name": "arrays", "path": str(tmp_path / "a.npy"), "axes": axes}
    return array, prepare(config(dataset=chosen, window_stride=2), 0)


@pytest.mark.parametrize("axes", ["TNHW", "NTHW"])
def test_sequences_are_split_whole_and_cut_into_windows(tmp_path: Path, axes: str) -> None:
    """Twenty sequences of nine frames: fourteen, three and three, three windows of five frames in each."""
    array, data = sequences(tmp_path, axes)
    assert [len(getattr(data, part)) for part in PARTS] == [14 * 3, 3 * 3, 3 * 3]
    seen = {part: [getattr(data, part).raw(i).fields for i in range(len(getattr(data, part)))] for part in PARTS}
    np.testing.assert_array_equal(seen["train"][4][:, 0], array[2:7, 1])
    np.testing.assert_array_equal(seen["validation"][0][:, 0], array[:5, 14])
    np.testing.assert_array_equal(seen["test"][8][:, 0], array[4:9, 19])
    source = data.source
    assert isinstance(source, ClipSequences)
    assert pickle.loads(pickle.dumps(source)).sequence("test", 0, 5, 0).shape == (5, 1, 6, 8)  # to a worker process


def test_the_hash_tells_other_sequences(tmp_path: Path) -> None:
    hashes = {sequences(tmp_path, number=number)[1].windows_hash for number in (20, 21, 20)}
    assert len(hashes) == 2


def test_sequences_that_are_too_short_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number, frames in enumerate([9] * 8 + [3] + [9] * 5):
        folder = tmp_path / f"clip{number}"
        folder.mkdir()
        for frame in range(frames):
            Image.fromarray(PICTURES[frame]).save(folder / f"{frame}.png")
    data = prepare(config(dataset={"name": "images", "path": str(tmp_path)}), 0)
    assert "1 of 9 sequences of the train part are shorter than a window of 5 frames and left out" in caplog.text
    assert len(data.train) == 8 * 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"split": {"train": "2000..2001", "validation": "2002..2003", "test": "2004..2005"}}, "give shares such as"),
        ({"input_steps": 9}, "the train part has 14 sequences, the longest of 9 frames, but a window needs 11"),
        ({"split": {"train": 0.98, "validation": 0.01, "test": 0.01}}, "leaves nothing"),
    ],
)
def test_splits_of_sequences_that_do_not_fit(tmp_path: Path, values: Any, message: str) -> None:
    _, data = sequences(tmp_path)
    with pytest.raises(DataError, match=message):
        prepare(config(dataset=data.config.dataset, **values), 0)


def test_arrays_that_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "four.npy", np.zeros((4, 3, 5, 5)))
    refused("the array is 4 x 3 x 5 x 5, but its axes are not said", name="arrays", path=str(tmp_path / "four.npy"))
    refused("T, H and W are needed", name="arrays", path=str(tmp_path / "four.npy"), axes="NCHW")
    refused("no letter may come twice", name="arrays", path=str(tmp_path / "four.npy"), axes="THWH")
    refused("3 channels, but 1 variables", name="arrays", path=str(tmp_path / "four.npy"), axes="TCHW", variables=["a"])
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    refused("objects are never unpickled", name="arrays", path=str(tmp_path / "objects.npy"))
    np.savez(tmp_path / "two.npz", a=PICTURES, b=PICTURES)
    refused("holds the arrays a, b: name one with 'key'", name="arrays", path=str(tmp_path / "two.npz"))
    refused("no array 'c'; it has a, b", name="arrays", path=str(tmp_path / "two.npz"), key="c")
    refused("expected 12 values of datetime64", name="arrays", path=str(tmp_path / "two.npz"), key="a", times="b")
    refused(r"no such file: .*two\.npy.*did you mean", name="arrays", path=str(tmp_path / "two.npy"))
    for suffix in ("npy", "npz"):
        path = tmp_path / f"cut.{suffix}"
        np.save(path, PICTURES) if suffix == "npy" else np.savez(path, PICTURES)
        path.write_bytes(path.read_bytes()[:300])
        refused(rf"cut\.{suffix}: cannot be read as a NumPy file; it may be cut short", name="arrays", path=str(path))
    np.save(tmp_path / "text.npy", np.array([["a"]]))
    refused("holds <U1, not numbers", name="arrays", path=str(tmp_path / "text.npy"))


# pictures


def write_pictures(folder: Path, pictures: np.ndarray = PICTURES, name: str = "frame{}.png") -> Path:
    folder.mkdir(exist_ok=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / name.format(number))
    return folder


def test_a_folder_of_pictures_is_a_record(tmp_path: Path) -> None:
    """In the order of the numbers: 9 comes before 10."""
    source = opened(name="images", path=str(write_pictures(tmp_path / "a")))
    assert isinstance(source, ClipRecord)
    np.testing.assert_allclose(source.read(0, 12)[:, 0], PICTURES / 255.0, rtol=1e-6)


def test_pictures_with_times_in_their_names(tmp_path: Path) -> None:
    for minute, picture in zip(range(0, 60, 5), PICTURES, strict=True):
        Image.fromarray(picture).save(tmp_path / f"RAD2001{minute:02d}.png")
    source = opened(name="images", path=str(tmp_path), time_format="RAD20%H%M.png")
    assert source.step_name == "5 min"
    refused("it tells no time", name="images", path=str(tmp_path), time_format="RAD%Y%m%d.png")
    (tmp_path / "RAD200130.png").unlink()
    refused(
        "1900-01-01T01:25 is followed by 1900-01-01T01:35",
        name="images",
        path=str(tmp_path),
        time_format="RAD20%H%M.png",
    )


def test_colours_sizes_and_sixteen_bits(tmp_path: Path) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)
    source = opened(name="images", path=str(write_pictures(tmp_path / "rgb", colours)), colour="rgb")
    assert [variable.name for variable in source.variables] == ["red", "green", "blue"]
    np.testing.assert_allclose(source.read(0, 3), colours.transpose(0, 3, 1, 2) / 255.0, rtol=1e-6)
    flat = np.full((2, 6, 8), 51, dtype=np.uint8)
    small = opened(name="images", path=str(write_pictures(tmp_path / "flat", flat)), size=[3, 4])
    np.testing.assert_allclose(small.read(0, 2), np.full((2, 1, 3, 4), 0.2), rtol=1e-6)
    deep = (PICTURES[:2].astype(np.uint16) << 8) + 7
    source = opened(name="images", path=str(write_pictures(tmp_path / "deep", deep)))
    np.testing.assert_allclose(source.read(0, 2)[:, 0], deep / 65535.0, rtol=1e-6)


def test_pictures_that_are_refused(tmp_path: Path) -> None:
    refused("no such folder", name="images", path=str(tmp_path / "none"))
    refused(r"no file matches '\*\.png' there, nor in the folders inside it", name="images", path=str(tmp_path))
    folder = write_pictures(tmp_path / "a")
    refused("is a file, not a folder", name="images", path=str(folder / "frame0.png"))
    whole = (folder / "frame3.png").read_bytes()
    for content in (whole[: len(whole) // 2], b"text"):
        (folder / "frame3.png").write_bytes(content)
        refused(r"frame3\.png: cannot be read as a picture; it may be cut short", name="images", path=str(folder))
    Image.fromarray(PICTURES[3][:5]).save(folder / "frame3.png")
    refused(r"frame3\.png: 1 channel of 5 x 8 cells, but .* has 1 channel of 6 x 8", name="images", path=str(folder))


# videos


def write_video(path: Path, frames: int = 12, codec: str = "ffv1", pix_fmt: str = "gray", seed: int = 0) -> np.ndarray:
    pictures = np.random.default_rng(seed).integers(0, 256, (frames, 16, 32), dtype=np.uint8)
    if codec != "ffv1":  # moving blocks, so that frames lean on those before them
        pictures = np.zeros((frames, 16, 32), dtype=np.uint8)
        for number, picture in enumerate(pictures):
            picture[4:10, number : number + 8] = 200
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 16, pix_fmt
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format=pix_fmt)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return pictures


def test_a_video_is_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stkit.data.clips._KEPT_BYTES", 0)
    pictures = write_video(tmp_path / "a.mkv")
    source = opened(name="video", path=str(tmp_path / "a.mkv"))
    np.testing.assert_allclose(source.read(3, 8)[:, 0], pictures[3:8] / 255.0, atol=1e-6)
    every = opened(name="video", path=str(tmp_path / "a.mkv"), every=5)
    np.testing.assert_allclose(every.read(0, 3)[:, 0], pictures[::5] / 255.0, atol=1e-6)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "h264"), ("a.avi", "mpeg4"), ("a.avi", "mjpeg")])
def test_frames_are_found_again_behind_key_frames(tmp_path: Path, name: str, codec: str) -> None:
    pictures = write_video(tmp_path / name, 24, codec, "yuvj420p" if codec == "mjpeg" else "yuv420p")
    source = opened(name="video", path=str(tmp_path / name))
    whole = source.clip.read(0, 24)
    distance = np.abs(whole[:, None, 0] - pictures / 255.0).mean(axis=(2, 3))
    np.testing.assert_array_equal(distance.argmin(axis=1), np.arange(24), "each is most like the picture it was")
    for start, stop in ((17, 20), (5, 6), (0, 2), (22, 24)):
        np.testing.assert_array_equal(source.clip.read(start, stop), whole[start:stop])


def test_several_videos_are_sequences(tmp_path: Path) -> None:
    written = [write_video(tmp_path / f"clip{number}.mkv", 6, seed=number) for number in range(10)]
    data = prepare(config(dataset={"name": "video", "path": str(tmp_path / "*.mkv")}), 0)
    assert [len(getattr(data, part)) for part in PARTS] == [14, 2, 4]
    assert isinstance(data.source, SequenceSource)
    np.testing.assert_allclose(data.test.raw(3).fields[:, 0], written[9][1:6] / 255.0, atol=1e-6)


def test_videos_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused("no file matches", name="video", path=str(tmp_path / "*.mp4"))
    (tmp_path / "text.mp4").write_text("no video")
    refused(r"text\.mp4: cannot be read as a video", name="video", path=str(tmp_path / "text.mp4"))
    write_video(tmp_path / "a.mkv", 24)
    content = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(content[:200])
    refused(r"a\.mkv: ", name="video", path=str(tmp_path / "a.mkv"))
    (tmp_path / "a.mkv").write_bytes(content[: len(content) // 2])
    assert 6 < opened(name="video", path=str(tmp_path / "a.mkv")).steps < 14, "what is there can be read"
    write_video(tmp_path / "b.mkv", 6)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused(
        r"reading videos needs PyAV: pip install 'stkit-torch\[video\]'", name="video", path=str(tmp_path / "b.mkv")
    )
