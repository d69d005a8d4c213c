"""``stkit bench``: what is counted, what is compared, and what is refused."""

import copy
import json
import re
from typing import get_args

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import stkit
from stkit.bench import compare as compare_module
from stkit.bench.compare import COUNTED, Change, compare, other_circumstances, read_record
from stkit.bench.count import launches, step_flops
from stkit.bench.generated import Generated
from stkit.bench.machine import machine, peak_flops
from stkit.bench.measure import DTYPES
from stkit.bench.startup import startup_seconds
from stkit.cli.commands.bench import _print_changes
from stkit.cli.main import run
from stkit.errors import UsageError
from stkit.recipe import load
from stkit.recipe.sections.train import TrainConfig
from stkit.train.device import make_accelerator
from stkit.train.setup import assemble

CPU = torch.device("cpu")
PART = {"seconds": 2.0, "spread": [1.9, 2.1], "sequences": 4, "peak_bytes": 1000, "launches_forward": 10}
RECORD = {
    "format": 1,
    "recipe": "small",
    "recipe_hash": "0" * 64,
    "machine": {"processor": "one", "threads": 1, "device": "cpu"},
    "training": {**PART, "launches_backward": 20},
    "forecast": PART,
}


def test_operations_that_are_no_views_are_counted():
    x = torch.rand(4, 6)
    assert launches(lambda: x.view(3, 8).transpose(0, 1)[1:].unsqueeze(0)) == 0
    assert launches(lambda: torch.tanh(x) + 1) == 2
    assert launches(lambda: x.add_(1)) == 1
    assert launches(lambda: (x @ x.t()).view(16)) == 1


@given(batch=st.integers(1, 3), steps=st.integers(2, 4), width=st.integers(1, 4), side=st.integers(3, 6))
@settings(max_examples=15)
def test_flops_are_those_of_the_convolutions(batch, steps, width, side):
    """Of ConvLSTM as printed: 4 gates from the input and the hidden state, and a head of 1 x 1; by hand."""
    model = stkit.build("convlstm", layers=[width], in_channels=1, variant="next_frame", patch=1, cell={"kernel": 3})
    frames = torch.zeros(batch, steps, 1, side, side)
    cells = batch * side * side
    forward = 2 * cells * (9 * (1 + width) * 4 * width + width)
    found = step_flops(model, frames, 1, None)
    # Backwards twice as much, but nothing to the first input and the first state: they need no gradient.
    assert 2 * (steps - 1) * forward < found <= 3 * (steps - 1) * forward
    assert step_flops(model, frames, 1, None) == found
    assert all(not parameter.is_meta for parameter in model.parameters())


@pytest.mark.parametrize("ref", ["predrnn-sst", "synthetic", "convlstm-mnist-small", "e3d-lstm-mnist-recognition"])
def test_generated_data_have_the_shapes_of_the_real_ones(ref):
    loaded = load(ref, ["train.batch_size=2"])
    data = Generated(loaded.recipe)
    training = assemble(loaded, make_accelerator())
    real, made = training.batches[0], data.stream(0, 2).batch(0)
    assert {name: value.shape for name, value in made.items()} == {name: real[name].shape for name in made}
    assert {name: value.dtype for name, value in made.items()} == {name: real[name].dtype for name in made}
    assert (data.state_channels, data.known_channels) == (training.data.state_channels, training.data.known_channels)
    context, known = data.context(0, 3)
    assert context.shape[:3] == (3, loaded.recipe.data.input_steps, data.state_channels + data.known_channels)
    assert (known is not None) == bool(data.known_channels)


def test_each_precision_has_a_peak():
    asked = TrainConfig.model_fields["precision"].annotation
    assert set(DTYPES) == set(get_args(asked))


def test_the_machine_and_its_peak():
    assert machine(CPU)["threads"] == torch.get_num_threads()
    assert 1e8 < peak_flops(CPU, torch.float32, seconds=0.01) < 1e14


def changed(**parts):
    record = copy.deepcopy(RECORD)
    for part, values in parts.items():
        record[part].update(values)
    return record


@given(
    factor=st.floats(0.2, 5), width=st.floats(0.001, 0.3), tolerance=st.floats(0, 2), part=st.sampled_from(["training"])
)
def test_a_time_is_slower_where_the_rounds_do_not_overlap(factor, width, tolerance, part):
    before = changed(training={"seconds": 1.0, "spread": [1 - width, 1 + width]})
    now = changed(training={"seconds": factor, "spread": [factor * (1 - width), factor * (1 + width)]})
    (found,) = [
        change for change in compare(before, now, tolerance) if (change.part, change.figure) == (part, "seconds")
    ]
    apart = factor * (1 - width) > 1 + width or factor * (1 + width) < 1 - width
    assert found.word == ("as before" if not apart else "slower" if factor > 1 else "faster")
    assert found.past_limit == (found.word == "slower" and factor > 1 + tolerance)


@pytest.mark.parametrize("figure", COUNTED)
@pytest.mark.parametrize(
    ("factor", "word", "past"), [(1, "as before", 0), (1.05, "more", 0), (2, "more", 1), (0.5, "less", 0)]
)
def test_counted_figures_have_no_spread(figure, factor, word, past):
    now = changed(training={figure: RECORD["training"][figure] * factor})
    (found,) = [c for c in compare(RECORD, now, 0.1) if (c.part, c.figure) == ("training", figure)]
    assert (found.word, found.past_limit) == (word, bool(past))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*RECORD, "x"]), inner, max_size=4),
)


@given(JSON, st.sampled_from([None, *RECORD]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_no_record_is_refused(tmp_path, value, place):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(value if place is None else {**RECORD, place: value}))
    fits = place is not None and place in ("recipe", "recipe_hash") and isinstance(value, str)
    fits |= place == "machine" and isinstance(value, dict)
    if fits:
        assert read_record(path)["format"] == 1
        return
    with pytest.raises(UsageError, match=f"--compare {path}: not a record of `stkit bench`"):
        read_record(path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\ufeff{}", '{"format": 1}', "NaN"])
def test_a_broken_file_is_refused(tmp_path, text):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(
        UsageError, match=r"--compare .*record.json: (cannot be read as JSON|not a record of `stkit bench)"
    ):
        read_record(path)


@pytest.mark.parametrize("figure", [*COUNTED, "seconds", "spread"])
@pytest.mark.parametrize("value", ["many", None, [], {}, -1, float("inf"), float("nan")])
def test_a_record_with_a_figure_that_is_none_is_refused(tmp_path, figure, value):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(changed(training={figure: value})))
    with pytest.raises(UsageError, match="not a record of `stkit bench"):
        read_record(path)


def test_a_record_of_another_layout_says_so(tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps({**RECORD, "format": 2}))
    with pytest.raises(UsageError, match=r"not a record of `stkit bench` that this version of stkit reads: .*format 2"):
        read_record(path)


def test_figures_are_told_with_units_and_a_wide_spread_by_its_name(capsys):
    _print_changes(
        [
            Change("training", "seconds", 0.067, 0.099, "as before", False),
            Change("training", "peak_bytes", 2_672_000.0, 5_344_000.0, "more", True),
            Change("training", "launches_forward", 1599.0, 1599.0, "as before", False),
        ],
        0.1,
    )
    time, memory, launches = capsys.readouterr().out.strip().splitlines()[1:]
    assert re.search(r"training time +0\.067 s +0\.099 s +1\.48 x +as before: the rounds of both overlap", time)
    assert re.search(r"training memory +2\.7 MB +5\.3 MB +2\.00 x +more, past the limit of 10%", memory)
    assert re.search(r"training launches forward +1,599 +1,599 +1\.00 x +as before$", launches.rstrip())


def test_what_else_differs_is_told_in_words():
    before = {**RECORD, "precision": "no", "versions": {"torch": "2.9", "numpy": "2"}, "engine": {"asked": "auto"}}
    now = {
        **RECORD,
        "precision": "bf16",
        "versions": {"torch": "2.10", "numpy": "2"},
        "engine": {"asked": "auto", "directly": {"in bf16 on cpu": 7}, "rounding": "x"},
        "memory": {"recompute": "layer", "estimated_gb": 1},
    }
    assert other_circumstances(before, now) == [
        "precision: no, now bf16",
        "engine directly: none, now 7 in bf16 on cpu",
        "memory recompute: none, now layer",
        "torch: 2.9, now 2.10",
    ]
    assert other_circumstances(now, now) == []


def bench(capsys, *arguments, code=0):
    assert run(["bench", *map(str, arguments)]) == code
    told = capsys.readouterr()
    assert told.err.count("error:") == (code == 2)
    return told


QUICK = ("--rounds", 2, "--seconds", 0, "--no-startup")


def test_a_record_is_written_and_compared(file, tmp_path, capsys, monkeypatch):
    record = tmp_path / "before.json"
    told = bench(capsys, file, *QUICK, "--out", record)
    for words in ("training", "forecast", "sequences a second", "launches", "share of the peak", str(record)):
        assert words in told.out
    found = json.loads(record.read_text())
    assert found["training"]["sequences"] == 4
    assert found["training"]["launches_forward"] > found["forecast"]["launches_forward"] > 50
    assert found["training"]["peak_bytes"] > found["forecast"]["peak_bytes"] > 0
    assert 0 < found["training"]["share_of_peak"] < 2
    assert not torch.is_grad_enabled() or list(tmp_path.iterdir())
    assert "file exists; --overwrite" in bench(capsys, file, *QUICK, "--out", record, code=2).err
    assert "this is a folder" in bench(capsys, file, *QUICK, "--out", tmp_path, code=2).err

    told = bench(capsys, file, *QUICK, "--compare", record, "--tolerance", 1000, "--json")
    changes = json.loads(told.out)["changes"]
    assert {(c["part"], c["figure"]) for c in changes if c["figure"] != "seconds" and c["word"] != "as before"} == set()

    quicker = copy.deepcopy(found)
    quicker["training"] |= {"seconds": 1e-6, "spread": [1e-6, 1e-6]}
    record.write_text(json.dumps(quicker))
    told = bench(capsys, file, *QUICK, "--compare", record, code=1)
    assert "slower, past the limit of 10%" in told.out
    assert "error" not in told.err

    told = bench(capsys, file, "train.batch_size=2", *QUICK, "--compare", record, code=2)
    assert "it is of the recipe small as it was then" in told.err
    assert "which has changed since, or has other overrides; --other-recipe compares all the same" in told.err
    told = bench(capsys, file, "train.batch_size=2", *QUICK, "--compare", record, "--other-recipe", code=1)
    assert "also different  recipe: small" in told.out
    assert "also different  sequences of a batch, training: 4, now 2" in told.out
    record.write_text(json.dumps({**found, "machine": {"processor": "abacus", "threads": 9, "device": "cpu"}}))
    told = bench(capsys, file, *QUICK, "--compare", record, code=2)
    assert "it is of another machine (abacus, 9 threads), this one is" in told.err
    record.write_text(json.dumps({**found, "machine": {**found["machine"], "threads": 9}}))
    told = bench(capsys, file, *QUICK, "--compare", record, code=2)
    assert f"it was measured with 9 threads, and here are {torch.get_num_threads()}; OMP_NUM_THREADS=9" in told.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--compare", "nowhere.json"],
            "--compare nowhere.json: there is no such file; `stkit bench --out nowhere.json`",
        ),
        (["--tolerance", "0.2"], "--tolerance goes with --compare, which is not given"),
        (["--other-recipe"], "--other-recipe goes with --compare, which is not given"),
        (["--overwrite"], "--overwrite goes with --out, which is not given"),
        (["--compare", "."], "--compare .: this is a folder"),
        (["--rounds", "0"], "0 is not in the range"),
        (["--rounds", "many"], "'many' is not a valid integer"),
        (["--seconds", "-1"], "-1.0 is not in the range"),
        (["--tolerance", "-0.1"], "-0.1 is not in the range"),
        (["train.steps=0"], "train.steps"),
        (["--tolerence", "1"], "no such option '--tolerence'"),
    ],
)
def test_bad_options(file, capsys, arguments, message):
    assert message in bench(capsys, file, *arguments, code=2).err


OPTIONS = st.sampled_from(["--rounds", "--seconds", "--tolerance"])


@given(OPTIONS, st.text(max_size=6))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fuzzed_options_are_refused_or_read(monkeypatch, capsys, option, value):
    """Nothing but one message, whatever is written behind an option; what can be read goes on to the recipe."""
    assert run(["bench", "no-such-recipe", option, value]) == 2
    told = capsys.readouterr()
    assert told.err.count("error:") == 1
    assert "Traceback" not in told.err


def test_a_run_directory_is_a_recipe(recipe, tmp_path, capsys):
    from stkit.run.execute import execute

    execute(recipe({"train.steps": 1}), out=tmp_path / "run", evaluate=False)
    found = json.loads(bench(capsys, tmp_path / "run", *QUICK, "--json").out)
    assert found["recipe_hash"] == recipe({"train.steps": 1}).hash


def test_a_loss_that_a_callback_tells_the_step(capsys):
    narrow = "model.layers=[{width: 1, cell: frame_window}, 2]"
    arguments = ["e3d-lstm-mnist-recognition", "train.batch_size=1", "evaluate.batch_size=1", narrow]
    found = json.loads(bench(capsys, *arguments, "train.memory_limit_gb=1", *QUICK[2:], "--rounds", 1, "--json").out)
    assert found["memory"]["recompute"] == "none"


def test_start_up_of_a_fresh_process(recipe):
    found = startup_seconds(recipe())
    assert 0 < found["imported"] < found["assembled"] < found["first_step"] < 120
    with pytest.raises(UsageError, match=r"the start-up cannot be measured: .*--no-startup leaves it out"):
        startup_seconds(recipe({"data.dataset": {"name": "netcdf", "path": "gone.nc"}}))


def test_the_layout_of_the_record_is_numbered():
    assert compare_module.FORMAT == 1
