"""The contract of a cell: what a stack, a rollout, a trainer and a stream rely on.

Axes: ``B`` batch, ``C`` channels, ``D`` depth, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys

import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor
from torch.func import functional_call

from stkit.cells.base import StepOut, Tensors
from stkit.testing import _drive as drive
from stkit.testing import _graph as graph
from stkit.testing._options import inert_fields
from stkit.testing.cell_under_test import CellUnderTest
from stkit.testing.strategies import CONTRACT_SETTINGS, Case, cases, seeds

__all__ = ["CellContract"]

_FREE = "__not_declared__"


class CellContract(CellUnderTest):
    """The rules that every cell meets. Inherit it, say which cell, and pytest runs one test for each rule::

        from stkit.testing.contract import CellContract

        class TestMyCell(CellContract):
            name = "my_cell"

    A rule that is broken fails with a :class:`~stkit.testing.rules.ContractViolation` that says what was found and what
    to do. The values of ``config`` are those of a recipe's ``cell:`` block.
    """

    @CONTRACT_SETTINGS
    @given(case=cases(), grids=st.just(((5, 7), (6, 3), (4, 4))))
    def test_shapes(self, case: Case, grids: tuple[tuple[int, int], ...]) -> None:
        """Batch, grid and channels as declared, and one instance for all of them."""
        cell = self.build(case.grid)
        sizes = [case, case._replace(batch=1), case._replace(batch=case.batch + 1)]
        if not self.belongs_to_grid():
            sizes += [case._replace(height=height, width=width) for height, width in grids]
        channels, _ = self.fitting_sizes()
        for size in sizes:
            with self.obey("shapes", f"one instance steps through batch {size.batch} on a grid {size.grid}"):
                trace = self.unroll(cell, self.inputs(cell, size), size)
                got, said = tuple(trace.last.y.shape), (cell.in_channels, cell.out_channels)
            if said[0] != channels:
                raise self.violation("shapes", f"in_channels is {said[0]} in a cell built for {channels}")
            if (got[:2], got[-2:]) != ((size.batch, said[1]), size.grid):
                wanted = f"batch {size.batch}, {said[1]} channels (out_channels) and grid {size.grid}"
                raise self.violation("shapes", f"y has shape {got} where {wanted} were due")

    @CONTRACT_SETTINGS
    @given(case=cases(), other=cases())
    def test_pure(self, case: Case, other: Case) -> None:
        """The same sequence twice, others of the same and of another shape in between."""
        cell = self.build(case.grid)
        other = other._replace(height=case.height, width=case.width)
        xs = self.inputs(cell, case)
        with self.obey("pure", "running the same sequence again after another one"):
            first = self.unroll(cell, xs, case)
            for between in (other, case._replace(seed=other.seed)):
                self.unroll(cell, self.inputs(cell, between), between)
            second = self.unroll(cell, xs, case)
        for step, (a, b) in enumerate(zip(second.ys, first.ys, strict=True)):
            self.require_equal("pure", f"y of step {step} in the second run", a, b)

    @CONTRACT_SETTINGS
    @given(case=cases(), training=st.booleans())
    def test_writes_nothing(self, case: Case, training: bool) -> None:
        """Attributes, buffers and arguments are as before."""
        cell = self.build(case.grid).train(training)
        xs = self.inputs(cell, case)
        before = drive.footprint(cell)
        state, carry = self.start(cell, case)
        for x in xs:
            given_in = {"x": {"x": x}, "state": state, "carry": carry}
            kept = {part: drive.copied(tensors) for part, tensors in given_in.items()}
            with self.obey("writes-nothing", "stepping"):
                out = cell.step(x, state, carry)
            for part, tensors in given_in.items():
                if moved := drive.changed(kept[part], dict(tensors)):
                    raise self.violation("writes-nothing", f"step changed its argument {part}: {', '.join(moved)}")
            state = out.state
        if written := drive.changed(before, drive.footprint(cell)):
            raise self.violation("writes-nothing", f"after {case.steps} steps these had changed: {', '.join(written)}")

    @CONTRACT_SETTINGS
    @given(case=cases())
    def test_batch_independence(self, case: Case) -> None:
        """Each sample alone gives what it gives in the batch."""
        case = case._replace(batch=case.batch + 1)
        cell = self.build(case.grid)
        xs = self.inputs(cell, case)
        with self.obey("batch-independence", "running a batch and its samples one by one"):
            together = self.unroll(cell, xs, case)
            alone = [self.unroll(cell, [x[i : i + 1] for x in xs], case._replace(batch=1)) for i in range(case.batch)]
        for i, trace in enumerate(alone):
            for step, y in enumerate(trace.ys):
                what = f"y of sample {i} at step {step}, alone and in a batch of {case.batch},"
                self.require_equal("batch-independence", what, together.ys[step][i : i + 1], y)

    @CONTRACT_SETTINGS
    @given(case=cases())
    def test_causality(self, case: Case) -> None:
        """Other frames at the end, the same outputs before; and what was handed out stays as it was."""
        cell = self.build(case.grid)
        xs = self.inputs(cell, case)
        altered = [*xs[:-1], xs[-1] + 1]
        with self.obey("causality", "running two sequences that differ in the last frame"):
            a, b = self.unroll(cell, xs, case), self.unroll(cell, altered, case)
        for step in range(case.steps - 1):
            what = f"y of step {step}, when the frame of step {case.steps - 1} is another,"
            self.require_equal("causality", what, b.ys[step], a.ys[step])
        for step, (out, y) in enumerate(zip(a.outs, a.ys, strict=True)):
            what = f"y of step {step}, looked at again after the last step,"
            self.require_equal("causality", what, out.y, y)

    @CONTRACT_SETTINGS
    @given(case=cases(min_steps=3, max_steps=5), data=st.data())
    def test_resumes(self, case: Case, data: st.DataObject) -> None:
        """Half a sequence, the state through a file, another instance, the other half."""
        cut = data.draw(st.integers(1, case.steps - 1), label="steps before the cut")
        cell, fresh = self.build(case.grid), self.build(case.grid)
        xs = self.inputs(cell, case)
        with self.obey("resumes", f"saving the state after step {cut - 1} and going on in a fresh instance"):
            whole = self.unroll(cell, xs, case)
            state, zeros = self.start(cell, case)
            half = drive.unroll(cell, xs[:cut], state, zeros)
            self.unroll(fresh, self.inputs(fresh, case._replace(seed=case.seed + 7)), case)
            carry = drive.returned(half.last.carry, zeros)
            rest = drive.unroll(fresh, xs[cut:], _through_file(half.last.state), _through_file(carry))
        for step, y in enumerate(half.ys + rest.ys):
            what = f"y of step {step}, cut after step {cut - 1},"
            self.require_equal("resumes", what, y, whole.ys[step])

    @CONTRACT_SETTINGS
    @given(case=cases())
    def test_state_form(self, case: Case) -> None:
        """Constant keys, shapes and dtypes; storage of its own."""
        cell = self.build(case.grid)
        with self.obey("state-form", "making the initial state and stepping"):
            state, carry = self.start(cell, case)
            again, _ = self.start(cell, case)
            trace = self.unroll(cell, self.inputs(cell, case), case)
        owners: dict[int, str] = {}
        for name, value in [*state.items(), *carry.items(), *again.items()]:
            storage = value.untyped_storage()
            if any(stride == 0 and size > 1 for stride, size in zip(value.stride(), value.shape, strict=True)):
                raise self.violation("state-form", f"initial '{name}' is an expanded view, not a tensor of its own")
            if value.numel() and storage.data_ptr() in owners:
                found = f"initial '{name}' shares its memory with '{owners[storage.data_ptr()]}'"
                raise self.violation("state-form", found)
            owners[storage.data_ptr()] = name
        for step, out in enumerate(trace.outs):
            if out.state.keys() != state.keys():
                found = f"the keys are {sorted(state)} at the start and {sorted(out.state)} after step {step}"
                raise self.violation("state-form", found)
            for name, value in out.state.items():
                was = state[name]
                if (value.shape, value.dtype) != (was.shape, was.dtype):
                    form = f"{tuple(was.shape)} {was.dtype} at the start, {tuple(value.shape)} {value.dtype}"
                    raise self.violation("state-form", f"'{name}' is {form} after step {step}")

    @CONTRACT_SETTINGS
    @given(case=cases(min_steps=3))
    def test_state_moves(self, case: Case) -> None:
        """No entry is still what it was: after as many steps as there are entries, what is handed on has arrived."""
        cell = self.build(case.grid)
        with self.obey("state-moves", "stepping"):
            state, _ = self.start(cell, case)
            case = case._replace(steps=max(case.steps, len(state)))
            out = self.unroll(cell, self.inputs(cell, case), case).last
        still = [name for name in state if name in out.state and drive.difference(out.state[name], state[name]) == 0]
        if still:
            raise self.violation("state-moves", f"after {case.steps} steps still the initial value: {', '.join(still)}")

    @CONTRACT_SETTINGS
    @given(case=cases())
    def test_carry_as_declared(self, case: Case) -> None:
        """Registers, channels, and passing on."""
        cell, (_, width) = self.build(case.grid), self.fitting_sizes()
        declared, said = dict(self.cell_config().carry_ports(width)), dict(cell.carry_spec)
        arrives = self.carry_in(width)  # a port that takes any width reads, once built, the one that arrives
        asked, told = (
            {k: (arrives.get(k) if p.reads is None else p.reads, p.writes) for k, p in ports.items()}
            for ports in (declared, said)
        )
        if self.transition is None and asked != told:
            raise self.violation("carry-as-declared", f"carry_spec is {said}, the config's carry_ports {declared}")
        state, carry = self.start(cell, case)
        passing = self.input(cell, case, case.seed, dtype=torch.float64)
        with self.obey("carry-as-declared", "stepping with a register that the cell does not declare"):
            out = cell.step(passing, state, {**carry, _FREE: passing})
        if sorted(out.carry) != sorted({*carry, *(k for k, p in said.items() if p.writes), _FREE}):
            wanted = sorted({*carry, *said}) or "nothing"
            raise self.violation(
                "carry-as-declared",
                f"step returned the registers {sorted(set(out.carry) - {_FREE}) or 'nothing'} where {wanted} are "
                f"declared{'' if _FREE in out.carry else ', and dropped one that is not its own'}",
            )
        self.require_equal("carry-as-declared", "a register of another node", out.carry[_FREE], passing, 0)
        without = {name: value for name, value in carry.items() if not said[name].optional}
        with self.obey("carry-as-declared", "stepping without the registers that are declared optional"):
            cell.step(passing, state, without)
        for name, port in said.items():
            if port.writes and out.carry[name].shape[1] != port.writes:
                found = f"'{name}' has {out.carry[name].shape[1]} channels where {port.writes} are declared"
                raise self.violation("carry-as-declared", found)

    @CONTRACT_SETTINGS
    @given(case=cases())
    def test_out_key(self, case: Case) -> None:
        """The entry that rises is in the state."""
        cell = self.build(case.grid)
        with self.obey("out-key", f"looking for the state entry '{cell.out_key}'"):
            for step, out in enumerate(self.unroll(cell, self.inputs(cell, case), case).outs):
                what = f"state['{cell.out_key}'] against y at step {step}"
                self.require_equal("out-key", what, out.state[cell.out_key], out.y, 0)

    def test_places_as_declared(self) -> None:
        """Attention reads and writes them as it does the output."""
        case, config = Case(2, 1, 5, 6, 0), self.cell_config()
        cell = self.build(case.grid)
        with self.obey("places-as-declared", "stepping"):
            out = self.unroll(cell, self.inputs(cell, case), case).last
        for place in config.places:
            if place not in out.state:
                found = f"'{place}' is declared, and the entries are {', '.join(sorted(out.state))}"
                raise self.violation("places-as-declared", found)
            if out.state[place].shape != out.y.shape:
                found = f"'{place}' has shape {tuple(out.state[place].shape)}, y has {tuple(out.y.shape)}"
                raise self.violation("places-as-declared", found)

    @CONTRACT_SETTINGS
    @given(seed=seeds())
    def test_gradients(self, seed: int) -> None:
        """Of the last output and of what is carried on, after four steps from zero."""
        case = Case(2, 4, 5, 6, seed)
        cell = self.build(case.grid, seed=seed).train()
        torch.manual_seed(seed)
        with self.obey("gradients", "taking the gradient of four steps"):
            last = self.unroll(cell, self.inputs(cell, case), case).last
            carried = {name: last.carry[name] for name, port in cell.carry_spec.items() if port.writes}
            dead = drive.dead_parameters(cell, [last.y, *drive.floats(carried)], seed)
        if dead:
            raise self.violation("gradients", f"no gradient after {case.steps} steps: {', '.join(dead)}")

    @CONTRACT_SETTINGS
    @given(seed=st.integers(0, 3))
    def test_gradcheck(self, seed: int) -> None:
        """Three steps, with respect to every input, register, state entry and parameter."""
        case = Case(1, 3, 3, 2, seed)
        cell = self.build(case.grid, seed=seed)
        xs = self.inputs(cell, case)
        state = self.unroll(cell, self.inputs(cell, case._replace(seed=seed + 17)), case).last.state
        _, carry = self.start(cell, case)
        fixed = {name: value.detach() for name, value in state.items() if not value.is_floating_point()}
        moving = {name: value.detach() for name, value in state.items() if value.is_floating_point()}
        weights = dict(cell.named_parameters())

        def run(*leaves: Tensor) -> tuple[Tensor, ...]:
            given_in = iter(leaves)
            own = {f"cell.{name}": next(given_in) for name in weights}
            sequence = [next(given_in) for _ in xs]
            kept = {**fixed, **{name: next(given_in) for name in moving}}
            registers = {name: next(given_in) for name in carry}
            last: StepOut = functional_call(drive.Unrolled(cell), own, (sequence, kept, registers))
            return tuple(v for v in (last.y, *last.state.values(), *last.carry.values()) if v.requires_grad)

        leaves = {
            **{f"the parameter {name}": value for name, value in weights.items()},
            **{f"x of step {step}": x for step, x in enumerate(xs)},
            **{f"the state entry '{name}'": value for name, value in moving.items()},
            **{f"the register '{name}'": value for name, value in carry.items()},
        }
        with self.obey("gradcheck", "comparing gradients with finite differences"):
            drive.gradcheck(run, leaves)

    @CONTRACT_SETTINGS
    @given(seed=st.integers(0, 3))
    def test_translation(self, seed: int) -> None:
        """The same patch at two places of a wide field, and what is seen around it."""
        if self.position_dependent or self.belongs_to_grid():
            return
        case, side, near = Case(1, 2, 40, 43, seed), 5, 4
        cell = self.build(seed=seed)
        # With 2 rows and 3 columns on 43 columns a scrambled layout moves by 89 places, a prime.
        down, right = 2 * self.translation_step, 3 * self.translation_step
        top, left = 16, 17
        plain: list[Tensor] = []
        moved: list[Tensor] = []
        for x in self.inputs(cell, case):
            patch = x[..., :side, :side]
            for sequence, (y0, x0) in ((plain, (top, left)), (moved, (top + down, left + right))):
                field = torch.zeros_like(x)
                field[..., y0 : y0 + side, x0 : x0 + side] = patch
                sequence.append(field)
        with self.obey("translation", "running a patch at two places of a field"), torch.no_grad():
            a, b = self.unroll(cell, plain, case).last.y, self.unroll(cell, moved, case).last.y
        here = a[..., top - near : top + side + near, left - near : left + side + near]
        top, left = top + down, left + right
        there = b[..., top - near : top + side + near, left - near : left + side + near]
        what = f"y around a patch that was moved by {down} rows and {right} columns"
        self.require_equal("translation", what, there, here, 1e-6)

    @CONTRACT_SETTINGS
    @given(case=cases())
    def test_saves(self, case: Case) -> None:
        """Weights of one instance in another, and a deep copy."""
        cell, other = self.build(case.grid, seed=case.seed), self.build(case.grid, seed=case.seed + 1)
        xs = self.inputs(cell, case)
        with self.obey("saves", "saving the state_dict with safetensors, loading it, and copying the module"):
            other.load_state_dict(load_tensors(save_tensors(cell.state_dict())), strict=True)
            wanted, got = self.unroll(cell, xs, case).last.y, self.unroll(other, xs, case).last.y
            copied = self.unroll(copy.deepcopy(cell), xs, case).last.y
        self.require_equal("saves", "y of an instance with the loaded weights", got, wanted)
        self.require_equal("saves", "y of a deep copy", copied, wanted)

    @CONTRACT_SETTINGS
    @given(case=cases())
    def test_meta_device(self, case: Case) -> None:
        """Shapes without numbers."""
        with self.obey("meta-device", "building on the meta device and stepping there"):
            cell = self.build(case.grid, device="meta", dtype=torch.float32)
            elsewhere = [n for n, p in [*cell.named_parameters(), *cell.named_buffers()] if p.device.type != "meta"]
            state, carry = self.start(cell, case, device="meta", dtype=torch.float32)
            xs = [x.to("meta", torch.float32) for x in self.inputs(cell, case)]
            out: StepOut = drive.unroll(cell, xs, state, carry).last
        if elsewhere:
            raise self.violation("meta-device", f"not on the device of the site: {', '.join(elsewhere)}")
        made = {"y": out.y, **{f"state '{k}'": v for k, v in [*state.items(), *out.state.items()]}, **out.carry}
        if strays := [name for name, value in made.items() if value.device.type != "meta"]:
            raise self.violation("meta-device", f"not on the device of the input: {', '.join(strays)}")

    @CONTRACT_SETTINGS
    @given(case=cases(), dtype=st.sampled_from([torch.bfloat16, torch.float64, torch.float32]))
    def test_dtype(self, case: Case, dtype: torch.dtype) -> None:
        """What it is built in, and autocast as a trainer uses it."""
        cell = self.build(case.grid, dtype=dtype)
        if others := [f"{n} is {p.dtype}" for n, p in cell.named_parameters() if p.dtype != dtype]:
            raise self.violation("dtype", f"built with {dtype}: {', '.join(others)}")
        with self.obey("dtype", f"stepping in {dtype}"):
            state, carry = self.start(cell, case, dtype=dtype)
            xs = [x.to(dtype) for x in self.inputs(cell, case)]
            out = drive.unroll(cell, xs, state, carry).last
        made = {"y": {"y": out.y}, "initial state": state, "state": out.state, "carry": out.carry}
        for name, tensors in made.items():
            for part in drive.floats(tensors):
                if part.dtype != dtype:
                    raise self.violation("dtype", f"{name} has {part.dtype} in a cell built in {dtype}")
                if not torch.isfinite(part).all():
                    raise self.violation("dtype", f"{name} is not finite in {dtype}")
        cell = self.build(case.grid, dtype=torch.float32)
        state, carry = self.start(cell, case, dtype=torch.float32)
        xs = [x.to(torch.float32) for x in self.inputs(cell, case)]
        with self.obey("dtype", "stepping under autocast to bfloat16"), torch.autocast("cpu", torch.bfloat16):
            y = drive.unroll(cell, xs, state, carry).last.y
        if not torch.isfinite(y).all():
            raise self.violation("dtype", "y is not finite under autocast to bfloat16")

    def test_compiles(self) -> None:
        """One graph for four steps, and the gradients through all of them."""
        case = Case(2, 4, 5, 4, 0)
        cell = self.build(case.grid).train()
        xs = [x.requires_grad_() for x in self.inputs(cell, case)]
        state, zeros = self.start(cell, case)
        with self.obey("compiles", "stepping"):
            outs = graph.run(cell.step, xs, state, zeros)
            for step, out in enumerate(outs):
                if turned := graph.turned(out.state, outs[0].state):
                    found = f"a gradient is required after step 0 or after step {step}, not after both: {turned}"
                    raise self.violation("compiles", found)
            # Zeros as they would arrive from an earlier step, so that one graph serves the first step, too.
            state = graph.signed(state, outs[0].state)
            carry = graph.signed(zeros, drive.returned(outs[0].carry, zeros))
            wanted = graph.run(cell.step, xs, state, carry)
        with self.obey("compiles", "compiling a step and stepping on with it"), graph.capturing():
            got = graph.run(graph.compiled(cell, self.backend), xs, state, carry)
        leaves = {**dict(cell.named_parameters()), **{f"x of step {step}": x for step, x in enumerate(xs)}}
        with self.obey("compiles", "taking the gradient through compiled steps"):
            ours, theirs = (graph.told(outs, leaves) for outs in (got, wanted))
        for name, value in theirs.items():
            self.require_equal("compiles", f"{name}, compiled,", ours[name], value)

    def test_options_act(self) -> None:
        """Another value of each field makes another cell."""
        inert = list(inert_fields(self))
        if inert:
            raise self.violation("options-act", f"no other value that was tried changes anything: {', '.join(inert)}")

    def test_light_config(self) -> None:
        """The command line reads configurations and must answer at once."""
        spec = self.spec()
        if spec is None:
            return
        module = spec.config.partition(":")[0]
        script = f"import sys, {module}; sys.exit('torch' in sys.modules)"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            raise self.violation("light-config", done.stderr.strip() or f"{module} imports torch")


def _through_file(tensors: Tensors) -> Tensors:
    """As read from a file, in another order."""
    loaded = load_tensors(save_tensors({name: value.detach().contiguous().clone() for name, value in tensors.items()}))
    return dict(sorted(loaded.items(), reverse=True))
