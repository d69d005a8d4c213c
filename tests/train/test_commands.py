"""``stkit recipe`` and ``stkit resume`` in this process: what they print, where, and their exit codes."""

import json

import pytest
from ruamel.yaml import YAML

from stkit.cli.main import run


@pytest.fixture
def file(recipe, tmp_path, monkeypatch):
    for name in ("WORLD_SIZE", "LOCAL_RANK", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    with open("small.yaml", "w") as stream:
        YAML().dump(recipe({"train.steps": 2}).recipe.model_dump(mode="json"), stream)
    return "small.yaml"


def test_recipe_trains_scores_and_says_where_the_report_is(file, tmp_path, capsys):
    assert run(["recipe", file, "--out", "run"]) == 0
    told = capsys.readouterr()
    for part in (
        "model",
        "persistence",
        "climatology",
        "damped anomaly",
        "1 month",
        "2 months",
        "report  run/report.html",
    ):
        assert part in told.out
    assert "step 2/2" in told.err
    assert "step 2/2" not in told.out
    for name in ("recipe.yaml", "run.json", "metrics.jsonl", "scores.json", "forecast.nc", "report.html", "CARD.md"):
        assert (tmp_path / "run" / name).is_file()
    assert run(["recipe", file, "--out", "run"]) == 2
    assert "holds a run already, and nothing is overwritten" in capsys.readouterr().err
    assert run(["recipe", "run", "--out", "again", "--no-eval"]) == 0  # a run directory is a recipe
    assert (tmp_path / "again" / "recipe.yaml").read_bytes() == (tmp_path / "run" / "recipe.yaml").read_bytes()


def test_json_is_all_there_is_on_stdout(file, capsys):
    assert run(["recipe", file, "--json", "--no-eval"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["run"].startswith("runs/small/")
    assert (told["outcome"], told["step"], told["scores"], told["report"]) == ("finished", 2, None, None)
    assert run(["resume", told["run"], "--json"]) == 0
    resumed = json.loads(capsys.readouterr().out)
    assert resumed["scores"]["windows"] == 5
    assert resumed["report"].endswith("report.html")


def test_dry_run_writes_nothing(file, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    assert run(["recipe", file, "--dry-run"]) == 0
    assert "parameters" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


def test_quiet(file, tmp_path, capsys):
    assert run(["-q", "recipe", file, "--out", "run", "--no-eval"]) == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == ("run\n", "")
    assert "step 2/2" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recipe", "small.yaml", "data.dataset.path=nowhere.nc"], "no such file: 'nowhere.nc'"),
        (["recipe", "small.yaml", "data.dataset.variables=[tos]"], "tos"),
        (["recipe", "small.yaml", "data.horizon=99"], "window"),
        (["recipe", "small.yaml", "train.optimiser.name=rmspropp"], "did you mean 'rmsprop'"),
        (["resume", "nowhere"], "nowhere: no such run directory"),
        (["resume", "."], ".: not a run directory"),
        (["recipe", "small.yaml", "--out", "small.yaml"], "this is a file"),
    ],
)
def test_bad_requests_end_with_2_and_leave_nothing(file, tmp_path, capsys, arguments, message):
    out = [] if "--out" in arguments or arguments[0] == "resume" else ["--out", "run"]
    assert run([*arguments, *out]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: ")
    assert message in told.err
    assert not (tmp_path / "run").exists()


WINOGRAD = "model.engine=winograd"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ([], "engine auto: all gate blocks directly: 4 too small to gain from it, 3 with kernels of 1 x 1"),
        (["model.cell.kernel=7"], "engine auto: all gate blocks directly: 4 with kernels of 7 x 7, 3 with kernels of"),
        (["train.precision=bf16"], "engine auto: all gate blocks directly: 7 in bf16 on cpu"),
        ([WINOGRAD], None),
        (["model.engine=fused", "model.cell.kernel=7"], None),
        (["model.engine=direct", "train.precision=bf16"], None),
    ],
    ids=str,
)
def test_an_engine_that_does_not_fit_everywhere_is_one_line_of_the_log(file, tmp_path, capsys, given, line):
    assert run(["recipe", file, "train.steps=1", *given, "--out", "run", "--no-eval"]) == 0
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.count("engine ") == (0 if line is None else 1)
    assert (line or "") in log
    assert capsys.readouterr().err.count("engine ") == log.count("engine ")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["model.cell.kernel=1"], "no cell of this model has them, but 1 x 1; say auto"),
        (["model.cell.kernel=7"], "no cell of this model has them, but 7 x 7, 1 x 1; say auto"),
        (["train.precision=bf16"], "winograd computes in float32 on a processor, not in bf16 on cpu; say auto"),
    ],
    ids=str,
)
def test_an_engine_that_is_insisted_on_and_fits_nowhere_is_refused(file, tmp_path, capsys, given, message):
    assert run(["recipe", file, WINOGRAD, *given, "--out", "run"]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("error:") == 1
    assert not (tmp_path / "run").exists()
