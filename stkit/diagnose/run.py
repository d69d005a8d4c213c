"""Look into a trained run: forecast some windows under observation, and add up what is seen.

Axes: ``C`` variables, ``H`` height, ``W`` width.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from stkit.cells.observe import watch
from stkit.data.prepare import PreparedData
from stkit.data.source import Grid
from stkit.data.windows import Windows
from stkit.diagnose.attention import LookCollector
from stkit.diagnose.decoupling import OverlapCollector
from stkit.diagnose.gates import Bounds, GateCounter
from stkit.diagnose.gradients import frame_norms, last_frame_loss
from stkit.diagnose.recorder import Recorder, leads
from stkit.diagnose.result import Diagnosis, GradientFlow
from stkit.diagnose.stationarity import DriftCollector
from stkit.diagnose.windows import Part, choose, part_of, take
from stkit.errors import RunFailed, UsageError
from stkit.evaluate.run import check_same_windows
from stkit.recipe import Recipe
from stkit.recipe.plan import plan
from stkit.run.directory import RunDirectory
from stkit.run.load import TrainedForecaster, load
from stkit.run.origin import prepared
from stkit.stacks.patch import Patches

LOG = logging.getLogger("stkit.diagnose")


@dataclass(frozen=True)
class Field:
    """Where a run's maps lie."""

    grid: Grid
    valid: Tensor
    """``H W``, False where no variable ever has a value, such as on land."""
    patch: int

    @property
    def folded(self) -> Tensor:
        """``valid`` in patches: a patch counts if any of its cells does."""
        patches = Patches(self.patch, *self.valid.shape)
        return patches.fold(self.valid[None].to(torch.float32)).amax(dim=0) > 0


@dataclass(frozen=True)
class _Opened:
    """A run with its weights and its data."""

    run: RunDirectory
    trained: TrainedForecaster
    data: PreparedData
    windows: Windows


def diagnose(
    run: RunDirectory,
    beside: Sequence[RunDirectory] = (),
    *,
    part: Part = "validation",
    windows: int = 8,
    bounds: Bounds = Bounds(),  # noqa: B008  (a tuple of numbers)
    device: torch.device | None = None,
) -> tuple[Diagnosis, Field]:
    """Look into a run. Nothing is written.

    Args:
        run: with a checkpoint.
        beside: other runs on the same windows, whose gradients are shown beside.
        part: the windows are taken from it.
        windows: how many, spread evenly over the part.
        bounds: what counts as a saturated gate.
        device: where to compute; None: the CPU.

    Returns:
        What was found, and where its maps lie.

    Raises:
        UsageError: it is no run, or has no checkpoint (:class:`CheckpointError`), or its data cannot be had, are not
            those that it was trained on or have no windows in that part (:class:`DataError`), or a run beside it has
            other windows, or a bound is not between 0 and 1.
        RunFailed: its forecasts are not finite.
    """
    if not 0 <= bounds.below < bounds.above <= 1:
        raise UsageError(
            f"a gate is saturated below {bounds.below:g} or above {bounds.above:g}: expected two numbers between 0 and "
            "1, the first one smaller"
        )
    opened = _open(run, part, device)
    numbers = choose(opened.windows, windows)
    others = [_open(other, part, device) for other in beside]
    for other in others:
        _check_comparable(opened, other, part)
    LOG.info("looking into %d windows of the %s part", len(numbers), part)
    diagnosis = _look(opened, numbers, part, bounds)
    flows = [_flow(other, numbers) for other in others]
    return replace(diagnosis, gradients=told_apart([*diagnosis.gradients, *flows])), _field(opened)


def told_apart(flows: Sequence[GradientFlow]) -> tuple[GradientFlow, ...]:
    """Runs of one recipe by their folders, too, so that each has a name of its own."""
    shared = {name for name, count in Counter(flow.name for flow in flows).items() if count > 1}
    folders = Counter((flow.name, Path(flow.run).name) for flow in flows)

    def named(flow: GradientFlow) -> GradientFlow:
        folder = Path(flow.run).name
        where = folder if folders[flow.name, folder] == 1 else flow.run
        return replace(flow, name=f"{flow.name} in {where}") if flow.name in shared else flow

    return tuple(map(named, flows))


def _open(run: RunDirectory, part: Part, device: torch.device | None) -> _Opened:
    trained = load(run.path, device=device)
    data = prepared(run, trained.recipe)
    check_same_windows(run, data)
    return _Opened(run, trained, data, part_of(data, part))


def _check_comparable(one: _Opened, other: _Opened, part: Part) -> None:
    if one.windows.hash != other.windows.hash:
        raise UsageError(
            f"{other.run.path}: its {part} windows ({other.windows.hash}) are not those of {one.run.path} "
            f"({one.windows.hash}): runs are compared on the same windows of the same data only"
        )


def _look(opened: _Opened, numbers: Sequence[int], part: Part, bounds: Bounds) -> Diagnosis:
    forecaster, data = opened.trained.forecaster, opened.data
    input_steps, horizon = data.config.input_steps, data.config.horizon
    valid = _field(opened).folded.to(opened.trained.device)
    lead_of = leads(forecaster, input_steps, horizon)
    names = _layer_names(opened.trained.recipe, data)
    gates, overlaps = GateCounter(bounds), OverlapCollector()
    drifts = DriftCollector(_layers_that_learn(opened, names))
    looks = LookCollector(lead_of.index(1))
    flow = _Flow()
    for number in numbers:
        recorder = Recorder(forecaster)
        with watch(recorder):
            flow.add(opened, number)
        with torch.no_grad():
            gates.add(recorder.steps, valid)
            drifts.add(recorder.steps, valid)
            overlaps.add(recorder.steps)
            looks.add(recorder.steps, valid)
    return Diagnosis(
        run=str(opened.run.path),
        name=str(opened.run.read_record().get("name") or opened.run.path.name),
        trained_steps=opened.trained.trained_steps,
        part=part,
        windows=tuple(numbers),
        windows_hash=opened.windows.hash,
        lead_unit=opened.windows.source.step_name,
        input_steps=input_steps,
        leads=lead_of,
        layers=names,
        bounds=bounds,
        gates=tuple(gates.result()),
        gradients=(flow.result(opened),),
        looks=tuple(looks.looks()),
        ages=tuple(looks.ages()),
        drifts=tuple(drifts.result()),
        drift_steps=drifts.steps,
        comparisons=tuple(drifts.comparisons()),
        overlaps=tuple(overlaps.result()),
        look_maps=tuple(looks.maps),
        age_maps=tuple(looks.age_maps),
    )


class _Flow:
    """The gradient of the last frame's error with respect to each input frame, window by window."""

    def __init__(self) -> None:
        self._norms: list[Tensor] = []

    def add(self, opened: _Opened, number: int) -> None:
        """Forecast one window and take the gradient; left out if the last frame has no value.

        Raises:
            RunFailed: the forecast is not finite.
        """
        trained, config = opened.trained, opened.data.config
        window = take(opened.windows[number], config.input_steps, opened.data.state_channels).to(trained.device)
        context = window.context.requires_grad_()
        with torch.enable_grad():
            forecast = trained.forecaster(
                context, config.horizon, known=window.known, base=window.base, valid=window.valid
            )
            loss = last_frame_loss(forecast, window)
        if not forecast.isfinite().all():
            raise RunFailed(f"{opened.run.path}: the forecast of window {number + 1} is not finite")
        if window.truth_valid[:, -1].any():
            self._norms.append(frame_norms(loss, context, trained.forecaster.fed_channels))

    def result(self, opened: _Opened) -> GradientFlow:
        """Mean over the windows."""
        name = str(opened.run.read_record().get("name") or opened.run.path.name)
        norms = torch.stack(self._norms).mean(dim=0).tolist() if self._norms else []
        return GradientFlow(name, str(opened.run.path), tuple(norms), len(self._norms))


def _flow(opened: _Opened, numbers: Sequence[int]) -> GradientFlow:
    flow = _Flow()
    for number in numbers:
        flow.add(opened, number)
    return flow.result(opened)


def _field(opened: _Opened) -> Field:
    pipeline = opened.windows.pipeline
    valid = pipeline.valid.any(dim=0).cpu()
    return Field(pipeline.grid, valid, opened.trained.recipe.model.patch)


def _layer_names(recipe: Recipe, data: PreparedData) -> dict[int, str]:
    """What stands in each layer: its cell, and the transition if it has one that is not the cell's own."""
    nodes = plan(recipe.model, data.state_channels + data.known_channels, data.known_channels)
    return {
        node.layer: node.cell.name if node.transition is None else f"{node.cell.name} + {node.transition.name}"
        for node in nodes
    }


def _layers_that_learn(opened: _Opened, names: dict[int, str]) -> tuple[int, ...]:
    """Layers with weights: a window of frames has none, and its output is the data's, not the model's."""
    learning = set()
    for name, _ in opened.trained.forecaster.network.named_parameters():
        parts = name.split(".")
        if "nodes" in parts:
            learning.add(int(parts[parts.index("nodes") + 1]) + 1)
    return tuple(layer for layer in names if layer in learning)


def path_of(run: RunDirectory, out: Path | None) -> Path:
    """Where a diagnosis is written: beside the run's other files, or in a folder of its own."""
    return run.diagnosis if out is None else out / run.diagnosis.name
