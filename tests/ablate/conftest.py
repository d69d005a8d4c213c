"""A small field, a recipe on it as a file, and ablations whose runs are made up."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from stkit.ablate import report
from stkit.ablate import run as running
from stkit.ablate.pool import Ended, Pool, Task
from stkit.evaluate.window_errors import ErrorsFile, read_errors
from stkit.recipe import load
from stkit.run.directory import RunDirectory
from stkit.run.execute import execute

torch.set_num_threads(1)

RECIPE = """\
summary: tiny
seed: 5
data:
  dataset: {{name: netcdf, path: {path}}}
  input_steps: 2
  horizon: 1
model: {{name: predrnn, layers: [2, 2], cell: {{kernel: 3}}}}
train:
  steps: 40
  batch_size: 4
  loss: {{name: mse}}
  sampling: {{name: scheduled, decrease_per_step: 0.05, stop_step: 20}}
  schedule: {{name: cosine, warmup_steps: 10}}
  early_stopping: {{patience: 3}}
  evaluate_every_steps: 10
  checkpoint_every_steps: 20
evaluate: {{metrics: [rmse], baselines: [persistence, climatology], maps: 0, batch_size: 32}}
"""


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 months of 4 x 5 cells; the test part has 22 windows of 3 steps: 7 blocks."""
    folder = tmp_path_factory.mktemp("ablate")
    rng = np.random.default_rng(0)
    values = np.zeros((160, 4, 5))
    for step in range(1, len(values)):
        values[step] = 0.7 * values[step - 1] + rng.normal(size=values.shape[1:])
    times = (np.datetime64("2001-01", "M") + np.arange(len(values))).astype("datetime64[ns]")
    field = xr.Dataset({"sst": (("time", "y", "x"), values.astype("f4"), {"units": "degC"})}, coords={"time": times})
    field.to_netcdf(folder / "field.nc", engine="h5netcdf")
    path = folder / "tiny.yaml"
    path.write_text(RECIPE.format(path=folder / "field.nc"))
    return path


@pytest.fixture(scope="session")
def template(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run that was really trained and scored: what those that are only made up are copies of."""
    return execute(load(str(recipe), ["train.steps=4"]), out=tmp_path_factory.mktemp("run") / "template").run.path


class QuickPool(Pool):
    """Makes the runs that it is asked for without training: copies of a trained one with errors of their own."""

    commands: list[tuple[str, ...]] = []
    template = Path()

    def run(self, tasks: Sequence[Task]) -> Iterator[Ended]:
        for task in tasks:
            QuickPool.commands.append(task.command)
            assert task.command[:3] == ("-m", "stkit", "--quiet")
            verb, what, *rest = task.command[3:]
            code = self.resumed(Path(what)) if verb == "resume" else self.trained(what, rest[0], Path(rest[2]))
            yield Ended(task, code, "", "", 1.0)

    def trained(self, file: str, seed: str, out: Path) -> int:
        shutil.copytree(self.template, out)
        run, loaded = RunDirectory(out), load(file, [seed])
        run.recipe.write_text(loaded.resolved_yaml())
        steps = loaded.recipe.train.steps
        run.update_record(recipe_hash=loaded.hash, seed=loaded.recipe.seed, steps=steps, step=steps)
        if loaded.recipe.train.optimiser.lr > 1:
            run.update_record(outcome="failed", reason="the loss is not finite at step 2")
            return 1
        return self.resumed(out)

    def resumed(self, out: Path) -> int:
        run = RunDirectory(out)
        errors = read_errors(self.template / "errors.nc")
        rng = np.random.default_rng(int(run.read_record()["recipe_hash"][:8], 16))
        squared = errors.errors.squared.copy()
        squared[0] *= rng.uniform(0.5, 1.5, size=squared.shape[1:])
        with ErrorsFile(run.errors, errors.layout) as written:
            written.write(0, errors.errors._replace(squared=squared))
        run.update_record(outcome="finished", reason=None)
        return 0


@pytest.fixture
def quick(template: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Runs are made up, and the page is no more than its notes; gives the commands that would have been run."""
    QuickPool.commands, QuickPool.template = [], template
    monkeypatch.setattr(running, "_pool", lambda jobs, lock: QuickPool(1))
    monkeypatch.setattr(report, "write_page", lambda study, path, figures, **said: path.write_text(str(said["notes"])))
    return QuickPool.commands
