"""The cell meets the contract of every cell."""

from __future__ import annotations

from stkit.testing.contract import CellContract


class TestSTLSTM(CellContract):
    name = "st_lstm"
    config = {"kernel": 3}


class TestAsPrinted(CellContract):
    name = "st_lstm"
    config = {"bias": True, "forget_bias": 0.0, "norm": "channel", "kernel": 2}
