"""How much of what was freed the C library keeps for the process: less, where training is to take little memory.

glibc takes blocks from a threshold on from the system one by one and gives each back when it is freed. Smaller ones lie
in a heap, whose holes stay with the process. The threshold is 128 KiB at first and rises to the largest block that was
freed, at most 32 MiB: after a step or two all fields and most kernels lie in the heap, and the process holds far more
than its tensors. Kept where it was, the process follows its tensors; the system clears the memory of each new block,
which takes time.
"""

from __future__ import annotations

import ctypes
import os

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of glibc's malloc.h
LARGE = 2**17
"""Bytes of the blocks that go back to the system: glibc's own threshold at the start."""


def give_back_large_blocks() -> bool:
    """Let blocks of :data:`LARGE` bytes and more go back to the system as soon as they are freed, from now on.

    It holds for the whole process, and for what is allocated after it. A C library other than glibc is left as it is.

    Returns:
        Whether it is so.
    """
    try:
        known = os.confstr("CS_GNU_LIBC_VERSION")
        return bool(known) and ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, LARGE) == 1
    except (AttributeError, OSError, TypeError, ValueError):  # no confstr, no such name, no such library
        return False
