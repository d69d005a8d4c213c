"""Arithmetic of cells in C, compiled by the machine's own compiler when first used: Winograd's filtering, and gates.

:mod:`compiler` makes and loads it, :mod:`kernels` and :mod:`gates` call it on tensors, :mod:`group` is for the engine.
"""
