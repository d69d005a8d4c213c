"""Starting several processes of the same command on this machine. Imports no torch."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import uuid
from collections.abc import Sequence

from stkit.errors import UsageError

LAUNCHED = "STKIT_LAUNCHED"
"""Set for processes that stkit started: the option that did, so that the line that resumes can repeat it."""


def processes_wanted(gpus: int | None, processes: int | None) -> int:
    """How many processes ``--gpus`` or ``--processes`` ask for.

    Raises:
        UsageError: both are given, a launcher has started this process already, or there are fewer GPUs.
    """
    if gpus is None and processes is None:
        return 1
    if gpus is not None and processes is not None:
        raise UsageError("--gpus and --processes: give one of them (--processes runs on CPU)")
    if "LOCAL_RANK" in os.environ or "WORLD_SIZE" in os.environ:
        raise UsageError(
            "--gpus and --processes start processes, but torchrun or accelerate has started this one already"
        )
    if gpus is not None:
        require_gpus(gpus)
    return gpus or processes or 1


def require_gpus(wanted: int) -> None:
    """Refuse more GPUs than there are.

    Raises:
        UsageError: says what is there, and the way without GPUs.
    """
    import torch

    there = torch.cuda.device_count()
    if there >= wanted:
        return
    if there:
        found = f"this machine has {there}: {', '.join(torch.cuda.get_device_name(i) for i in range(there))}"
    elif torch.version.cuda is None:
        found = f"this machine has none that torch can use (torch {torch.__version__} is built without CUDA)"
    else:
        found = "this machine has none that torch can use"
    raise UsageError(f"--gpus {wanted}: {found}; `--processes {wanted}` runs on CPU")


def relaunch(arguments: Sequence[str], *, count: int, option: str) -> int:
    """Run ``stkit <arguments>`` in ``count`` processes that know of each other; returns the exit code.

    Args:
        arguments: of the command line, without ``--gpus`` and ``--processes``.
        count: processes.
        option: ``--gpus`` or ``--processes``.
    """
    import tempfile

    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ[LAUNCHED] = f"{option} {count}"
    os.environ.setdefault("STKIT_COMMAND", shlex.join(["stkit", *sys.argv[1:]]))
    if option == "--processes":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    # A stopped process finishes its step and saves; half a minute is short for a large model.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "300")
    for name in list(logging.root.manager.loggerDict):  # the processes tell what there is to tell themselves
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="stkit-launch-") as logs:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            monitor_interval=0.2,
            logs_specs=DefaultLogsSpecs(log_dir=logs),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "stkit", *arguments)
        except ChildFailedError as error:
            codes = [failure.exitcode for failure in error.failures.values()]
            own = [code for code in codes if code > 0]  # the others were ended because one had failed
            return own[0] if own else 128 + abs(codes[0]) if codes else 1
        except SignalException as error:
            return 128 + int(error.sigval)
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
    return 0


def resume_line(run: str) -> str:
    """The command that goes on with a run, started as this one was."""
    option = os.environ.get(LAUNCHED)
    line = f"stkit resume {shlex.quote(run)}" + (f" {option}" if option else "")
    world = os.environ.get("WORLD_SIZE", "1")
    if option is None and world != "1":
        return f"torchrun --nproc-per-node {os.environ.get('LOCAL_WORLD_SIZE', world)} -m {line}"
    return line
