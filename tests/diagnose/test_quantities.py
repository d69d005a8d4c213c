"""Each number of a diagnosis against a computation of its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stkit_predrnn.decoupling import DecouplingLoss

import stkit
from stkit.cells.observe import Attended, watch
from stkit.diagnose.attention import LookCollector, drawn_cells, query_cells
from stkit.diagnose.decoupling import overlap
from stkit.diagnose.gates import Bounds, GateCounter
from stkit.diagnose.gradients import frame_norms, last_frame_loss
from stkit.diagnose.recorder import Kept, Looked, Place, Recorder, Stationarised, Step, leads
from stkit.diagnose.stationarity import DriftCollector, drift, of_white_noise
from stkit.diagnose.windows import Window


def window(height=4, width=5, input_steps=3, horizon=2):
    torch.manual_seed(0)
    truth_valid = torch.rand(1, horizon, 1, height, width) > 0.3
    return Window(
        context=torch.rand(1, input_steps, 1, height, width, dtype=torch.float64),
        known=None,
        base=None,
        valid=torch.ones(1, input_steps, 1, height, width, dtype=torch.bool),
        truth=torch.rand(1, horizon, 1, height, width, dtype=torch.float64),
        truth_valid=truth_valid,
    )


@pytest.mark.parametrize("name", ["predrnn", "convlstm"])
def test_gradient_norms_against_finite_differences(name):
    torch.manual_seed(1)
    model = stkit.build(name, layers=[3, 3], dtype=torch.float64)
    taken = window()
    context = taken.context.clone().requires_grad_()
    norms = frame_norms(last_frame_loss(model(context, 2), taken), context, 1)

    def loss(frames):
        with torch.no_grad():
            error = (model(frames, 2)[0, -1] - taken.truth[0, -1])[taken.truth_valid[0, -1]]
            return float((error**2).mean())

    step = 1e-5
    for frame in range(3):
        squares = 0.0
        for cell in range(20):
            shift = torch.zeros_like(taken.context)
            shift[0, frame, 0].view(-1)[cell] = step
            squares += ((loss(taken.context + shift) - loss(taken.context - shift)) / (2 * step)) ** 2
        assert float(norms[frame]) == pytest.approx(math.sqrt(squares), rel=1e-5)


def test_known_inputs_do_not_count_as_the_field():
    context = torch.ones(1, 2, 3, 4, 4, requires_grad=True)
    loss = (context * torch.tensor([1.0, 2.0, 100.0])[:, None, None]).sum()
    norms = frame_norms(loss, context, 2)
    torch.testing.assert_close(norms, torch.full((2,), math.sqrt(16 * (1 + 4)), dtype=torch.float64))


def test_a_last_frame_without_a_value_has_no_loss():
    taken = window()._replace(truth_valid=torch.zeros(1, 2, 1, 4, 5, dtype=torch.bool))
    assert last_frame_loss(torch.full((1, 2, 1, 4, 5), torch.nan), taken) == 0


@given(shares=st.lists(st.sampled_from([0.02, 0.5, 0.97]), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_saturation_of_gates_that_are_known(shares):
    """Cells that do not count would change the shares."""
    kept = torch.tensor(shares, dtype=torch.float32).reshape(1, -1, 1, 1).repeat(1, 1, 2, 3)
    valid = torch.tensor([[True, True, False], [True, False, True]])
    kept[..., ~valid] = 0.5
    steps = [Step(gates=[Kept(Place(2, "transition"), "C", kept)]) for _ in range(3)]
    counter = GateCounter(Bounds())
    counter.add(steps, valid)
    counter.add(steps, valid)
    (one,) = counter.result()
    assert (one.layer, one.memory, one.steps) == (2, "C", (0, 1, 2))
    assert one.near_zero == pytest.approx([shares.count(0.02) / len(shares)] * 3)
    assert one.near_one == pytest.approx([shares.count(0.97) / len(shares)] * 3)
    assert one.mean == pytest.approx([np.mean(shares)] * 3, rel=1e-6)
    assert one.always == pytest.approx(one.saturated_mean)
    assert one.counted == 2 * len(shares) * 4


def test_a_gate_that_opens_once_is_not_always_saturated():
    shut, half = torch.full((1, 2, 1, 1), 0.01), torch.tensor([0.01, 0.5]).reshape(1, 2, 1, 1)
    steps = [Step(gates=[Kept(Place(1, ""), "M", kept)]) for kept in (shut, half, shut)]
    counter = GateCounter(Bounds())
    counter.add(steps, torch.ones(1, 1, dtype=torch.bool))
    (one,) = counter.result()
    assert one.saturated == (1.0, 0.5, 1.0)
    assert one.always == 0.5


def test_a_bias_saturates_the_gates_of_a_model_to_a_known_share():
    """Of four channels one gate is shut by its bias, two are wide open, and one stands at a half."""
    model = stkit.build("predrnn", layers=[4], cell={"bias": True, "kernel": 3}, dtype=torch.float64)
    cell = model.network.stack.nodes[0]
    with torch.no_grad():
        for kernel in cell.gates.kernels.values():
            kernel.zero_()
        for gate in ("f", "f'"):
            cell.gates.bias[cell.gates.gates.index(gate)] = torch.tensor([-6.0, 4.0, 4.0, -1.0])[:, None, None]
    recorder = Recorder(model)
    with watch(recorder):
        model(torch.rand(1, 3, 1, 4, 4, dtype=torch.float64), 2)
    counter = GateCounter(Bounds())
    counter.add(recorder.steps, torch.ones(4, 4, dtype=torch.bool))
    for one in counter.result():
        assert one.near_zero == (0.25,) * 4
        assert one.near_one == (0.5,) * 4
        assert one.always == 0.75
    wider = GateCounter(Bounds(0.001, 0.999))
    wider.add(recorder.steps, torch.ones(4, 4, dtype=torch.bool))
    assert {one.saturated for one in wider.result()} == {(0.0,) * 4}


@given(seed=st.integers(0, 10_000), steps=st.integers(3, 12), elements=st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_drift_against_least_squares(seed, steps, elements):
    x = np.random.default_rng(seed).normal(size=(steps, elements)).cumsum(axis=0)
    found = drift(torch.from_numpy(x))
    time = np.arange(steps)
    line = np.stack([np.polyval(np.polyfit(time, column, 1), time) for column in x.T], axis=1)
    total = ((x - x.mean(0)) ** 2).sum()
    assert found.trend_share == pytest.approx(1 - ((x - line) ** 2).sum() / total, abs=1e-9)
    away = x - x.mean(0)
    assert found.lag1 == pytest.approx((away[1:] * away[:-1]).sum() / total)
    assert found.variance == pytest.approx(x.var(axis=0, ddof=1).mean())


def test_drift_of_a_line_and_of_noise():
    ramp = torch.arange(6.0)[:, None] * torch.tensor([1.0, -2.0])
    assert drift(ramp).trend_share == pytest.approx(1)
    noise = drift(torch.randn(8, 20_000, generator=torch.Generator().manual_seed(0)))
    trend, lag1 = of_white_noise(8)
    assert noise.trend_share == pytest.approx(trend, abs=0.005)
    assert noise.lag1 == pytest.approx(lag1, abs=0.01)
    assert drift(torch.zeros(5, 3)) is None
    assert drift(torch.rand(2, 3)) is None


def signals(read, made):
    """Steps whose MIM-N reads and makes these series; the hidden state is what it reads."""
    return [
        Step(signals=[Stationarised(Place(1, "transition"), r[None], m[None])], hidden=(r[None],))
        for r, m in zip(read, made, strict=True)
    ]


@pytest.mark.parametrize(("made", "verdict"), [("noise", "more"), ("walk", "about as"), ("ramp", "less")])
def test_whether_mim_makes_a_signal_more_stationary(made, verdict):
    generator = torch.Generator().manual_seed(3)
    found = DriftCollector([1])
    valid = torch.ones(4, 4, dtype=torch.bool)
    ramp = torch.arange(12.0)[:, None, None, None] * torch.ones(2, 4, 4)
    for _ in range(6):
        noise = torch.randn(12, 2, 4, 4, generator=generator)
        walk = noise.cumsum(dim=0)
        series = {
            "noise": torch.randn(12, 2, 4, 4, generator=generator),
            "walk": walk.flip(2),
            "ramp": ramp + noise / 9,
        }
        found.add(signals(walk, series[made]), valid)
    (comparison,) = found.comparisons()
    assert comparison.verdict == verdict
    by_signal = {one.signal: one for one in found.result()}
    assert by_signal["read by MIM-N"].trend_share == pytest.approx(by_signal["H"].trend_share)
    assert by_signal["dH"].lag1 == pytest.approx(0, abs=0.15), "the difference of a random walk is noise"
    assert comparison.variance_ratio == pytest.approx(
        by_signal["D of MIM-N"].variance / by_signal["read by MIM-N"].variance
    )


def test_one_window_decides_nothing():
    found = DriftCollector([1])
    ramp = torch.arange(8.0)[:, None, None, None] * torch.ones(1, 2, 2)
    found.add(signals(torch.randn(8, 1, 2, 2), ramp), torch.ones(2, 2, dtype=torch.bool))
    assert found.comparisons()[0].verdict == "about as"
    assert found.comparisons()[0].trend_share_error is None


def test_overlap_is_what_the_decoupling_loss_sees_without_its_convolution():
    loss = DecouplingLoss(3, dtype=torch.float64)
    with torch.no_grad():
        loss.adapter.weight.copy_(torch.eye(3)[:, :, None, None])
    c, m = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    assert overlap(c, m) == pytest.approx(float(loss.overlap({"delta_c": c, "delta_m": m}).mean().detach()))
    assert overlap(c, -2 * c) == pytest.approx(1)
    left, right = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    left[..., 0], right[..., 1] = 1, 1
    assert overlap(left, right) == 0


def looking(weights, sources=("signal",)):
    """A step with an attention whose queries all look like this: ``S H W``."""
    return Step(
        attention=[
            Looked(Place(1, "post.h"), Attended(lambda cells: weights.expand(1, len(cells), -1, -1, -1), sources))
        ]
    )


def test_an_even_look():
    valid = torch.ones(4, 5, dtype=torch.bool)
    valid[0, :3] = False
    collector = LookCollector(first_lead=0)
    collector.add([looking((valid / valid.sum())[None])], valid)
    (look,) = collector.looks()
    assert look.cells == pytest.approx(17)
    assert look.available == 17
    assert look.distance == pytest.approx(look.even_distance)
    assert look.on_itself == pytest.approx(1 / 17)
    (drawn,) = collector.maps
    assert drawn.place == "h"
    assert all(valid[row, column] for row, column in drawn.queries)


def test_a_look_at_one_corner():
    valid = torch.ones(3, 3, dtype=torch.bool)
    corner = torch.zeros(1, 3, 3)
    corner[0, 2, 2] = 1
    collector = LookCollector(first_lead=0)
    collector.add([looking(corner)], valid)
    (look,) = collector.looks()
    assert look.cells == pytest.approx(1)
    assert look.on_itself == pytest.approx(1 / 9)
    by_hand = np.mean([math.hypot(2 - row, 2 - column) for row in range(3) for column in range(3)])
    assert look.distance == pytest.approx(by_hand)


def test_equal_memories_weigh_the_same_at_every_age():
    valid = torch.ones(2, 3, dtype=torch.bool)
    collector = LookCollector(first_lead=1)
    step = looking(torch.full((4, 2, 3), 1 / 24), sources=("t-4", "t-3", "t-2", "t-1"))
    collector.add([step, step, step], valid)
    (ages,) = collector.ages()
    assert ages.steps == (0, 1, 2)
    assert all(weights == pytest.approx([0.25] * 4) for weights in ages.weights)
    (drawn,) = collector.age_maps
    np.testing.assert_allclose(drawn.age, 2.5)
    assert not collector.looks()


def test_the_newest_memory_has_age_one():
    weights = torch.zeros(3, 2, 2)
    weights[2, 0, 0] = 1
    valid = torch.tensor([[True, True], [True, False]])
    collector = LookCollector(first_lead=0)
    collector.add([looking(weights, sources=("t-3", "t-2", "t-1"))], valid)
    np.testing.assert_array_equal(collector.age_maps[0].age, [[1, 1], [1, np.nan]])


def test_queries_are_spread_over_cells_with_a_value():
    valid = torch.zeros(10, 10, dtype=torch.bool)
    valid[3:7] = True
    chosen = query_cells(valid, 4)
    assert chosen.tolist() == [35, 45, 55, 65]
    assert query_cells(valid, 1000).tolist() == valid.flatten().nonzero()[:, 0].tolist()


def test_queries_that_are_drawn_lie_apart_and_never_on_land():
    valid = torch.ones(8, 8, dtype=torch.bool)
    valid[:5, :5] = False
    chosen = [(int(cell) // 8, int(cell) % 8) for cell in drawn_cells(valid)]
    assert len(set(chosen)) == 3
    assert (6, 6) in chosen or (5, 5) in chosen
    assert all(valid[place] for place in chosen)
    assert len(drawn_cells(valid[5:6, :1])) == 1


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("", None),
        ("transition.mim_n", None),
        ("cell.transition", None),
        ("post.h", "h"),
        ("pre.c", "c, before"),
        ("pre.x", "x"),
        ("post.h.rows", "h, rows"),
        ("cell.transition.attachments.d", "d"),
    ],
)
def test_where_an_attachment_stands(inside, expected):
    assert Place(1, inside).attached == expected


@pytest.mark.parametrize(("name", "expected"), [("predrnn", (-1, 0, 1, 2)), ("convlstm", (-2, -1, 0, 1, 2))])
def test_steps_are_named_by_the_lead_time_they_forecast(name, expected):
    model = stkit.build(name, layers=[2])
    recorder = Recorder(model)
    with watch(recorder):
        model(torch.rand(1, 3, 1, 4, 4), 2)
    assert leads(model, 3, 2) == expected
    assert len(recorder.steps) == len(expected)
