"""Our parameters under the oracles' names."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from stkit.cells import GateBlock

from .convolution import Array


def array(value: Tensor) -> Array:
    """As NumPy."""
    return value.detach().double().numpy()


def last(x: Tensor) -> Array:
    """``.. C H W -> .. H W C``."""
    return np.moveaxis(array(x), -3, -1)


def kernels(block: GateBlock, source: str) -> dict[str, Array]:
    """For each gate that the source feeds, its kernel ``kh kw I O``."""
    gates = block.sources[source].gates
    parts = np.split(array(block.kernels[source]), len(gates))
    return {gate: part.transpose(2, 3, 1, 0) for gate, part in zip(gates, parts, strict=True)}


def biases(block: GateBlock) -> dict[str, Array]:
    """For each gate its bias; empty if it has none."""
    if block.bias is None:
        return {}
    return {gate: array(part).ravel() for gate, part in zip(block.gates, block.bias, strict=True)}


def convlstm(cell: nn.Module) -> dict[str, Array]:
    """Of :class:`stkit_convlstm.cell.ConvLSTM`, where the gate of the new content is called ``g``."""
    block = cell.gates
    assert isinstance(block, GateBlock)
    named = {f"W{source}{gate}": value for source in block.sources for gate, value in kernels(block, source).items()}
    named |= {f"b{gate}": value for gate, value in biases(block).items()}
    named = {name[:-1] + "c" if name.endswith("g") else name: value for name, value in named.items()}
    for gate in "ifo":
        weight = getattr(getattr(cell, f"w_c{gate}"), "weight", None)
        if weight is not None:
            named[f"Wc{gate}"] = last(weight)
    return named


def predrnn(cell: nn.Module) -> dict[str, Array]:
    """Of :class:`stkit_predrnn.cell.STLSTM`; ``i'`` of source ``x`` is ``Wx'i``, of source ``m`` ``Wmi``."""
    gates, output, fusion = cell.gates, cell.output, cell.fusion
    assert isinstance(gates, GateBlock)
    assert isinstance(output, GateBlock)
    assert isinstance(fusion, GateBlock)
    named = {}
    for gate, value in kernels(gates, "x").items():
        named[f"Wx'{gate[0]}" if gate.endswith("'") else f"Wx{gate}"] = value
    named |= {f"Wh{gate}": value for gate, value in kernels(gates, "h").items()}
    named |= {f"Wm{gate[0]}": value for gate, value in kernels(gates, "m").items()}
    named |= {f"b'{gate[0]}" if gate.endswith("'") else f"b{gate}": value for gate, value in biases(gates).items()}
    named["Wco"], named["Wmo"] = np.split(kernels(output, "memory")["o"], 2, axis=2)
    named["W1"] = kernels(fusion, "memory")["h"]
    return named
