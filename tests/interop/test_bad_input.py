"""Each wrong file and option: one message that says what is wrong, and nothing left behind."""

from __future__ import annotations

import io
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stkit.errors import CheckpointError, UsageError
from stkit.interop import read
from stkit.interop.file import read_file

from .conftest import Told
from .openstl_models import lightning, parameters

Command = Callable[..., Told]
Save = Callable[[dict[str, Tensor], Path], None]


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def as_torch(state: dict[str, Tensor], path: Path) -> None:
    torch.save(state, path)


def as_old_torch(state: dict[str, Tensor], path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


def as_npz(state: dict[str, Tensor], path: Path) -> None:
    with open(path, "wb") as stream:
        np.savez(stream, **{name: value.numpy() for name, value in state.items()})


FORMATS: list[Save] = [as_torch, as_old_torch, save_file, as_npz]


@pytest.fixture
def refused(stkit_command: Command, tmp_path: Path) -> Callable[..., str]:
    """The message with which the command refuses a file; nothing may be left behind."""

    def call(file: Path, *options: Any, source: str = "openstl", sizes: bool = True) -> str:
        run = tmp_path / "out" / "run"
        run.parent.mkdir(exist_ok=True)
        usual = ("--patch-size", 2, "--size", "16x16") if sizes else ()
        code, out, err = stkit_command("import", source, file, "-o", run, *usual, *options)
        assert code == 2
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert list(run.parent.iterdir()) == []
        return err

    return call


@pytest.mark.parametrize("save", FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(save: Save, share: float, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    save(parameters("PredRNN"), whole)
    read_file(whole)
    content = whole.read_bytes()
    cut.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"empty|cut short|damaged|not a weight file"):
        read_file(cut)


@pytest.mark.parametrize("save", FORMATS)
def test_damaged_bytes_are_refused_or_read_but_never_crash(save: Save, tmp_path: Path) -> None:
    state = {name: value[:1, :1].contiguous() for name, value in list(parameters("PredRNN").items())[:2]}
    file, draw = tmp_path / "damaged", random.Random(0)
    save(state, file)
    whole = file.read_bytes()
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(draw.choice([1, 3, 20])):
            content[draw.randrange(len(content))] = draw.randrange(256)
        file.write_bytes(content)
        with suppress(CheckpointError):
            read_file(file)


def test_a_truncated_file_on_the_command_line(refused: Callable[..., str], predrnn_file: Path) -> None:
    predrnn_file.write_bytes(predrnn_file.read_bytes()[:-100])
    assert "cut short or damaged" in refused(predrnn_file)


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("where", ["weights", "beside"])
def test_a_hostile_pickle_is_not_run(new_format: bool, where: str, refused: Callable[..., str], tmp_path: Path) -> None:
    file, marker = tmp_path / "hostile.pth", tmp_path / "it-ran"
    state: dict[str, Any] = parameters("PredRNN")
    held = {**state, "x": Hostile(marker)} if where == "weights" else {"state_dict": state, "args": Hostile(marker)}
    torch.save(held, file, _use_new_zipfile_serialization=new_format)
    told = refused(file)
    assert "mkdir" in told
    assert "nothing of it was run" in told
    assert not marker.exists()


def test_a_bare_hostile_pickle_is_not_run(refused: Callable[..., str], tmp_path: Path) -> None:
    file, marker = tmp_path / "hostile.pkl", tmp_path / "it-ran"
    file.write_bytes(pickle.dumps({"state_dict": Hostile(marker)}))
    assert "hostile.pkl" in refused(file)
    assert not marker.exists()


def test_a_hostile_array_is_not_run(refused: Callable[..., str], tmp_path: Path) -> None:
    file, marker = tmp_path / "hostile.npz", tmp_path / "it-ran"
    np.savez(file, weight=np.array([Hostile(marker)], dtype=object))
    assert "refused" in refused(file, source="mim")
    assert not marker.exists()


def test_a_pickled_module_is_refused_by_the_name_of_its_class(refused: Callable[..., str], tmp_path: Path) -> None:
    torch.save(torch.nn.Conv2d(1, 1, 3), tmp_path / "whole.pth")
    told = refused(tmp_path / "whole.pth")
    assert "Conv2d" in told
    assert "state_dict" in told


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("notes.txt", b"these are no weights", "not a weight file"),
        ("field.nc", b"\x89HDF\r\n\x1a\n" + bytes(64), "not a weight file"),
        ("model.ckpt-80000.index", bytes(64), "TensorFlow checkpoint"),
        ("empty.pth", b"", "empty"),
    ],
)
def test_no_weight_file(name: str, content: bytes, says: str, refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert says in refused(tmp_path / name)


def test_an_archive_of_something_else(refused: Callable[..., str], tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("README.md", "hello")
    (tmp_path / "code.zip").write_bytes(buffer.getvalue())
    assert "README.md" in refused(tmp_path / "code.zip")


def test_no_file_a_folder_and_the_stem_of_a_tensorflow_checkpoint(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "absent.pth")
    assert "folder" in refused(tmp_path)
    (tmp_path / "model.ckpt-80000.index").write_bytes(bytes(8))
    assert "savez" in refused(tmp_path / "model.ckpt-80000", source="predrnn-pp")


def test_an_existing_directory(stkit_command: Command, predrnn_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "mine.txt").write_text("keep")
    options = ("--patch-size", 2, "--size", 16)
    code, _, err = stkit_command("import", "openstl", predrnn_file, "-o", run, *options)
    assert code == 2
    assert "not empty" in err
    assert [path.name for path in run.iterdir()] == ["mine.txt"]
    code, _, err = stkit_command("import", "openstl", predrnn_file, "-o", predrnn_file, *options)
    assert code == 2
    assert "this is a file" in err


def test_unknown_and_missing_parameters_are_named(refused: Callable[..., str], tmp_path: Path) -> None:
    state = parameters("PredRNN")
    del state["cell_list.1.conv_m.0.weight"]
    state["cell_list.1.conv_z.0.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "odd.pth")
    told = refused(tmp_path / "odd.pth")
    assert "missing: cell_list.1.conv_m.0.weight" in told
    assert "unknown: cell_list.1.conv_z.0.weight" in told


def test_a_missing_layer(refused: Callable[..., str], tmp_path: Path) -> None:
    state = {name.replace("cell_list.1.", "cell_list.2."): value for name, value in parameters("PredRNN").items()}
    torch.save(state, tmp_path / "gap.pth")
    assert "layers are missing" in refused(tmp_path / "gap.pth")


@pytest.mark.parametrize("missing", ["cell_list.0.conv_x.0.weight", "cell_list.1.conv_last.weight", "conv_last.weight"])
def test_a_missing_parameter_that_sizes_are_read_from(
    missing: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    state = parameters("PredRNN")
    del state[missing]
    torch.save(state, tmp_path / "odd.pth")
    assert missing in refused(tmp_path / "odd.pth")


def test_another_shape_is_named(refused: Callable[..., str], tmp_path: Path) -> None:
    state = parameters("PredRNN")
    state["cell_list.1.conv_h.0.weight"] = torch.zeros(28, 7, 5, 5)
    torch.save(state, tmp_path / "odd.pth")
    assert "cell_list.1.conv_h.0.weight is (28, 7, 5, 5) instead of (32, 8, 5, 5)" in refused(tmp_path / "odd.pth")
    state["cell_list.0.conv_x.0.weight"] = torch.zeros(56)
    torch.save(state, tmp_path / "odd.pth")
    assert "cell_list.0.conv_x.0.weight" in refused(tmp_path / "odd.pth")


def test_widths_that_make_no_model(refused: Callable[..., str], tmp_path: Path) -> None:
    state = parameters("PredRNN")
    state["cell_list.1.conv_last.weight"] = torch.zeros(6, 12, 1, 1)
    torch.save(state, tmp_path / "odd.pth")
    told = refused(tmp_path / "odd.pth")
    assert "the widths found make no model" in told


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(bad: float, refused: Callable[..., str], tmp_path: Path) -> None:
    state = parameters("PredRNN")
    state["cell_list.1.conv_m.0.weight"][3, 2, 1, 0] = bad
    torch.save(state, tmp_path / "nan.pth")
    told = refused(tmp_path / "nan.pth")
    assert "cell_list.1.conv_m.0.weight" in told
    assert "NaN" in told


def test_another_architecture(refused: Callable[..., str], tmp_path: Path) -> None:
    torch.save({"layer1.0.conv1.weight": torch.zeros(8, 8, 3, 3), "fc.bias": torch.zeros(10)}, tmp_path / "resnet.pth")
    told = refused(tmp_path / "resnet.pth")
    assert "not recognised as a model of OpenSTL" in told
    assert "layer1.0.conv1.weight" in told


def test_another_source(refused: Callable[..., str], tmp_path: Path) -> None:
    torch.save(parameters("MIM"), tmp_path / "mim.pth")
    assert "`stkit import openstl`" in refused(tmp_path / "mim.pth", source="mim")
    torch.save(parameters("PredRNNpp"), tmp_path / "predrnnpp.pth")
    assert "`stkit import openstl`" in refused(tmp_path / "predrnnpp.pth", source="predrnn-pytorch")
    assert "did you mean 'openstl'" in refused(tmp_path / "mim.pth", source="open-stl")


def test_weights_of_another_grid(refused: Callable[..., str], tmp_path: Path) -> None:
    torch.save(parameters("MIM"), tmp_path / "mim.pth")
    told = refused(tmp_path / "mim.pth", "--patch-size", 2, "--size", "32x32", sizes=False)
    assert "--size 32x32" in told
    assert "16x16" in told
    torch.save(lightning(parameters("MIM"), in_shape=[4, 1, 32, 32]), tmp_path / "mim.ckpt")
    assert "32x32" in refused(tmp_path / "mim.ckpt", sizes=False)


def test_patch_sizes_that_do_not_fit(refused: Callable[..., str], predrnn_file: Path, tmp_path: Path) -> None:
    told = refused(predrnn_file, "--patch-size", 3, "--size", 16, sizes=False)
    assert "4 channels" in told
    assert "--patch-size 2: 1 channels" in told
    assert "patches of 1 x 1 cells" in refused(predrnn_file, "--patch-size", 1, "--size", 16, sizes=False)
    assert "say which" in refused(predrnn_file, "--size", 16, sizes=False)
    assert "--size 15x15" in refused(predrnn_file, "--patch-size", 2, "--size", 15, sizes=False)
    torch.save(lightning(parameters("PredRNN")), tmp_path / "best.ckpt")
    assert "says that its patches are 2" in refused(tmp_path / "best.ckpt", "--patch-size", 1, sizes=False)
    assert read("openstl", predrnn_file, patch_size=1, channels=4).channels == 4


def test_options_that_make_no_sense(refused: Callable[..., str], predrnn_file: Path) -> None:
    assert "did you mean 'openstl-0.3'" in refused(predrnn_file, "--semantics", "openstl-0.33")
    assert "not the authors' PyTorch code" in refused(
        predrnn_file, "--semantics", "openstl-1.0", source="predrnn-pytorch"
    )
    assert "--size 'big'" in refused(predrnn_file, "--patch-size", 2, "--size", "big", sizes=False)
    assert "at least 1" in refused(predrnn_file, "--horizon", 0)
    assert "belong together" in refused(predrnn_file, "--mean", "3")
    assert "positive" in refused(predrnn_file, "--mean", "3", "--std", "0")
    assert "--std 'a'" in refused(predrnn_file, "--mean", "3", "--std", "a")
    assert "2 numbers for 1 channel" in refused(predrnn_file, "--mean", "3,4", "--std", "1")
    assert "expected NAME" in refused(predrnn_file, "--variable", ":K")
    assert "give the height and width" in refused(predrnn_file, "--patch-size", 2, sizes=False)
    assert "4 channels" in refused(predrnn_file, "--variable", "u:m/s", "--variable", "v:m/s")


def test_what_cannot_be_reproduced_is_refused_with_the_reason(refused: Callable[..., str], tmp_path: Path) -> None:
    torch.save(parameters("E3DLSTM"), tmp_path / "e3d.pth")
    told = refused(tmp_path / "e3d.pth")
    assert "attention" in told
    assert "memory M is never updated" in told
    torch.save(parameters("PredRNNpp", norm=True), tmp_path / "predrnnpp.pth")
    assert "OpenSTL itself cannot run" in refused(tmp_path / "predrnnpp.pth")
    torch.save(lightning(parameters("PredRNN"), stride=2), tmp_path / "stride.ckpt")
    assert "stride of 2" in refused(tmp_path / "stride.ckpt", sizes=False)


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}, {"weights": {"a": torch.zeros(1)}}, {}])
def test_nothing_that_has_parameters_by_name(content: Any, refused: Callable[..., str], tmp_path: Path) -> None:
    torch.save(content, tmp_path / "odd.pth")
    assert "odd.pth" in refused(tmp_path / "odd.pth")


def test_something_else_among_the_parameters(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1), "b": "text"}}, tmp_path / "odd.pth")
    with pytest.raises((CheckpointError, UsageError), match=r"no parameters found|no array"):
        read_file(tmp_path / "odd.pth")
