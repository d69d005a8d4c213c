import math

import pytest

from stkit.recipe.sections.train import ScheduleConfig
from stkit.train.schedule import factor

STEPS = 101


def rates(**values):
    return [factor(ScheduleConfig(**values), step, STEPS) for step in range(STEPS)]


def test_constant():
    assert rates() == [1.0] * STEPS


def test_warm_up_rises_linearly_to_the_peak():
    found = rates(name="constant", warmup_steps=4)
    assert found[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 1, 20])
@pytest.mark.parametrize("final", [0.0, 0.1, 1.0])
def test_peak_after_warm_up_and_final_factor_at_the_last_step(name, warmup, final):
    found = rates(name=name, warmup_steps=warmup, final_factor=final)
    assert found[warmup] == pytest.approx(1.0)
    assert found[-1] == pytest.approx(final)
    assert all(later <= earlier + 1e-12 for earlier, later in zip(found[warmup:], found[warmup + 1 :], strict=False))


def test_formulas():
    assert rates(name="linear")[25] == pytest.approx(0.75)
    assert rates(name="cosine", final_factor=0.2)[25] == pytest.approx(0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2)


def test_a_single_step():
    assert factor(ScheduleConfig(name="cosine"), 0, 1) == 1.0
    assert factor(ScheduleConfig(name="cosine", warmup_steps=1), 0, 1) == 0.5
