"""The contract of every node, in each variant, and of RECALL in each of its forms."""

from __future__ import annotations

from typing import Any

from stkit_e3d_lstm.config import RecallConfig
from stkit_e3d_lstm.recall import Recall

from stkit.cells import Transition, TransitionSite
from stkit.testing.contract import CellContract

SMALL = {"kernel": [2, 3, 3]}
RELEASED = {**SMALL, "update_memory": False, "norm": {"name": "channel", "eps": 1e-12}}
PRINTED = {
    "kernel": [2, 3, 3],
    "bias": "gate",
    "forget_bias": 0.0,
    "norm": None,
    "memory_transition": "plain",
    "output_gate": "sigmoid",
}


def recall(**values: Any) -> Any:
    """A factory of RECALL, as a builder makes it."""

    def factory(site: TransitionSite) -> Transition:
        return Recall.from_config(RecallConfig(name="recall", **values), site)

    return staticmethod(factory)


class TestStandard(CellContract):
    name = "e3d_lstm"
    config = SMALL
    transition = recall(tau=2)


class TestPaper(CellContract):
    name = "e3d_lstm"
    config = PRINTED
    transition = recall(tau=1)


class TestOfficial(CellContract):
    name = "e3d_lstm"
    config = RELEASED
    transition = recall(tau=None, maximum=3, start=True, norm={"name": "channel", "eps": 1e-12})
    exempt = {"gradients": "the released cell hands on the old memory, so that nothing reaches the kernels of M"}


class TestInRegions(CellContract):
    name = "e3d_lstm"
    config = SMALL
    transition = recall(tau=2, region=3)
    translation_step = 3


class TestPixelNorm(CellContract):
    name = "e3d_lstm"
    config = {**SMALL, "norm": {"name": "pixel"}}
    transition = recall(tau=2, norm={"name": "pixel"})
    needs_grid = True


class TestWindow(CellContract):
    name = "frame_window"
    config = {"depth": 3}
    sizes = (3, 3)


class TestRecallInConvLstm(CellContract):
    """A cell of another plugin, by name."""

    name = "conv_lstm"
    config = {"kernel": 3}
    transition = recall(tau=2)
    exempt = {"options-act": "forget_bias belongs to the forget gate, in whose place the transition stands"}


class TestPooledRecallInStLstm(CellContract):
    name = "st_lstm"
    config = {"kernel": 3}
    transition = recall(tau=2, pool=2)
    translation_step = 2
