"""Memory of fields: laid out as torch's, and used again where fields of a size come and go."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from stkit.cells.compiled.fields import BEGIN, FREED, LEAST, MOST, SIZES, empty_field, empty_field_like
from stkit.train.held import watch

GLIBC = "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {})
KEPT = """
from pathlib import Path
import torch
from stkit.cells.compiled.fields import empty_field

def own():
    return empty_field((4, 32, 16, 16), torch.float32, channels_last=True)

def of_torch():
    return torch.empty((4, 32, 16, 16), memory_format=torch.channels_last)

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

room = torch.ones(2**22)
del room  # from now on smaller blocks lie in the heap
kept, nodes = [], []
for field in (own, of_torch):
    before = resident()
    for _ in range(200):  # a step makes five fields, of which one stays, and what stands in the graph
        made = []
        for _ in range(5):
            made.append(field().fill_(1.0))
            nodes += [bytearray(24) for _ in range(20)]
        kept.append(made[2])
    print((resident() - before) * 1024 / (200 * kept[0].nbytes))
"""
SHAPES = [(4, 128, 16, 16), (1, 33, 37, 41), (2, 16, 4, 17, 16), (2, 3, 5, 7)]


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_field_is_laid_out_as_torchs(shape, dtype, channels_last):
    made = empty_field(shape, dtype, channels_last=channels_last)
    layout = torch.contiguous_format
    if channels_last:
        layout = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    like = torch.empty(shape, dtype=dtype, memory_format=layout)
    for own in (made, empty_field_like(made)):
        assert (own.shape, own.stride(), own.dtype) == (like.shape, like.stride(), dtype)
        assert own.data_ptr() % BEGIN == 0
        assert not own._is_view()
        assert torch.equal(own.copy_(torch.ones(shape)), torch.ones(shape, dtype=dtype))


def test_fields_do_not_share_memory():
    made = [empty_field((1, 16, 32, 32), torch.float32, channels_last=True).fill_(place) for place in range(20)]
    assert all((part == place).all() for place, part in enumerate(made))


@pytest.fixture
def _none_freed():
    FREED.clear()
    yield
    FREED.clear()


@pytest.mark.usefixtures("_none_freed")
def test_a_field_leaves_its_memory_to_the_next_of_its_size_when_nothing_sees_it_any_more():
    made = empty_field((1, 16, 64, 64), torch.float32, channels_last=True)
    place, part = made.data_ptr(), made[:, 3]
    del made
    assert empty_field((1, 16, 64, 64), torch.float32, channels_last=True).data_ptr() != place
    part.fill_(7.0)
    assert (part == 7).all()
    FREED.clear()
    del part
    other = empty_field((4, 4, 64, 64), torch.float32, channels_last=False)  # as many bytes
    assert other.data_ptr() == place
    assert empty_field((1, 16, 64, 64), torch.float32, channels_last=True).data_ptr() != place


@pytest.mark.usefixtures("_none_freed")
def test_only_so_much_is_held_and_of_the_sizes_that_come():
    for width in range(64, 64 + 3 * SIZES):
        shape = (1, 16, 64, width)
        count = 2 * MOST // (4 * torch.Size(shape).numel())
        for kept in (count, 2):
            made = [empty_field(shape, torch.float32, channels_last=True) for _ in range(kept)]
            places = {one.data_ptr() for one in made}
            del made
            assert 0 < FREED.held <= MOST
            assert empty_field(shape, torch.float32, channels_last=True).data_ptr() in places


@pytest.mark.usefixtures("_none_freed")
def test_threads_share_no_memory():
    def work(number):
        for _ in range(200):
            made = [empty_field((1, 16, 32, 32), torch.float32, channels_last=True).fill_(number) for _ in range(3)]
            assert all((one == number).all() for one in made)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_what_counts_memory_sees_fields():
    shape = (1, 16, 64, 64)
    size = torch.Size(shape).numel() * 4
    assert size >= LEAST
    with watch(torch.device("cpu")) as held:
        made = empty_field(shape, torch.float32, channels_last=True)
        assert held.now == size
        del made
    assert (held.now, held.most) == (0, size)


@pytest.mark.skipif(not GLIBC or not sys.platform.startswith("linux"), reason="glibc on Linux is needed")
def test_memory_of_fields_that_are_gone_is_used_again():
    done = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    own, of_torch = map(float, done.stdout.split())
    assert own < 1.2
    assert of_torch > 1.5, "torch's memory has no holes any more: fields may take it as well"
