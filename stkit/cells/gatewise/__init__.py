"""Convolutions by oneDNN, gate by gate, each added to what its gate has already.

oneDNN is fastest with channels last in memory, with the channels of one gate as a result, and with kernels in an order
of its own: they are brought into it once a sequence, and once for its way back. The gradients of kernels are found for
several steps of the backward pass at once. What has a depth is convolved slice by slice; slices of zeros beyond its
ends are left out.
"""

from stkit.cells.gatewise.block import Gatewise, gatewise

__all__ = ["Gatewise", "gatewise"]
