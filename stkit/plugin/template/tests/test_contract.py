"""What every cell and every architecture promises; one test for each rule."""

from stkit.testing.contract import CellContract, StackContract


class TestConvGruCell(CellContract):
    name = "conv_gru"


class TestOtherOptions(CellContract):
    name = "conv_gru"
    config = {"kernel": 4, "bias": False}


class TestArchitecture(StackContract):
    name = "convgru"
