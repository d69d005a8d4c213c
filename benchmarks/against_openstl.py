"""How much faster than OpenSTL stkit trains and forecasts on a processor, and how much memory that takes.

    python benchmarks/against_openstl.py --openstl PATH                       the models at their official widths
    python benchmarks/against_openstl.py --openstl PATH --cases others        other widths, batches, kernels and fields
    python benchmarks/against_openstl.py --cases sst                          the SST recipe, against stkit's own direct
    python benchmarks/against_openstl.py --openstl PATH --models mim --hidden 64 --batch 16

``PATH`` is an unmodified checkout of OpenSTL. Both sides have the same weights, frames and sampling mask, in float32;
before anything is timed, their outputs must agree. A training step is the forward pass, the mean squared error and the
backward pass; a forecast keeps nothing for one. Each side lives in a process of its own, so that neither its memory nor
how its C library keeps what was freed is another side's; OpenSTL's is as it comes, and stkit's where something is
computed again is set as its trainer sets it. In every round each side takes its turn, while the others wait; kept are
the time on the clock, for which nothing else should run, and the processor's. Memory is the most that the process held
during a step, above what it held before it: gradients count, parameters do not. For that a step of its own is taken,
before which the process gives back to the system what it does not use; the steps that are timed follow others, as in
training.

OpenSTL's E3D-LSTM has faults that stkit has not, so that there the weights differ: both get the same widths and frames.
It is also measured with denormal numbers flushed to zero, as stkit always does in training and OpenSTL never.

With ``--output`` rows are put into a record, in place of those of the same setting.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, NamedTuple
from unittest.mock import patch

import openstl_models as openstl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from stkit.cells.compiled.fields import FREED
from stkit.cells.compiled.group import CompiledGroup
from stkit.cells.compiled.kernels import kernels
from stkit.cells.tiles import tiles
from stkit.recipe.dryrun import dry_run
from stkit.recipe.loaded import load
from stkit.stacks.build import build_forecaster
from stkit.stacks.engine import set_engine
from stkit.train.heap import give_back_large_blocks

STEPS = openstl.STEPS
AGREE = 1e-4
"""How far outputs may differ, of the largest one, and gradients, of their norm."""
SHOWN = 10
"""Operators of a profile that are kept by name."""


class Case(NamedTuple):
    """One row of the table."""

    model: str
    hidden: int = 128
    kernel: int = 5
    batch: int = 4
    size: int = 64
    flush: bool = False
    """Whether denormal numbers are flushed to zero, on both sides."""


OFFICIAL = (
    *(Case(name) for name in ("convlstm", "predrnn", "predrnnpp", "mim")),
    Case("e3d_lstm", batch=1),
    Case("e3d_lstm", batch=1, flush=True),
)
OTHERS = (
    *(Case(name, hidden=64) for name in ("convlstm", "predrnn", "predrnnpp", "mim")),
    Case("e3d_lstm", hidden=64, batch=1, flush=True),
    Case("predrnn", batch=1),
    Case("predrnn", hidden=64, batch=1),
    Case("predrnn", hidden=64, batch=16),
    Case("predrnn", kernel=3),
    Case("predrnn", hidden=64, kernel=3),
    Case("predrnn", hidden=32, kernel=3, batch=8),
    Case("predrnn", hidden=64, size=128),
)
RECIPES = ("predrnn-sst", "convlstm-sst")
ENGINES = tuple(
    engine + again for engine in ("auto", "direct", "winograd") for again in ("", "+layer", "+step", "+everything")
)
"""Engines of stkit, and behind the plus what ``train.recompute`` says."""


class Side(NamedTuple):
    """Who trains and forecasts."""

    model: Any
    train: Callable[[], Tensor]
    """A training step; its gradients stay with the model."""
    forecast: Callable[[], Tensor]


def of_case(case: Case, name: str) -> Side:
    """OpenSTL, or stkit with an engine, on the same frames and with the same weights."""
    network = openstl.theirs(case.model, case.hidden, case.kernel, case.size)
    torch.manual_seed(1)
    frames = torch.rand(case.batch, 2 * STEPS, 1, case.size, case.size)
    shown = torch.cat([torch.ones(case.batch, STEPS - 1), torch.rand(case.batch, STEPS - 1).round()], dim=1).bool()
    if name != "openstl":
        forecaster = openstl.ours(case.model, case.hidden, case.kernel, case.size, network)
        engine, _, again = name.partition("+")
        set_engine(forecaster, engine)  # type: ignore[arg-type]
        return side(forecaster, frames, STEPS, STEPS, tokens=shown, recompute=again or "none")
    patches = openstl.folded(frames)
    mask = shown[:, STEPS - 1 :, None, None, None].float().expand_as(patches[:, STEPS + 1 :]).contiguous()

    def run(mask: Tensor) -> Tensor:
        openstl.forget(network)
        predictions: Tensor = network(patches, mask, return_loss=False)[0]
        return predictions

    def train() -> Tensor:
        network.zero_grad(set_to_none=True)
        predictions = run(mask)
        F.mse_loss(predictions, patches[:, 1:]).backward()
        return openstl.unfolded(predictions.detach())

    def forecast() -> Tensor:
        with torch.no_grad():
            return openstl.unfolded(run(torch.zeros_like(mask))[:, -STEPS:])

    return Side(network, train, forecast)


def side(forecaster: Any, frames: Tensor, context: int, horizon: int, **more: Any) -> Side:
    """stkit's side."""

    def train() -> Tensor:
        forecaster.zero_grad(set_to_none=True)
        out = forecaster.rollout(frames, context, **more)
        F.mse_loss(out.predictions, frames[:, out.first :, : forecaster.state_channels]).backward()
        predictions: Tensor = out.predictions.detach()
        return predictions

    def forecast() -> Tensor:
        known = None if more.get("known") is None else more["known"]
        given = frames[:, :context] if known is None else torch.cat([frames, known], dim=2)[:, :context]
        with torch.no_grad():
            ahead: Tensor = forecaster(given, horizon, known=None if known is None else known[:, context:])
            return ahead

    return Side(forecaster, train, forecast)


def norm(module: Any) -> float:
    gradients = [parameter.grad.norm() for parameter in module.parameters() if parameter.grad is not None]
    return float(torch.stack(gradients).norm())


def of_recipe(shipped: str, name: str) -> Side:
    """A shipped recipe's model on random fields of its shape and batch, with an engine."""
    loaded = load(shipped)
    recipe, shape = loaded.recipe, dry_run(loaded)
    known = shape.in_channels - shape.out_channels
    grid = (shape.height, shape.width)
    area = grid if recipe.data.crop is None else (recipe.data.crop.height, recipe.data.crop.width)
    context, horizon = recipe.data.input_steps, recipe.data.horizon
    size = (recipe.train.batch_size, context + horizon)
    torch.manual_seed(0)
    frames, extra = torch.randn(*size, shape.out_channels, *area), torch.randn(*size, known, *area)
    engine, _, again = name.partition("+")
    model = recipe.model.model_copy(update={"engine": engine})
    forecaster = build_forecaster(
        model, in_channels=shape.in_channels, out_channels=shape.out_channels, known_channels=known, grid=grid
    )
    return side(forecaster, frames, context, horizon, known=extra, recompute=again or "none")


class First(NamedTuple):
    """What a side's first training step and forecast gave, which also warm up."""

    outputs: dict[str, Tensor]
    slope: float
    """Norm of all gradients."""


def first(turn: Side) -> First:
    trained = turn.train()
    slope = norm(turn.model)
    return First({"train": trained, "forecast": turn.forecast()}, slope)


def differences(found: list[First]) -> dict[str, float]:
    """Of each other side from the first one, relative to the largest output and to the norm of all gradients."""
    theirs, *others = found
    outputs = [
        float((other.outputs[what] - expected).abs().max() / (expected.abs().max() or 1.0))
        for other in others
        for what, expected in theirs.outputs.items()
    ]
    return {"outputs": max(outputs), "gradients": max(abs(other.slope / theirs.slope - 1) for other in others)}


What = Literal["first", "train", "train memory", "forecast", "forecast memory", "shares", "held"]


class Alone:
    """A side in a process of its own, which does what it is told."""

    def __init__(self, case: Case | str, name: str, arguments: argparse.Namespace) -> None:
        spawned = multiprocessing.get_context("spawn")
        self._here, there = spawned.Pipe()
        self._process = spawned.Process(target=serve, args=(there, case, name, arguments.openstl, arguments.threads))
        self._process.start()
        there.close()
        self._what = f"{name} of {case}"

    def tell(self, what: What) -> Any:
        """What came of it.

        Raises:
            SystemExit: the process has failed.
        """
        try:
            self._here.send(what)
            return self._here.recv()
        except (EOFError, OSError) as error:
            raise SystemExit(f"{self._what} was not measured") from error

    def end(self) -> None:
        self._here.close()
        self._process.join()


def serve(pipe: Connection, case: Case | str, name: str, checkout: Path | None, threads: int) -> None:
    """Be one side until nobody asks any more."""
    torch.set_flush_denormal(isinstance(case, str) or case.flush)  # before the threads start
    torch.set_num_threads(threads)
    if "+" in name:
        give_back_large_blocks()
    if checkout is not None:
        openstl.load(checkout)
    turn = of_recipe(case, name) if isinstance(case, str) else of_case(case, name)
    while True:
        try:
            what: What = pipe.recv()
        except EOFError:
            return
        if what == "first":
            pipe.send(first(turn))
        elif what == "shares":
            pipe.send(shares(turn.train))
        elif what == "held":
            pipe.send(held(turn))
        else:
            run = turn.forecast if what.startswith("forecast") else turn.train
            if what.endswith("memory"):
                run()  # nothing of the other one is left then
            turn.model.zero_grad(set_to_none=True)
            pipe.send(highest(run) if what.endswith("memory") else seconds(run))


def measure(case: Case | str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One row.

    Raises:
        SystemExit: if sides that have the same weights do not agree.
    """
    recipe = isinstance(case, str)
    names = [*([] if recipe else ["openstl"]), *arguments.engine]
    if isinstance(case, Case) and case.model == "e3d_lstm" and not case.flush:
        names = ["openstl"]  # stkit never trains so: its figures are in the row with denormals flushed
    row: dict[str, Any] = {"recipe": case} if isinstance(case, str) else case._asdict()
    row |= {"rounds": arguments.rounds, "same_weights": recipe or case.model in openstl.SAME_WEIGHTS}  # type: ignore[union-attr]
    with ExitStack() as processes:
        found = {name: Alone(case, name, arguments) for name in names}
        for side in found.values():
            processes.callback(side.end)
        firsts = [side.tell("first") for side in found.values()]
        if row["same_weights"]:
            row["difference"] = differences(firsts)
            # OpenSTL's MIM cuts the gradient of one of its memories.
            held = ("outputs",) if row.get("model") == "mim" else ("outputs", "gradients")
            if any(not row["difference"][what] <= AGREE for what in held):
                raise SystemExit(f"the sides of {case} do not agree: {row['difference']}")
        row["sides"] = {
            name: {
                "seconds": {"train": [], "forecast": []},
                "processor_seconds": {"train": [], "forecast": []},
                "mebibytes": {},
            }
            for name in found
        }
        for turn in range(arguments.rounds):
            for what in ("train", "forecast"):
                for name, side in found.items():
                    told = row["sides"][name]
                    if turn == 0:
                        told["mebibytes"][what] = side.tell(f"{what} memory")
                    passed, worked = side.tell(what)
                    told["seconds"][what].append(passed)
                    told["processor_seconds"][what].append(worked)
        if arguments.profile:
            for name in found.keys() & {"openstl", "auto"}:
                row["sides"][name]["shares"] = found[name].tell("shares")
                if name != "openstl":
                    row["sides"][name]["held"] = found[name].tell("held")
    return row


def seconds(run: Callable[[], Any]) -> tuple[float, float]:
    """On the clock, and of all threads' work: where other programs run, the second says more."""
    start, worked = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start, time.process_time() - worked


def shares(run: Callable[[], Any]) -> dict[str, float]:
    """Of each operator in the time of a training step, the largest ones first; what is left is ``others``."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        run()
    own = {event.key.removeprefix("aten::"): event.self_cpu_time_total for event in found.key_averages()}
    whole = sum(own.values())
    largest = sorted(own, key=lambda name: -own[name])[:SHOWN]
    kept = {name: own[name] / whole for name in largest}
    return {**kept, "others": 1 - sum(kept.values())}


def highest(run: Callable[[], Any]) -> float:
    """The MiB that a step takes above what the process holds before it, when it has given back what it does not use."""
    kernels.cache_clear()  # with them what stkit keeps for intermediate results
    tiles.cache_clear()
    gc.collect()
    FREED.clear()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    run()
    return (resident("VmHWM") - before) / 1024


def held(turn: Side) -> dict[str, float]:
    """MiB of what belongs to kernels when all steps have gone back and no kernel has its gradient yet."""
    found: dict[str, float] = {}
    original = CompiledGroup._summed

    def summed(group: CompiledGroup) -> list[Tensor]:
        if not found:
            every = [one for one in gc.get_objects() if type(one) is CompiledGroup and one.link is not None]
            mapped = [part for one in every for kernel in one._kept or () for part in kernel._memory]
            sums = [total for one in every for totals in one._sums for total in totals]
            found.update({"mapped kernels": mebibytes(mapped), "sums of gradients": mebibytes(sums)})
        return original(group)

    with patch.object(CompiledGroup, "_summed", summed):
        turn.model.zero_grad(set_to_none=True)
        turn.train()
    return found | {"gradients": mebibytes([own.grad for own in turn.model.parameters()])}


def mebibytes(tensors: Sequence[Tensor | None]) -> float:
    """Of these together."""
    return sum(one.nbytes for one in tensors if one is not None) / 2**20


def resident(what: str) -> int:
    """KiB of this process in memory, now (``VmRSS``) or at the highest (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))


def told(row: dict[str, Any]) -> Iterator[str]:
    """A row in words: each engine against the first side."""
    first, *others = row["sides"]
    yield ", ".join(f"{key} {row[key]}" for key in ("recipe", *Case._fields) if key in row)
    for name in others:
        cells = []
        for what in ("train", "forecast"):
            both = [row["sides"][side] for side in (first, name)]
            theirs, ours = (statistics.median(side["seconds"][what]) for side in both)
            worked, less = (statistics.median(side["processor_seconds"][what]) for side in both)
            cells.append(f"{what} {theirs:.2f} / {ours:.2f} s = {theirs / ours:.2f} x ({worked / less:.2f} in work)")
        memory = [row["sides"][side]["mebibytes"]["train"] for side in (first, name)]
        yield f"    {first} / {name}: {', '.join(cells)}, memory {memory[1] / memory[0]:.2f} of {memory[0]:.0f} MiB"
    if "difference" in row:
        yield f"    differences {row['difference']['outputs']:.1e}, {row['difference']['gradients']:.1e}"


def keep(path: Path, rows: list[dict[str, Any]], about: dict[str, Any]) -> None:
    """Put rows into a record, in place of those of the same setting."""
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": []}
    new = {setting(row): {**row, **about} for row in rows}
    old = [new.pop(setting(row), row) for row in record["rows"]]
    path.write_text(json.dumps({"rows": [*old, *new.values()]}, indent=1) + "\n", encoding="utf-8")


def setting(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(key) for key in ("recipe", *Case._fields))


def about(checkout: Path | None, threads: int) -> dict[str, Any]:
    """The machine, and the versions of what ran."""
    found = {"date": datetime.now(UTC).date().isoformat(), "processor": processor(), "threads": threads}
    found |= {"torch": torch.__version__, "load": os.getloadavg()[1]}
    if checkout is not None:
        asked = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
        found["openstl"] = (
            subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
        )
    return found


def processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown")


def cases(arguments: argparse.Namespace) -> list[Case | str]:
    """What the command line asks for."""
    if arguments.cases == "sst":
        return list(RECIPES)
    if arguments.openstl is None:
        raise SystemExit("--openstl PATH: name a checkout of OpenSTL")
    chosen = {"official": OFFICIAL, "others": OTHERS}[arguments.cases]
    changed = {key: getattr(arguments, key) for key in ("hidden", "kernel", "batch", "size")}
    changed = {key: value for key, value in changed.items() if value is not None}
    if arguments.models:
        chosen = tuple(case for case in chosen if case.model in arguments.models)
    return list(dict.fromkeys(case._replace(**changed) for case in chosen))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--openstl", type=Path, help="a checkout of OpenSTL")
    parser.add_argument("--cases", choices=("official", "others", "sst"), default="official")
    parser.add_argument("--models", nargs="+", choices=tuple(openstl.MODELS), help="only these")
    parser.add_argument("--hidden", type=int, help="channels of each layer")
    parser.add_argument("--kernel", type=int, help="side of the kernels")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--size", type=int, help="side of the frames, in cells")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=["direct", "auto", "direct+layer"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--profile", action="store_true", help="keep the shares of operators in a training step")
    parser.add_argument("--output", type=Path, help="a record to put the rows into")
    arguments = parser.parse_args()
    for case in cases(arguments):
        row = measure(case, arguments)
        print("\n".join(told(row)), flush=True)
        if arguments.output is not None:
            keep(arguments.output, [row], about(arguments.openstl, arguments.threads))
    return 0


if __name__ == "__main__":
    sys.exit(main())
