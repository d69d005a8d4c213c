"""The machine: what it is called, and the most it can do, measured there and then."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F


def machine(device: torch.device) -> dict[str, Any]:
    """What a figure depends on: the processor or GPU, and how many threads compute."""
    told: dict[str, Any] = {"processor": processor(), "threads": torch.get_num_threads(), "device": device.type}
    if device.type == "cuda":
        told["device"] = torch.cuda.get_device_name(device)
    return told


def processor() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def done(device: torch.device) -> None:
    """Wait until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_flops(device: torch.device, dtype: torch.dtype, seconds: float = 0.5) -> float:
    """Floating-point operations a second of the faster of a product of matrices and a 5 x 5 convolution.

    Args:
        device: where.
        dtype: of the numbers.
        seconds: how long each is repeated; the fastest repetition counts.
    """
    side = 4096 if device.type == "cuda" else 1024
    batch = 64 if device.type == "cuda" else 4
    a, b = (torch.rand(side, side, device=device, dtype=dtype) for _ in range(2))
    x = torch.rand(batch, 128, 16, 16, device=device, dtype=dtype)
    kernel = torch.rand(512, 128, 5, 5, device=device, dtype=dtype)
    product = _fastest(lambda: a @ b, device, seconds)
    convolution = _fastest(lambda: F.conv2d(x, kernel, padding=2), device, seconds)
    return max(2 * side**3 / product, 2 * batch * 16 * 16 * 512 * 128 * 25 / convolution)


def _fastest(run: Callable[[], Any], device: torch.device, seconds: float) -> float:
    run()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        done(device)
        start = time.perf_counter()
        run()
        done(device)
        best = min(best, time.perf_counter() - start)
    return best
