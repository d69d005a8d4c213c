"""Arithmetic of cells in C, compiled by the machine's own compiler when first used: Winograd's filtering, gates, and
attention.

:mod:`compiler` makes and loads it; :mod:`kernels`, :mod:`gates` and :mod:`attention` call it on tensors; :mod:`group`
is for the engine, and :mod:`fields` asks for the memory of fields.
"""
