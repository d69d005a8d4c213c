"""The cell meets the contract of every cell, with each kind of peephole."""

from __future__ import annotations

from stkit.testing.contract import CellContract


class TestConvLSTM(CellContract):
    name = "conv_lstm"
    config = {"kernel": 3}


class TestPeepholesPerPixel(CellContract):
    name = "conv_lstm"
    config = {"peephole": "pixel", "kernel": 2}
    needs_grid = True


class TestNormedWithoutPeepholes(CellContract):
    name = "conv_lstm"
    config = {"peephole": "none", "bias": False, "norm": "channel", "forget_bias": 1.0, "kernel": 3}
