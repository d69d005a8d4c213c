"""Commands in processes of their own, some at a time, until all are done or somebody asks to stop. Imports no torch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

_PAUSE_SECONDS = 0.1


@dataclass(frozen=True)
class Task:
    """One command."""

    name: str
    command: tuple[str, ...]
    """Of this Python: what follows ``python``."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    task: Task
    code: int
    """Below 0: by that signal."""
    stdout: str
    stderr: str
    """Empty where it was shown while it ran."""
    seconds: float


@dataclass
class Pool:
    """Runs tasks in at most ``jobs`` processes. Ctrl-C and SIGTERM are passed on to them, once for each time they come.

    The processes stand in sessions of their own, so that the terminal's Ctrl-C reaches them through the pool alone:
    they finish a step, save and end, and the pool waits for that.
    """

    jobs: int
    devices: tuple[str, ...] = ()
    """GPUs, as ``CUDA_VISIBLE_DEVICES`` names them, to be dealt out; empty: each process sees what this one sees."""
    threads: int | None = None
    """Threads of each process, where the environment does not say; None: as many as the process takes."""
    kept_open: tuple[int, ...] = ()
    """Files that the processes inherit."""
    shows: bool = False
    """Whether what a process writes on stderr is shown (a progress bar); else it is kept for messages."""
    stopped_by: int | None = field(default=None, init=False)
    """The signal that ended it early."""

    def run(self, tasks: Sequence[Task]) -> Iterator[Ended]:
        """Run all tasks; each is told when it ends. After a signal no further one is begun."""
        waiting, running = list(tasks), dict[int, _Running]()
        with tempfile.TemporaryDirectory(prefix="stkit-pool-") as folder, self._signals(running):
            while running or (waiting and self.stopped_by is None):
                for slot in range(self.jobs):
                    if slot not in running and waiting and self.stopped_by is None:
                        running[slot] = self._start(waiting.pop(0), slot, Path(folder))
                time.sleep(_PAUSE_SECONDS)
                for slot, one in list(running.items()):
                    if one.process.poll() is not None:
                        del running[slot]
                        yield one.ended()

    def _start(self, task: Task, slot: int, folder: Path) -> _Running:
        environment = dict(os.environ)
        if self.threads is not None:
            environment.setdefault("OMP_NUM_THREADS", str(self.threads))
        if self.devices:
            environment["CUDA_VISIBLE_DEVICES"] = self.devices[slot % len(self.devices)]
        said, errors = folder / f"{slot}.out", folder / f"{slot}.err"
        with open(said, "wb") as stdout, open(errors, "wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, *task.command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=None if self.shows else stderr,
                env=environment,
                pass_fds=self.kept_open if os.name == "posix" else (),
                start_new_session=True,
            )
        if self.stopped_by is not None:  # it came while the process was being started
            process.send_signal(self.stopped_by)
        return _Running(task, process, said, errors, time.monotonic())

    @contextmanager
    def _signals(self, running: dict[int, _Running]) -> Iterator[None]:
        def stop(number: int, frame: FrameType | None) -> None:
            self.stopped_by = number
            for one in list(running.values()):
                one.process.send_signal(number)

        before: dict[int, Any] = {}
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, stop)
        except ValueError:  # only the main thread may set handlers
            pass
        try:
            yield
        finally:
            for kept, handler in before.items():
                signal.signal(kept, handler)
            # Left early, by an error: leave nothing behind.
            for one in running.values():
                one.process.terminate()
            for one in running.values():
                one.process.wait()


@dataclass(frozen=True)
class _Running:
    task: Task
    process: subprocess.Popen[bytes]
    stdout: Path
    stderr: Path
    start: float

    def ended(self) -> Ended:
        code = self.process.wait()
        said, errors = (path.read_text(encoding="utf-8", errors="replace") for path in (self.stdout, self.stderr))
        return Ended(self.task, code, said, errors, time.monotonic() - self.start)


def told(ended: Ended) -> str:
    """Why a command failed, in one line: what it said last."""
    lines = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    if errors:
        return errors[-1].removeprefix("error: ")
    return lines[-1] if lines else f"it ended with the code {ended.code}"
