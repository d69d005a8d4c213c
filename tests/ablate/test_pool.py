"""Processes: how many at a time, what they are given, and how they are stopped."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from stkit.ablate.pool import Pool, Task, told


def python(name: str, code: str) -> Task:
    return Task(name, ("-c", code))


def test_what_processes_say_and_how_they_end() -> None:
    good, bad = Pool(1).run(
        [
            python("good", "print('here')"),
            python("bad", "import sys; sys.stderr.write('x\\nerror: the disk\\nmore\\n'); sys.exit(3)"),
        ]
    )
    assert (good.task.name, good.code, good.stdout) == ("good", 0, "here\n")
    assert (bad.code, told(bad)) == (3, "the disk")
    (silent,) = Pool(1).run([python("silent", "import sys; sys.exit(7)")])
    assert told(silent) == "it ended with the code 7"


def test_two_at_a_time_with_a_device_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    code = (
        "import os, pathlib, time\n"
        f"mine = pathlib.Path({str(tmp_path)!r}) / str(os.getpid()); mine.touch()\n"
        "for _ in range(100):\n"
        f"    if len(list(pathlib.Path({str(tmp_path)!r}).iterdir())) > 1: break\n"
        "    time.sleep(0.05)\n"
        "else: raise SystemExit(1)\n"
        "print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['OMP_NUM_THREADS'])"
    )
    pool = Pool(2, devices=("0", "1"), threads=3)
    ended = list(pool.run([python("a", code), python("b", code)]))
    assert [one.code for one in ended] == [0, 0], "each saw the other"
    assert sorted(one.stdout for one in ended) == ["0 3\n", "1 3\n"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_once_and_nothing_more_is_begun(tmp_path: Path, number: signal.Signals) -> None:
    mark = tmp_path / "begun"
    code = (
        "import pathlib, signal, sys, time\n"
        "seen = []\n"
        "for one in (signal.SIGINT, signal.SIGTERM): signal.signal(one, lambda number, frame: seen.append(number))\n"
        f"pathlib.Path({str(mark)!r}).touch()\n"
        "while not seen: time.sleep(0.01)\n"
        "time.sleep(0.3); print(seen); sys.exit(5)"
    )
    before = signal.getsignal(number)

    def stop() -> None:
        while not mark.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=stop)
    thread.start()
    pool = Pool(1)
    (ended,) = pool.run([python("first", code), python("second", "print('never')")])
    thread.join()
    assert (ended.task.name, ended.code, ended.stdout) == ("first", 5, f"[{int(number)}]\n")
    assert pool.stopped_by == number
    assert signal.getsignal(number) == before


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    mark = tmp_path / "ended"
    code = (
        "import pathlib, signal, sys, time\n"
        "def end(number, frame):\n"
        f"    pathlib.Path({str(mark)!r}).touch(); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end); print('x', flush=True); time.sleep(60)"
    )
    running = Pool(2).run([python("long", code), python("short", "import time; time.sleep(1)")])
    assert next(running).task.name == "short"
    running.close()
    assert mark.exists()
