"""The contract of an architecture: what a trainer, an evaluation and a stream rely on.

Axes: ``B`` batch, ``T`` time, ``C`` channels, ``K`` known inputs, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor
from torch.func import functional_call

from stkit.testing import _drive as drive
from stkit.testing import _graph as graph
from stkit.testing.stack_under_test import StackUnderTest
from stkit.testing.strategies import STACK_SETTINGS, Case, cases, seeds, tensor

__all__ = ["StackContract"]

CHANNELS = ((1, 1), (3, 1), (1, 2))
"""Channels in and out: as many; two of them known in the future; more forecast than taken in."""


class StackContract(StackUnderTest):
    """The rules that every architecture meets. Inherit it, say which, and pytest runs one test for each rule::

        from stkit.testing.contract import StackContract

        class TestMyArchitecture(StackContract):
            name = "my_architecture"
            variant = "paper"

    The layers keep their number and kind; their widths are made small, so that the tests are quick.
    """

    @STACK_SETTINGS
    @given(case=cases(min_steps=1), channels=st.sampled_from(CHANNELS), horizon=st.integers(1, 3))
    def test_shapes(self, case: Case, channels: tuple[int, int], horizon: int) -> None:
        """Any batch, grid and horizon with one instance, channels in and out as asked for."""
        forecaster = self.build(channels, case.grid)
        sizes = [case, case._replace(batch=1, steps=1)]
        if not self.belongs_to_grid():
            sizes += [case._replace(height=5, width=7), case._replace(height=8, width=8)]
        for size in sizes:
            sample = self.sample(size, channels)
            with self.obey("shapes", f"forecasting {horizon} frames of batch {size.batch} on a grid {size.grid}"):
                got = tuple(forecaster(sample.context(), horizon).shape)
            if got != (size.batch, horizon, channels[1], *size.grid):
                wanted = (size.batch, horizon, channels[1], *size.grid)
                raise self.violation("shapes", f"the forecast has shape {got} where {wanted} was due")

    @STACK_SETTINGS
    @given(case=cases(), other=cases())
    def test_pure(self, case: Case, other: Case) -> None:
        """The same context twice, others of the same and of another shape in between."""
        forecaster = self.build(grid=case.grid)
        if self.belongs_to_grid():
            other = other._replace(height=case.height, width=case.width)
        context = self.sample(case).context()
        with self.obey("pure", "forecasting again after another context"):
            first = forecaster(context, 2)
            for between in (other, case._replace(seed=other.seed)):
                forecaster(self.sample(between).context(), 2)
            second = forecaster(context, 2)
        self.require_equal("pure", "the second forecast", second, first)

    @STACK_SETTINGS
    @given(case=cases(), training=st.booleans())
    def test_writes_nothing(self, case: Case, training: bool) -> None:
        """Attributes, buffers and arguments are as before, however it is called."""
        forecaster = self.build(grid=case.grid).train(training)
        sample = self.sample(case)
        context = sample.context()
        kept, before = (sample.frames.clone(), context.clone()), drive.footprint(forecaster)
        with self.obey("writes-nothing", "forecasting, training and streaming"):
            forecaster(context, 2)
            forecaster.rollout(sample.frames, sample.context_steps)
            _, stream = forecaster.step(context[:, -1], forecaster.warm(context))
            frozen = _mapped(stream, torch.clone)
            forecaster.step(None, stream)
        if written := drive.changed(before, drive.footprint(forecaster)):
            raise self.violation("writes-nothing", f"these had changed: {', '.join(written)}")
        for what, a, b in (("the frames", sample.frames, kept[0]), ("the context", context, kept[1])):
            self.require_equal("writes-nothing", f"after the calls {what}", a, b)
        for a, b in zip(_tensors(stream), _tensors(frozen), strict=True):
            self.require_equal("writes-nothing", "after a step, a tensor of the stream's state that went in", a, b)

    @STACK_SETTINGS
    @given(case=cases(), channels=st.sampled_from(CHANNELS))
    def test_batch_independence(self, case: Case, channels: tuple[int, int]) -> None:
        """Each sample alone gives what it gives in the batch."""
        case = case._replace(batch=case.batch + 1)
        forecaster = self.build(channels, case.grid)
        context = self.sample(case, channels).context()
        with self.obey("batch-independence", "forecasting a batch and its samples one by one"):
            together = forecaster(context, 2)
            alone = [forecaster(context[i : i + 1], 2) for i in range(case.batch)]
        for i, forecast in enumerate(alone):
            what = f"the forecast of sample {i}, alone and in a batch of {case.batch},"
            self.require_equal("batch-independence", what, together[i : i + 1], forecast)

    @STACK_SETTINGS
    @given(case=cases(), data=st.data())
    def test_causality(self, case: Case, data: st.DataObject) -> None:
        """Other frames where none is shown, the same predictions."""
        forecaster = self.build(grid=case.grid)
        sample = self.sample(case)
        frames, context = sample.frames, sample.context_steps
        altered = frames.clone()
        altered[:, context:] += 1
        with self.obey("causality", "a training rollout without sampling"):
            a, b = (forecaster.rollout(f, context) for f in (frames, altered))
        what = "a prediction, when frames after the context are others,"
        self.require_equal("causality", what, b.predictions, a.predictions)
        if a.first != 1:  # it predicts nothing inside the context, and is shown nothing after it
            return
        shown = torch.ones(case.batch, frames.shape[1] - 2, dtype=torch.bool)
        later = data.draw(st.integers(1, frames.shape[1] - 1), label="the frame that is altered")
        altered = frames.clone()
        altered[:, later:] += 1
        with self.obey("causality", "a training rollout that is shown every frame"):
            a, b = (forecaster.rollout(f, context, tokens=shown) for f in (frames, altered))
        what = f"a prediction of frames 1 to {later}, when frame {later} and later ones are others,"
        self.require_equal("causality", what, b.predictions[:, :later], a.predictions[:, :later])
        tokens = tensor(case.seed, *shown.shape) > 0
        altered = frames.clone()
        altered[:, 1:-1][~tokens] += 1
        altered[:, -1] += 1
        with self.obey("causality", "a training rollout that is shown some frames"):
            a, b = (forecaster.rollout(f, context, tokens=tokens) for f in (frames, altered))
        what = "a prediction, when frames that the sampling hides are others,"
        self.require_equal("causality", what, b.predictions, a.predictions)

    @STACK_SETTINGS
    @given(case=cases(), channels=st.sampled_from(CHANNELS), with_base=st.booleans())
    def test_stepwise(self, case: Case, channels: tuple[int, int], with_base: bool) -> None:
        """The whole forecast, the stream, and the training rollout tell the same."""
        forecaster = self.build(channels, case.grid)
        # Where a module sets the level of the forecasts there is no base to depart from.
        sample = self.sample(case, channels, with_base=with_base and forecaster.takes_base, horizon=3)
        cut, frames = sample.context_steps, sample.frames
        with self.obey("stepwise", "forecasting at once, step by step, and as in training"):
            whole = forecaster(sample.context(), sample.horizon, **sample.future())
            trained = forecaster.rollout(frames, cut, known=sample.known, base=sample.base)
            stream = forecaster.warm(sample.context(), **sample.ahead(cut))
            leads = [stream.forecast]
            for frame in range(cut + 1, frames.shape[1]):
                forecast, stream = forecaster.step(None, stream, **sample.ahead(frame))
                leads.append(forecast)
            fed = forecaster.warm(sample.context(0, 1), **sample.ahead(1))
            for frame in range(1, cut):
                _, fed = forecaster.step(sample.context(frame, frame + 1)[:, 0], fed, **sample.ahead(frame + 1))
        for lead, forecast in enumerate(leads):
            self.require_equal("stepwise", f"lead {lead + 1} of the stream", forecast, whole[:, lead])
        self.require_equal("stepwise", "the forecast of a stream that was fed frame by frame", fed.forecast, leads[0])
        tail = trained.predictions[:, cut - trained.first :]
        self.require_equal("stepwise", "the forecast part of a training rollout", tail, whole)

    @STACK_SETTINGS
    @given(case=cases(min_steps=3, max_steps=5), data=st.data())
    def test_resumes(self, case: Case, data: st.DataObject) -> None:
        """Half a stream, its state copied, another instance, the other half."""
        cut = data.draw(st.integers(1, case.steps - 1), label="frames before the cut")
        forecaster, fresh = self.build(grid=case.grid), self.build(grid=case.grid)
        context = self.sample(case).context()
        with self.obey("resumes", f"going on in a fresh instance after {cut} frames"):
            whole = forecaster.warm(context).forecast
            state = _mapped(forecaster.warm(context[:, :cut]), lambda part: part.detach().clone())
            fresh.warm(self.sample(case._replace(seed=case.seed + 7)).context())
            for frame in range(cut, case.steps):
                _, state = fresh.step(context[:, frame], state)
        self.require_equal("resumes", f"the forecast of a stream cut after frame {cut - 1}", state.forecast, whole)

    @STACK_SETTINGS
    @given(case=cases(min_steps=2))
    def test_state_form(self, case: Case) -> None:
        """After each frame of a stream, and where none came."""
        forecaster = self.build(grid=case.grid)
        context = self.sample(case).context()
        with self.obey("state-form", "taking in frame after frame"):
            state = forecaster.warm(context[:, :1])
            forms = [_form(state)]
            for frame in [*context[:, 1:].unbind(1), None]:
                _, state = forecaster.step(frame, state)
                forms.append(_form(state))
        for place, form in enumerate(forms):
            if form != forms[0]:
                moved = sorted(k for k in form.keys() | forms[0] if form.get(k) != forms[0].get(k))
                found = f"not the same after frame 0 and after frame {place}: {', '.join(moved)}"
                raise self.violation("state-form", found)

    @STACK_SETTINGS
    @given(seed=seeds())
    def test_gradients(self, seed: int) -> None:
        """Of the predictions of a training rollout."""
        case = Case(2, 3, 6, 5, seed)
        forecaster = self.build(grid=case.grid, seed=seed).train()
        sample = self.sample(case)
        torch.manual_seed(seed)
        with self.obey("gradients", "taking the gradient of a training rollout"):
            predictions = forecaster.rollout(sample.frames, sample.context_steps).predictions
            dead = drive.dead_parameters(forecaster, [predictions], seed)
        if dead:
            raise self.violation("gradients", f"no gradient from a training rollout: {', '.join(dead)}")

    @STACK_SETTINGS
    @given(seed=st.integers(0, 1))
    def test_gradcheck(self, seed: int) -> None:
        """Two frames ahead, with respect to the context and every parameter."""
        case = Case(1, 2, 3, 2, seed)
        forecaster = self.build(grid=case.grid, seed=seed)
        weights = {name: value.detach() for name, value in forecaster.named_parameters()}

        def run(*leaves: Tensor) -> tuple[Tensor, ...]:
            own = dict(zip(weights, leaves, strict=False))
            forecast: Tensor = functional_call(forecaster, own, (leaves[-1], 2))
            return (forecast,)

        leaves = {f"the parameter {name}": value for name, value in weights.items()}
        with self.obey("gradcheck", "comparing gradients with finite differences"):
            drive.gradcheck(run, {**leaves, "the context": self.sample(case).context()})

    @STACK_SETTINGS
    @given(case=cases())
    def test_saves(self, case: Case) -> None:
        """Weights of one instance in another, and a deep copy."""
        forecaster, other = (self.build(grid=case.grid, seed=case.seed + i) for i in (0, 1))
        context = self.sample(case).context()
        with self.obey("saves", "saving the state_dict with safetensors, loading it, and copying the module"):
            other.load_state_dict(load_tensors(save_tensors(forecaster.state_dict())), strict=True)
            wanted, got = forecaster(context, 2), other(context, 2)
            copied = copy.deepcopy(forecaster)(context, 2)
        self.require_equal("saves", "the forecast of an instance with the loaded weights", got, wanted)
        self.require_equal("saves", "the forecast of a deep copy", copied, wanted)

    @STACK_SETTINGS
    @given(case=cases())
    def test_meta_device(self, case: Case) -> None:
        """Shapes without numbers."""
        with self.obey("meta-device", "building on the meta device and forecasting there"):
            forecaster = self.build(grid=case.grid, device="meta", dtype=torch.float32)
            forecast = forecaster(self.sample(case).context().to("meta", torch.float32), 2)
        tensors = [*forecaster.named_parameters(), *forecaster.named_buffers(), ("the forecast", forecast)]
        if strays := [name for name, value in tensors if value.device.type != "meta"]:
            raise self.violation("meta-device", f"not on the meta device: {', '.join(strays)}")

    @STACK_SETTINGS
    @given(case=cases(), dtype=st.sampled_from([torch.bfloat16, torch.float64, torch.float32]))
    def test_dtype(self, case: Case, dtype: torch.dtype) -> None:
        """What it is built in, and autocast as a trainer uses it."""
        context = self.sample(case).context()
        with self.obey("dtype", f"forecasting in {dtype}"):
            forecast = self.build(grid=case.grid, dtype=dtype)(context.to(dtype), 2)
        if forecast.dtype != dtype:
            raise self.violation("dtype", f"the forecast has {forecast.dtype} in a forecaster built in {dtype}")
        forecaster = self.build(grid=case.grid, dtype=torch.float32)
        with self.obey("dtype", "forecasting under autocast to bfloat16"), torch.autocast("cpu", torch.bfloat16):
            mixed = forecaster(context.to(torch.float32), 2)
        if not (torch.isfinite(forecast).all() and torch.isfinite(mixed).all()):
            raise self.violation("dtype", f"a forecast is not finite in {dtype} or under autocast")

    def test_exports(self) -> None:
        """One graph, forecasts of two frames from one, for other batches and grids than that of the example."""
        case, any_grid = Case(2, 1, 5, 6, 0), not self.belongs_to_grid()
        forecaster = self.build(grid=case.grid)
        cases = [case, case._replace(batch=1), case._replace(batch=3)]
        if any_grid:
            cases += [case._replace(height=8, width=7), case._replace(batch=3, height=4, width=4)]
        with self.obey("exports", "exporting a forecast and calling the graph"), graph.capturing(), torch.no_grad():
            program = graph.exported(forecaster, self.sample(case).context(), 2, any_grid=any_grid)
            forecasts = [program(self.sample(each).context()) for each in cases]
        for each, forecast in zip(cases, forecasts, strict=True):
            what = f"the exported forecast of batch {each.batch} on a grid {each.grid}"
            self.require_equal("exports", what, forecast, forecaster(self.sample(each).context(), 2))


def _tensors(state: Any) -> list[Tensor]:
    """Every tensor of a state made of (named) tuples, dicts and lists."""
    if isinstance(state, Tensor):
        return [state]
    parts = state.values() if isinstance(state, Mapping) else state if isinstance(state, (tuple, list)) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _form(state: Any, place: str = "state") -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shape and dtype of every tensor of a state, by its place."""
    if isinstance(state, Tensor):
        return {place: (tuple(state.shape), state.dtype)}
    if state is None or isinstance(state, int):  # a count of steps has no form
        return {}
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        state = dict(zip(state._fields, state, strict=True))
    parts = state.items() if isinstance(state, Mapping) else enumerate(state)
    return {name: form for key, part in parts for name, form in _form(part, f"{place}.{key}").items()}


def _mapped(state: Any, change: Any) -> Any:
    """The same structure with every tensor changed."""
    if isinstance(state, Tensor):
        return change(state)
    if isinstance(state, Mapping):
        return {name: _mapped(part, change) for name, part in state.items()}
    if isinstance(state, tuple):
        parts = [_mapped(part, change) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return [_mapped(part, change) for part in state] if isinstance(state, list) else state
