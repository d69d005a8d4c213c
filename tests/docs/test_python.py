"""The Python of the pages runs, on the data that the pages make."""

from __future__ import annotations

import matplotlib
import pytest
import torch

from stkit.predict.forecast import predict
from stkit.recipe import load
from stkit.run.execute import execute
from tests.docs.pages import DOCS, blocks, python_blocks

PYTHON = DOCS / "guides" / "python.md"
NETCDF = DOCS / "start" / "your-own-netcdf.md"


def run(block, names):
    code = "\n" * (block.line - 1) + block.body
    exec(compile(code, str(block.page), "exec"), names)  # the pages' own code


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_page_on_python_runs(capsys):
    names: dict[str, object] = {}
    ran = [run(block, names) for block in python_blocks(PYTHON) if "runs/mine" not in block.body]
    assert len(ran) >= 6
    assert "give the layers equal widths" in capsys.readouterr().out


def test_the_page_on_netcdf_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    make, look = python_blocks(NETCDF)
    run(make, {})
    (recipe,) = [block for block in blocks(NETCDF) if block.info == "yaml"]
    (tmp_path / "mine.yaml").write_text(recipe.body, encoding="utf-8")
    small = ["train.steps=2", "model.layers=[4,4]", "data.crop={height: 8, width: 8}"]
    execute(load("mine.yaml", small), out=tmp_path / "runs" / "mine", evaluate=False)
    predict("runs/mine", "sst.nc", "forecast.nc")
    run(look, {})
    (trained,) = [block for block in python_blocks(PYTHON) if "runs/mine" in block.body]
    names: dict[str, object] = {}
    run(trained, names)
    assert names["forecast"].shape == (1, 1, 12, 24)
