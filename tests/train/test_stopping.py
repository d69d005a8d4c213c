import math
import os
import signal

import pytest

from stkit.recipe.sections.train import EarlyStoppingConfig
from stkit.train.stopping import Best, interruptible


def feed(losses, **values):
    config, best = EarlyStoppingConfig(**values), Best()
    for step, loss in enumerate(losses, start=1):
        best.update(loss, step, config)
        if best.exhausted(config):
            return step, best
    return None, best


def test_patience_counts_validations_without_improvement():
    assert feed([3, 2, 2.5, 2.1, 1, 1.5, 1.5, 1.5], patience=3)[0] == 8
    assert feed([3, 2, 1, 0.5], patience=1)[0] is None


def test_small_decreases_do_not_count_but_are_kept_as_the_best():
    stopped, best = feed([1.0, 0.99, 0.98, 0.97], patience=3, min_delta=0.1)
    assert stopped == 4
    assert (best.loss, best.step) == (0.97, 4)
    assert feed([1.0, 0.95, 0.89, 0.85], patience=3, min_delta=0.1)[0] is None


def test_nan_is_never_the_best():
    stopped, best = feed([math.nan, math.nan], patience=2)
    assert stopped == 2
    assert best.step is None


def test_without_early_stopping_it_goes_on():
    best = Best()
    for step in range(100):
        best.update(1.0, step, None)
    assert not best.exhausted(None)


def test_state_round_trip():
    for losses in ([], [2.0, 1.0, 3.0]):
        _, best = feed(losses, patience=9)
        assert Best.from_state(best.state()) == best


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_a_second_one_ends(number):
    before = signal.getsignal(number)
    with interruptible() as interrupt:
        os.kill(os.getpid(), number)
        assert interrupt.signal == number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
