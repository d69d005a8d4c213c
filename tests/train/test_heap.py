"""What was freed goes back to the system where training is to take little memory; other C libraries are left alone."""

import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from stkit.train import heap, setup
from stkit.train.device import make_accelerator

GLIBC = "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {})
HOLES = """
import ctypes, sys
from pathlib import Path
from stkit.train.heap import give_back_large_blocks
if sys.argv[1] == "given":
    assert give_back_large_blocks()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
def taken(size):
    block = ctypes.c_void_p(libc.malloc(size))
    ctypes.memset(block, 1, size)
    return block
libc.free(taken(16 * 2**20))  # from now on smaller blocks lie in the heap
before = resident()
pairs = [(taken(2**20), taken(100 * 2**10)) for _ in range(32)]
for large, _ in pairs:
    libc.free(large)
print((resident() - before) / 1024)
"""


@pytest.mark.skipif(not GLIBC or not sys.platform.startswith("linux"), reason="glibc on Linux is needed")
def test_holes_between_small_blocks_stay_with_the_process_unless_they_are_given_back():
    mebibytes = {}
    for how in ("kept", "given"):
        done = subprocess.run([sys.executable, "-c", HOLES, how], capture_output=True, text=True, check=True)
        mebibytes[how] = float(done.stdout)
    assert mebibytes["kept"] > 25
    assert mebibytes["given"] < 6


def no_confstr(name):
    raise ValueError(name)


@pytest.mark.parametrize(
    ("where", "name", "stands_in"),
    [
        (os, "confstr", no_confstr),  # another C library
        (os, "confstr", lambda name: None),
        (ctypes, "CDLL", lambda name: SimpleNamespace()),  # without mallopt
        (ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=lambda *_: 0)),  # which refuses
    ],
)
def test_without_glibc_nothing_is_done(monkeypatch, where, name, stands_in):
    monkeypatch.setattr(where, name, stands_in)
    assert heap.give_back_large_blocks() is False


def test_where_there_is_no_confstr_nothing_is_done(monkeypatch):
    monkeypatch.delattr(os, "confstr")
    assert heap.give_back_large_blocks() is False


@pytest.mark.parametrize(
    ("train", "given"),
    [
        ({}, False),
        ({"recompute": "none"}, False),
        ({"recompute": "layer"}, True),
        ({"memory_limit_gb": 1}, True),
    ],
)
def test_blocks_are_given_back_where_training_is_to_take_little_memory(recipe, monkeypatch, train, given):
    asked = []
    monkeypatch.setattr(setup, "give_back_large_blocks", lambda: asked.append(True))
    setup.assemble(recipe({f"train.{key}": value for key, value in train.items()}), make_accelerator())
    assert bool(asked) is given
