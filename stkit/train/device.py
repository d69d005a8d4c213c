"""The Accelerate side: which device, how many processes, and what they agree on."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, broadcast_object_list
from torch import Tensor

from stkit.errors import RunFailed, StkitError, UsageError

LOG = logging.getLogger("stkit.train")
Result = TypeVar("Result")

_SUPPORTED = {DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU}


def make_accelerator(precision: str = "no") -> Accelerator:
    """The Accelerate object for this process, by what its launcher (torchrun, accelerate, none) has set up.

    Raises:
        UsageError: fp16 or tf32 without a GPU; a strategy that shards the model; processes that do not know of each
            other.
    """
    torch.set_flush_denormal(True)  # denormal numbers make a CPU several times slower; before the threads start
    device = torch.accelerator.current_accelerator(check_available=True)
    # Sums are kept in float64, which Apple's graphics processors do not have.
    on_cpu = _flag("ACCELERATE_USE_CPU") or device is None or device.type == "mps"
    if precision in ("fp16", "tf32") and on_cpu:
        other = "'bf16', or 'no' for float32" if precision == "fp16" else "'no' for float32"
        raise UsageError(f"train.precision: {precision} needs a GPU and there is none here; use {other}")
    mixed = "no" if precision == "tf32" else precision
    if device is not None and device.type == "cuda" and not on_cpu:
        backends: Any = torch.backends
        for products in (backends.cuda.matmul, backends.cudnn.conv):
            products.fp32_precision = "ieee" if precision == "no" else "tf32"  # torch's default differs by operation
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != mixed:
        AcceleratorState._reset_state()  # Accelerate keeps the first run's precision for the whole process otherwise
    try:
        accelerator = Accelerator(cpu=on_cpu, mixed_precision=mixed)
    except ValueError as error:
        raise UsageError(f"Accelerate cannot use what the launcher set up: {error}") from error
    if accelerator.distributed_type not in _SUPPORTED:
        raise UsageError(
            f"started with Accelerate's {accelerator.distributed_type.value}: whole models on several GPUs or CPU "
            "processes are supported, models cut into shards are not"
        )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != accelerator.num_processes:
        raise UsageError(f"the launcher started {started} processes but Accelerate sees {accelerator.num_processes}")
    if accelerator.num_processes == 1 and _flag("ACCELERATE_USE_CPU") and "MASTER_ADDR" in os.environ:
        LOG.warning(
            "`accelerate launch --cpu --num_processes N` starts one process only; "
            "for N use `stkit recipe ... --processes N` or `torchrun --nproc-per-node N -m stkit recipe ...`"
        )
    return accelerator


def describe(accelerator: Accelerator) -> str:
    """The device in words: ``cpu``, ``NVIDIA H100``."""
    if accelerator.device.type == "cuda":
        return torch.cuda.get_device_name(accelerator.device)
    return str(accelerator.device.type)


def total(accelerator: Accelerator, values: Tensor) -> Tensor:
    """The sum of a vector over all processes."""
    if accelerator.num_processes == 1:
        return values
    reduced: Tensor = accelerator.reduce(values, reduction="sum")
    return reduced


def vector(values: list[Tensor], device: torch.device) -> Tensor:
    """Scalars as one vector in float64."""
    return torch.stack([value.detach().to(device, torch.float64) for value in values])


def on_main(accelerator: Accelerator, action: Callable[[], Result]) -> Result:
    """Do something on the main process only; all processes get its result, or its error.

    Raises:
        StkitError: what ``action`` raised, on every process, so that none waits for another that has gone.
    """
    if accelerator.num_processes == 1:
        return action()
    told: list[Any] = [None, None, None]
    error: BaseException | None = None
    if accelerator.is_main_process:
        try:
            told[0] = action()
        except StkitError as caught:
            error = caught
            told[1:] = [str(caught), caught.exit_code]
        except BaseException as caught:
            error = caught
            told[1:] = [f"{type(caught).__name__}: {caught}", 1]
    broadcast_object_list(told)
    if error is not None:
        raise error
    if told[1] is not None:
        raise (UsageError if told[2] == UsageError.exit_code else RunFailed)(told[1])
    result: Result = told[0]
    return result


def _flag(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes", "on")
