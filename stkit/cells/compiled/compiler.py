"""Compiles the C files beside it for the processor at hand, once, and loads what is made.

What is compiled lies in the user's cache folder, one file for each text, compiler and processor. Where there is no
compiler, or ``STKIT_COMPILE=off`` is set, there is no library, and stkit computes the same with torch's operators.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stkit.cells.tiles import OUTPUT, Matrix, maps

SOURCES = Path(__file__).parent
LANES = 16
"""Channels that lie side by side."""
ROWS_TOGETHER = 64
"""Rows of a stack of tiles."""
FLAGS = ("-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-Wno-psabi")
FILES = ("amx.c", "layout.c", "maps.c", "digits.c", "transforms.c", "products.c", "winograd.c")
"""Of Winograd's arithmetic; the first one for float32 only."""
ORDERS = {6: (1, 0, 2, 3, 4, 5), 8: (1, 0, 2, 3, 5, 7, 6, 4)}
"""By the side of a tile: the order in which the places of a kernel are rounded. Of all orders, tried in one dimension,
these leave the smallest error of a result, for kernels of independent cells of the same size."""
SECONDS = 120
"""What compiling may take."""


class Library(NamedTuple):
    """What has been compiled."""

    functions: ctypes.CDLL
    columns: int
    """Channels of a panel of a kernel."""
    matrix_unit: bool
    """Whether products of float32 are those of the processor's matrix unit."""


class NoCompiler(Exception):
    """Why there is no library."""


GATES = "gates"
"""The part that is the arithmetic of gates; those of Winograd's are named by :func:`part_of`."""
ATTENTION = "attention"
"""The part that is attention by the matrix unit."""
_OTHERS = {GATES: ("gates.c",), ATTENTION: ("amx.c", "attend.c")}


def part_of(side: int, real: str) -> str:
    """The part for one side of kernels and one type of numbers, ``float`` or ``double``."""
    return f"{real}_{side}"


@cache
def library(part: str = GATES) -> Library | NoCompiler:
    """The compiled functions of a part, or why there are none. Each is compiled when it is first asked for."""
    try:
        functions = ctypes.CDLL(str(_compiled(part)))
        functions.columns.restype = ctypes.c_long
        functions.advise.argtypes = [ctypes.c_void_p, ctypes.c_long]
        return Library(functions, functions.columns(), bool(functions.use_unit(_asked() != "vectors")))
    except NoCompiler as reason:
        return reason
    except OSError as reason:
        return NoCompiler(f"what was compiled cannot be used: {reason}")


def text(part: str) -> str:
    """What is compiled: the arithmetic of gates, attention, or Winograd's with its maps."""
    sizes = f"#define M {OUTPUT}\n#define LANES {LANES}\n#define TILES {ROWS_TOGETHER}\n" + _file("common.c")
    if part in _OTHERS:
        return sizes + "".join(map(_file, _OTHERS[part]))
    real, _, side = part.partition("_")
    named = dict(zip(("BACK", "KERNEL", "FORTH"), maps(OUTPUT, int(side)), strict=True))
    named["SHARES"] = shares(named["BACK"], named["FORTH"])
    tables = "".join(_table(name, matrix) for name, matrix in named.items())
    tables += f"static const int ORDER[] = {{{', '.join(map(str, ORDERS[len(named['FORTH'])]))}}};\n"
    made = f"#define REAL {real}\n#define R {side}\n#define NAME(x) x##_{part}\n"
    files = FILES if real == "float" else FILES[1:]
    return sizes + tables + made + "".join(map(_file, files))


def shares(back: Matrix, forth: Matrix) -> Matrix:
    """How much of the error of each place before it a place of a kernel takes back when it is rounded (``a a``).

    Errors ``e`` of a kernel's places, in one dimension, change a result by ``back ((forth d) . e)``: on average over
    fields ``d`` of independent cells by ``e^T Q e`` with ``Q = (back^T back) . (forth forth^T)``, and the gradient of
    a field, which comes through the transposes, by as much. With ``Q = S^T D S``, ``S`` lower triangular with ones and
    ``D`` diagonal, that is the sum of ``D_n (e_n + sum over k < n of S_nk e_k)^2``. So where places are rounded one
    after the other, each to where its own bracket is smallest, no bracket is more than half a unit. In two dimensions
    ``S`` is the Kronecker product of two of these. What is returned is ``S`` without its diagonal, of places in the
    order of :data:`ORDERS`.
    """
    order = ORDERS[len(forth)]
    square = ((back.T @ back) * (forth @ forth.T))[np.ix_(order, order)]
    factor = np.linalg.cholesky(square[::-1, ::-1])[::-1, ::-1].T
    return np.ascontiguousarray(np.tril(factor / np.diag(factor)[:, None], -1))


def _file(name: str) -> str:
    return (SOURCES / name).read_text(encoding="utf-8")


def _table(name: str, matrix: Matrix) -> str:
    rows = ", ".join("{" + ", ".join(float(number).hex() for number in row) + "}" for row in matrix)
    return f"static const double {name}[{matrix.shape[0]}][{matrix.shape[1]}] = {{{rows}}};\n"


def _compiled(part: str) -> Path:
    """The file, compiled now if it has not been before.

    Raises:
        NoCompiler: there is none, or it cannot compile this.
    """
    if _asked() in ("off", "0", "no"):
        raise NoCompiler("STKIT_COMPILE says so")
    if os.name != "posix":
        raise NoCompiler(f"on {platform.system()} nothing is compiled")
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        raise NoCompiler("this machine has no C compiler (cc, gcc or clang)")
    source = text(part)
    told = "\n".join([source, *FLAGS, _said_by(compiler, "--version"), platform.machine(), _processor()])
    name = f"{part}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.so"
    problem: Exception | None = None
    for folder in _folders():
        path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not _ours(folder):
                raise PermissionError(f"others can write to {folder}")
            if path.is_file():
                return path
            with tempfile.TemporaryDirectory(dir=folder) as scratch:  # beside it: put in its place in one step
                made, written = Path(scratch) / name, Path(scratch) / f"{part}.c"
                written.write_text(source, encoding="utf-8")
                _said_by(compiler, *FLAGS, "-shared", "-fPIC", str(written), "-o", str(made))
                made.replace(path)
        except OSError as found:
            problem = found
            continue
        return path
    raise NoCompiler(f"there is no folder to keep what is compiled in: {problem}")


def _asked() -> str:
    """What ``STKIT_COMPILE`` says: ``on``, ``off``, or ``vectors``, for all but the matrix unit."""
    return os.environ.get("STKIT_COMPILE", "on").lower()


def _said_by(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS)
    except subprocess.CalledProcessError as problem:
        lines = [line for line in problem.stderr.splitlines() if line.strip()]
        said = next((line for line in lines if "error" in line), lines[-1] if lines else f"exit {problem.returncode}")
        raise NoCompiler(f"{command[0]} failed: {said.strip()}") from None
    except subprocess.TimeoutExpired:
        raise NoCompiler(f"{command[0]} took more than {SECONDS} s") from None
    return done.stdout


def _folders() -> Iterator[Path]:
    cache_home = os.environ.get("XDG_CACHE_HOME", "")
    with suppress(RuntimeError):  # there is no home
        yield (Path(cache_home) if cache_home else Path.home() / ".cache") / "stkit"
    yield Path(tempfile.gettempdir()) / f"stkit-{os.getuid()}"


def _ours(folder: Path) -> bool:
    """Whether nobody else can put a file there that would be loaded."""
    about = folder.stat()
    return about.st_uid == os.getuid() and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _processor() -> str:
    """What the processor can do: the folder may be shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    telling = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(telling)}))
