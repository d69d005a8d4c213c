"""A diagnosis of every architecture, what it writes, its place in the report, and what it refuses."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from stkit.cli.main import run as stkit
from stkit.diagnose.figures.maps import on_field
from stkit.diagnose.findings import findings
from stkit.diagnose.gates import Bounds
from stkit.diagnose.run import diagnose, told_apart
from stkit.diagnose.windows import choose
from stkit.diagnose.write import write_diagnosis
from stkit.errors import DataError, RunFailed, UsageError
from stkit.evaluate.figures import canvas
from stkit.evaluate.report import write_report
from stkit.run.directory import RunDirectory
from tests.diagnose.conftest import HEIGHT, HORIZON, INPUT_STEPS, SMALL, WIDTH

EVIL = "<script>alert('x')</script>"
MEMORIES = {
    "convlstm": ["C"],
    "predrnn": ["C", "M"],
    "predrnnpp": ["C", "M", "Z"],
    "e3d_lstm": ["M"],
    "mim": ["C", "M", "N", "S"],
    "mim_star": ["C", "M", "N", "S"],
}
OVERLAPPING = {"predrnn": [1, 2], "predrnnpp": [1, 3], "mim": [1, 2, 3], "mim_star": [1, 2]}


@pytest.fixture(scope="module")
def predrnn(make_run):
    """A run that tests only read; those that write take a copy."""
    return make_run("predrnn")


@pytest.fixture
def copied(predrnn, tmp_path):
    shutil.copytree(predrnn.path, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


@pytest.fixture
def drawn_once(monkeypatch):
    """Figures light and wide only: drawing takes most of the time."""
    monkeypatch.setattr(canvas, "THEMES", (canvas.LIGHT,))
    monkeypatch.setattr(canvas, "FORMATS", (canvas.WIDE,))


@pytest.fixture(scope="module")
def diagnosed(predrnn, tmp_path_factory):
    """A run with its diagnosis and all versions of the figures, and what the command told."""
    path = tmp_path_factory.mktemp("diagnosed") / "run"
    shutil.copytree(predrnn.path, path)
    with contextlib.redirect_stdout(io.StringIO()) as told:
        assert stkit(["diagnose", str(path), "--windows", "2"]) == 0
    return RunDirectory(path), " ".join(told.getvalue().split())


@pytest.fixture
def again(diagnosed, tmp_path):
    """A copy of it to change."""
    shutil.copytree(diagnosed[0].path, tmp_path / "again")
    return RunDirectory(tmp_path / "again")


@pytest.mark.parametrize("name", SMALL)
def test_every_architecture(name, make_run, tmp_path, drawn_once):
    run = make_run(name)
    found, field = diagnose(run, windows=2)
    assert sorted({one.memory for one in found.gates}) == MEMORIES[name]
    assert [one.layer for one in found.overlaps] == OVERLAPPING.get(name, [])
    assert {one.layer for one in found.comparisons} == {"mim": {2, 3}, "mim_star": {2}}.get(name, set())
    assert [ages.layer for ages in found.ages] == ([2, 3] if name == "e3d_lstm" else [])
    (flow,) = found.gradients
    assert len(flow.norms) == INPUT_STEPS
    assert all(norm > 0 for norm in flow.norms), "every input frame reaches the last forecast"
    assert found.leads[-1] == HORIZON
    for one in found.gates:
        assert one.steps == tuple(range(len(found.leads)))
        assert all(0 <= share <= 1 for share in one.saturated)
    layers = {one.layer for one in found.drifts}
    assert layers == ({2, 3} if name == "e3d_lstm" else set(range(1, len(SMALL[name]["layers"]) + 1)))
    written = write_diagnosis(found, field, tmp_path / "diagnosis.json", tmp_path)
    assert json.loads((tmp_path / "diagnosis.json").read_text()) == json.loads(json.dumps(written, allow_nan=False))
    for drawn in written["figures"]:
        assert len(drawn["caption"]) > 60
        assert len(drawn["alt"]) > 20
        assert (tmp_path / f"{drawn['stem']}.png").exists()
    told = {finding.about for finding in findings(found)}
    assert {"gates", "gradients"} <= told


def test_looking_leaves_the_weights_and_the_forecast_alone(predrnn):
    before = {path.name: path.read_bytes() for path in predrnn.checkpoints.rglob("*.safetensors")}
    one, _ = diagnose(predrnn, windows=2)
    other, _ = diagnose(predrnn, windows=2)
    assert one == other
    assert before == {path.name: path.read_bytes() for path in predrnn.checkpoints.rglob("*.safetensors")}


def test_gates_over_land_do_not_count(make_run):
    """Patches of 2 x 2 cells on 6 x 9: 3 x 5, of which 1 x 2 are nothing but land."""
    found, field = diagnose(make_run("convlstm"), windows=1)
    assert int(field.folded.sum()) == 13
    assert {one.counted for one in found.gates} == {3 * 13}


def test_recall_in_a_cell_with_two_axes(make_run):
    run = make_run("convlstm", model={"transition": {"name": "recall", "tau": 3, "norm": None}})
    found, field = diagnose(run, windows=2)
    assert not found.gates, "RECALL stands in the place of the only forget gate"
    assert findings(found)[0].text == "No cell of this model shows a forget gate."
    for ages in found.ages:
        assert ages.sources == ("t-3", "t-2", "t-1")
        assert all(sum(weights) == pytest.approx(1, abs=1e-6) for weights in ages.weights)
        assert ages.weights[1][:2] == pytest.approx((0, 0)), "at the second step there is one memory"
    for drawn in found.age_maps:
        ages = drawn.age[field.folded.numpy()]
        assert ((ages >= 1 - 1e-6) & (ages <= 3 + 1e-6)).all()
        assert np.isnan(drawn.age[~field.folded.numpy()]).all()


ATTENTION = {"x": "self_attention", "h": "self_attention_memory", "m": "axial_attention"}


def test_attention_on_several_places(make_run, tmp_path, drawn_once):
    run = make_run("predrnn", model={"attention": ATTENTION, "layers": [4, {"width": 4, "attention": {"x": None}}]})
    found, field = diagnose(run, windows=2)
    here = [(look.layer, look.place) for look in found.looks]
    above = [(2, "h"), (2, "h, at its memory"), (2, "m, columns"), (2, "m, rows")]
    assert here == [(1, "h"), (1, "h, at its memory"), (1, "m, columns"), (1, "m, rows"), (1, "x"), *above]
    for look in found.looks:
        assert 1 - 1e-9 <= look.cells <= 13 + 1e-9
        assert look.available == 13
    for one in found.look_maps:
        assert one.weights.shape == (3, *field.folded.shape)
        assert not one.weights[:, ~field.folded.numpy()].any(), "land is never looked at"
        np.testing.assert_allclose(one.weights.sum(axis=(1, 2)), 1, rtol=1e-5)
        row, column = one.queries[0]
        if one.place == "m, rows":
            assert not np.delete(one.weights[0], row, axis=0).any()
        if one.place == "m, columns":
            assert not np.delete(one.weights[0], column, axis=1).any()
    assert {one.memory for one in found.gates} == {"C", "M", "attention memory (h)"}
    written = write_diagnosis(found, field, tmp_path / "diagnosis.json", tmp_path)
    assert sum(one["stem"].startswith("diagnosis-attention-") for one in written["figures"]) == 6
    (told,) = [one["text"] for one in written["findings"] if one["about"] == "attention"]
    assert told.startswith("The 9 attentions look at ")


@pytest.mark.parametrize("name", ["differencing", "reversible_norm", "trend_season"])
def test_a_module_for_fields_that_are_not_stationary(name, make_run):
    found, _ = diagnose(make_run("predrnn", model={"nonstationary": name}, data={"departure_from": "none"}), windows=1)
    assert all(norm > 0 for norm in found.gradients[0].norms)
    assert len(found.gates) == 4


def test_attention_inside_mim(make_run):
    run = make_run("mim", model={"attention": {"d": {"name": "windowed_attention", "window": 2}}})
    found, _ = diagnose(run, windows=1)
    assert {(look.layer, look.place) for look in found.looks} == {(2, "d"), (3, "d")}
    assert all(look.cells <= 4 + 1e-9 for look in found.looks), "a window has four patches"


def test_a_model_that_ignores_all_but_the_last_frame(make_run):
    """With the gates of C and M shut and H unread, nothing of an earlier frame is left."""

    def forget(forecaster):
        for cell in forecaster.network.stack.nodes:
            cell.gates.kernels["h"].zero_()
            cell.gates.kernels["m"].zero_()
            for gate in ("f", "f'"):
                cell.gates.bias[cell.gates.gates.index(gate)] = -1e4

    run = make_run("predrnn", forget, model={"cell": {"kernel": 3, "bias": True}}, data={"departure_from": "none"})
    found, _ = diagnose(run, windows=1)
    *early, last = found.gradients[0].norms
    assert early == [0] * (INPUT_STEPS - 1)
    assert last > 0
    told = next(one.text for one in findings(found) if one.about == "gradients")
    assert "0 times as strongly" in told


def test_maps_lie_on_the_field(predrnn):
    _, field = diagnose(predrnn, windows=1)
    folded = np.arange(15.0).reshape(3, 5)
    cells = on_field(folded, field)
    assert cells.shape == (HEIGHT, WIDTH)
    assert np.isnan(cells[:2, :4]).all()
    assert cells[2, 0] == 5
    assert cells[5, 8] == 14


def test_runs_beside_each_other(make_run, predrnn):
    other = make_run("predrnnpp")
    found, _ = diagnose(predrnn, [other], windows=2)
    alone, _ = diagnose(other, windows=2)
    assert [flow.name for flow in found.gradients] == ["small-predrnn", "small-predrnnpp"]
    assert found.gradients[1].norms == alone.gradients[0].norms
    assert sum("small-predrnnpp" in one.text for one in findings(found)) == 1
    assert not other.diagnosis.exists()


def test_runs_of_one_recipe_are_told_apart_by_their_folders(make_run, predrnn):
    other = make_run("predrnn", model={"layers": [3]})
    found, _ = diagnose(predrnn, [other], windows=1)
    named = [flow.name for flow in found.gradients]
    assert named == [f"small-predrnn in {run.path}" for run in (predrnn, other)], "the folders have one name, too"
    flows = [
        replace(flow, run=where) for flow, where in zip(found.gradients, ("runs/with", "runs/without"), strict=True)
    ]
    plain = [replace(flow, name="demo") for flow in flows]
    assert [flow.name for flow in told_apart(plain)] == ["demo in with", "demo in without"]
    assert told_apart(plain[:1]) == tuple(plain[:1])


def test_runs_on_other_windows_are_not_compared(make_run, predrnn):
    other = make_run("predrnn", data={"horizon": 1})
    with pytest.raises(UsageError, match="on the same windows"):
        diagnose(predrnn, [other])


def test_the_command_and_the_report(diagnosed):
    run, told = diagnosed
    assert "2 windows of the validation part, weights of step 1" in told
    assert "of the forget gates of C are saturated (below 0.1 or above 0.9)" in told
    assert "The MIM paper says about 80 %" in told
    assert str(run.report) in told
    page = run.report.read_text(encoding="utf-8")
    assert "<h2>Seeing inside</h2>" in page
    assert page.count("Saturated forget gates.</b>") == 1
    assert "another seed gives other numbers" in page
    assert page.index("Seeing inside") < page.index("How to repeat it")
    figures = json.loads(run.diagnosis.read_text())["figures"]
    assert [one["stem"].removeprefix("diagnosis-") for one in figures] == [
        "gates",
        "gradients",
        "stationarity",
        "decoupling",
    ]
    for version, widths in {"": (1200, 1400), ".dark": (1200, 1400), ".narrow": (540, 620)}.items():
        with Image.open(run.figures / f"diagnosis-gates{version}.png") as image:
            assert widths[0] < image.width < widths[1]


def test_json_on_stdout_is_the_file(copied, capsys, drawn_once, tmp_path):
    options = ["--windows", "1", "--json", "--saturated", "0.4", "0.6", "--out", str(tmp_path / "seen")]
    assert stkit(["diagnose", str(copied.path), *options]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["gates"]["saturated"] == {"below": 0.4, "above": 0.6}
    assert data["gates"]["claim"]["share"] == 0.8
    assert data == json.loads((tmp_path / "seen" / "diagnosis.json").read_text())


def test_another_folder_leaves_the_run_as_it_was(copied, tmp_path, capsys, drawn_once):
    before = sorted(path.relative_to(copied.path) for path in copied.path.rglob("*"))
    out = tmp_path / "seen"
    assert stkit(["diagnose", str(copied.path), "--data", "test", "--windows", "1", "--out", str(out)]) == 0
    assert sorted(path.relative_to(copied.path) for path in copied.path.rglob("*")) == before
    assert json.loads((out / "diagnosis.json").read_text())["part"] == "test"
    assert (out / "diagnosis-gates.png").exists()
    assert "report " not in capsys.readouterr().out


def test_figures_of_an_earlier_diagnosis_go(copied, drawn_once):
    found, field = diagnose(copied, windows=1)
    (copied.figures / "diagnosis-attention-9-h.png").write_bytes(b"old")
    (copied.figures / "loss.png").write_bytes(b"of the run")
    write_diagnosis(found, field, copied.diagnosis, copied.figures)
    assert not (copied.figures / "diagnosis-attention-9-h.png").exists()
    assert (copied.figures / "loss.png").exists()


def test_no_diagnosis_no_section(copied):
    write_report(copied)
    assert "Seeing inside" not in copied.report.read_text(encoding="utf-8")


def test_the_report_escapes_what_it_shows(again):
    content = json.loads(again.diagnosis.read_text())
    content["looked_at"] = content["findings"][0]["text"] = content["figures"][0]["caption"] = EVIL
    again.diagnosis.write_text(json.dumps(content))
    write_report(again)
    page = again.report.read_text(encoding="utf-8")
    assert page.count("<script") == 1, "the page's own"
    assert "&lt;script" in page


def test_a_figure_that_is_gone_is_told(again):
    (again.figures / "diagnosis-gates.dark.png").unlink()
    with pytest.raises(UsageError, match="stkit diagnose"):
        write_report(again)


@pytest.mark.parametrize("damage", ["{", "[]", '{"figures": 3}', '{"looked_at": "", "findings": [{}], "figures": []}'])
def test_a_damaged_diagnosis_is_told(copied, damage):
    copied.diagnosis.write_text(damage)
    with pytest.raises(UsageError, match="stkit diagnose"):
        write_report(copied)


def refused(arguments, capsys):
    assert stkit(["diagnose", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err


def test_what_is_refused(copied, tmp_path, capsys, make_run):
    (tmp_path / "empty").mkdir()
    assert "not a run directory" in refused([tmp_path / "empty"], capsys)
    assert "no such run directory" in refused([tmp_path / "nowhere"], capsys)
    assert "no checkpoint yet" in refused([make_run("predrnn", weights=False).path], capsys)
    assert "at least 1 window" in refused([copied.path, "--windows", "0"], capsys)
    assert "between 0 and 1" in refused([copied.path, "--saturated", "0.9", "0.1"], capsys)
    assert "this is a file" in refused([copied.path, "--out", copied.recipe], capsys)
    assert "'train' is not one of" in refused([copied.path, "--data", "train"], capsys)


def test_a_part_without_windows_is_told():
    class Nothing:
        part = "validation"

        def __len__(self):
            return 0

    with pytest.raises(DataError, match="the validation part has no windows"):
        choose(Nothing(), 3)


def test_a_forecast_that_is_not_finite_is_told(make_run):
    def break_it(forecaster):
        next(forecaster.network.head.parameters()).fill_(float("inf"))

    with pytest.raises(RunFailed, match="not finite"):
        diagnose(make_run("predrnn", break_it), windows=1, bounds=Bounds())
