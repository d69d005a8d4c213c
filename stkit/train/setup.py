"""Everything that training needs, put together from a recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
from accelerate import Accelerator

from stkit.errors import CheckpointError, RecipeError, UsageError
from stkit.plugin.manager import plugins
from stkit.train import checkpoint as checkpoints
from stkit.train.batches import Batch, Batches
from stkit.train.behind import Behind, behind
from stkit.train.callbacks import Callback
from stkit.train.device import on_main
from stkit.train.ema import AveragedWeights, build_ema
from stkit.train.graph import GraphedPasses, launched, obstacle
from stkit.train.heap import give_back_large_blocks
from stkit.train.losses import Loss, LossSite
from stkit.train.memory import choose_level, optimiser_share, training_bytes
from stkit.train.objective import Objective
from stkit.train.optimiser import build_optimiser, parameter_names
from stkit.train.stopping import Best
from stkit.train.tree import flatten, unflatten

if TYPE_CHECKING:
    from stkit.data.prepare import PreparedData
    from stkit.data.stream import TrainStream
    from stkit.recipe import LoadedRecipe
    from stkit.recipe.model import Recipe
    from stkit.run.directory import RunDirectory
    from stkit.stacks.forecaster import Forecaster
    from stkit.stacks.recompute import Level
    from stkit.train.step import Unread


class TrainingData(Protocol):
    """What a training is put together from: :class:`stkit.data.prepare.PreparedData`, or what stands for it."""

    @property
    def forecast_channels(self) -> int:
        """Channels that are forecast."""

    @property
    def state_channels(self) -> int:
        """Channels that are given and fed back."""

    @property
    def known_channels(self) -> int:
        """Channels that are known for the future, too."""

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width."""

    @property
    def pipeline(self) -> Any:
        """Its ``variables``, one for each channel that is forecast."""

    def stream(self, seed: int, global_batch: int, rank: int = 0, world: int = 1) -> Any:
        """One process's share of each batch."""


@dataclass
class Training:
    """One process's part of a training. Without suffix: the module itself; ``prepared_``: as Accelerate wrapped it."""

    loaded: LoadedRecipe
    accelerator: Accelerator
    data: PreparedData
    batches: Batches
    share: slice
    """This process's positions in each batch."""
    objective: Objective
    prepared_objective: torch.nn.Module
    optimiser: Any
    """Accelerate's wrapper of the optimiser."""
    ema: AveragedWeights | None
    callbacks: tuple[Callback, ...]
    engine: dict[str, Any]
    """What computes the convolutions, for ``run.json``."""
    passes: GraphedPasses
    """Forward and backward of a part of a batch."""
    memory: dict[str, Any]
    """What the backward pass computes again, and why, for ``run.json``."""
    behind: Behind
    """What the device has still to do."""
    run: RunDirectory = field(init=False)
    """Set once it is there: what is wrong with a recipe or its data is told before anything is written."""
    step: int = 0
    """Finished optimiser steps."""
    best: Best = field(default_factory=Best)
    loss_sum: float = 0.0
    """Sum of the losses since the last line of the log."""
    loss_steps: int = 0
    """Steps in ``loss_sum``."""
    unread: list[Unread] = field(default_factory=list)
    """What steps gave that nobody has read yet."""
    step_seconds: float = 0.0
    """Time that this process has spent in steps."""

    @property
    def recipe(self) -> Recipe:
        """The recipe."""
        return self.loaded.recipe

    @property
    def evaluated(self) -> Forecaster:
        """The model that is validated: with averaged weights where there is an average."""
        return cast("Forecaster", self.ema.module) if self.ema is not None else self.objective.forecaster

    def snapshot(self) -> checkpoints.Checkpoint:
        """Everything that a resumed run needs."""
        inner = self.optimiser.optimizer
        optimiser_tensors: dict[str, torch.Tensor] = {}
        scaler = self.accelerator.scaler
        state = {
            "optimiser": flatten(inner.state_dict(), optimiser_tensors),
            "optimiser_parameters": parameter_names(inner, self.objective),
            "best": self.best.state(),
            "loss_sum": self.loss_sum,
            "loss_steps": self.loss_steps,
            "scaler": None if scaler is None else scaler.state_dict(),
            "callbacks": [callback.state() for callback in self.callbacks],
        }
        return checkpoints.Checkpoint(
            step=self.step,
            recipe_hash=self.loaded.hash,
            tensors={
                "model": dict(self.objective.forecaster.state_dict()),
                "ema": {} if self.ema is None else dict(self.ema.module.state_dict()),
                "loss": dict(self.objective.loss.state_dict()),
                "optimiser": optimiser_tensors,
            },
            state=state,
        )

    def restore(self, saved: checkpoints.Checkpoint) -> None:
        """Go back to a snapshot.

        Raises:
            CheckpointError: it does not fit the model; nothing has been changed then.
        """
        path = saved.path or Path()
        modules = {"model": self.objective.forecaster, "loss": self.objective.loss}
        if self.ema is not None:
            modules["ema"] = self.ema.module
        for part, module in modules.items():
            checkpoints.check_shapes(saved.tensors.get(part, {}), module.state_dict(), path / f"{part}.safetensors")
        inner = self.optimiser.optimizer
        state = saved.state
        try:
            optimiser_state = self._optimiser_state(saved)
            best = Best.from_state(state["best"])
            progress = float(state["loss_sum"]), int(state["loss_steps"])
            scaler, callback_states = state["scaler"], list(state["callbacks"])
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{path / 'manifest.json'}: the state is incomplete ({error!r})") from error
        for part, module in modules.items():
            module.load_state_dict(saved.tensors.get(part, {}))
        inner.load_state_dict(optimiser_state)
        self.step, self.best = saved.step, best
        self.loss_sum, self.loss_steps = progress
        if self.accelerator.scaler is not None and scaler:
            self.accelerator.scaler.load_state_dict(scaler)
        for callback, callback_state in zip(self.callbacks, callback_states, strict=True):
            callback.restore(callback_state)

    def _optimiser_state(self, saved: checkpoints.Checkpoint) -> dict[str, Any]:
        """That of a snapshot, for the same parameters."""
        if saved.state["optimiser_parameters"] != parameter_names(self.optimiser.optimizer, self.objective):
            raise CheckpointError(f"{saved.path}: the optimiser's state belongs to other parameters")
        found: dict[str, Any] = unflatten(saved.state["optimiser"], saved.tensors.get("optimiser", {}))
        return found

    def restore_moments(self, saved: checkpoints.Checkpoint) -> None:
        """What the optimiser remembers of its gradients, of a snapshot; what the recipe says of it stays.

        Raises:
            CheckpointError: it is of other parameters.
        """
        inner = self.optimiser.optimizer
        try:
            kept = self._optimiser_state(saved)["state"]
        except KeyError as error:
            raise CheckpointError(f"{saved.path}: the state is incomplete ({error!r})") from error
        inner.load_state_dict({**inner.state_dict(), "state": kept})


def assemble(loaded: LoadedRecipe, accelerator: Accelerator, data: PreparedData | None = None) -> Training:
    """Data, model, loss, optimiser and average, on this process's device. Writes nothing.

    Args:
        loaded: the recipe.
        accelerator: of this process.
        data: the recipe's data where they have been prepared; None: they are prepared here.

    Raises:
        DataError, RecipeError, UsageError: something in the recipe does not fit.
    """
    from stkit.data.prepare import prepare
    from stkit.evaluate.checks import check_evaluation

    data = prepare(loaded.recipe.data, loaded.recipe.seed) if data is None else data
    check_evaluation(loaded.recipe.evaluate, data)
    return put_together(loaded, accelerator, data)


def put_together(loaded: LoadedRecipe, accelerator: Accelerator, data: TrainingData) -> Training:
    """:func:`assemble` from data that are there; nothing of them is looked at but what :class:`TrainingData` names."""
    from stkit.stacks.build import build_forecaster

    recipe = loaded.recipe
    if saves_memory(recipe):
        give_back_large_blocks()
    rank, world = accelerator.process_index, accelerator.num_processes
    stream = data.stream(recipe.seed, recipe.train.batch_size, rank, world)
    share = recipe.train.batch_size // world
    seed_everything(recipe.seed)
    forecaster = build_forecaster(
        recipe.model,
        in_channels=data.state_channels + data.known_channels,
        out_channels=data.forecast_channels,
        known_channels=data.known_channels,
        grid=data.grid,
    )
    widths = tuple(layer.width for layer in recipe.model.layers)
    site = LossSite(data.forecast_channels, widths, data.pipeline.variables)
    loss: Loss = build_component("losses", recipe.train.loss, site)
    objective = Objective(forecaster, loss, recipe.data.input_steps, truncate_steps=recipe.train.truncate_steps)
    objective.to(accelerator.device)
    engine = _engine(recipe, forecaster, data.grid, share, accelerator.device)
    ema = build_ema(recipe.train.ema_decay, objective.forecaster)
    optimiser = build_optimiser(recipe.train.optimiser, objective)
    memory = _memory(recipe, objective, stream, ema, accelerator)
    prepared_objective, prepared_optimiser = accelerator.prepare(objective, optimiser)
    device_behind = behind(accelerator.device)
    return Training(
        loaded=loaded,
        accelerator=accelerator,
        data=cast("PreparedData", data),
        batches=Batches(
            stream,
            -(-recipe.train.steps // passes(recipe)),
            recipe.train.workers,
            ready_for(accelerator.device, loss),
            device_behind.busy,
        ),
        share=slice(rank * share, (rank + 1) * share),
        objective=objective,
        prepared_objective=prepared_objective,
        optimiser=prepared_optimiser,
        ema=ema,
        callbacks=tuple(build_component("callbacks", config) for config in recipe.train.callbacks),
        engine=engine,
        passes=_passes(recipe, accelerator, prepared_objective, loss, objective.recompute),
        memory=memory,
        behind=device_behind,
    )


def _passes(
    recipe: Recipe, accelerator: Accelerator, objective: torch.nn.Module, loss: Loss, recompute: Level
) -> GraphedPasses:
    """Forward and backward, by graphs where the recipe and the device allow it.

    Raises:
        UsageError: the recipe insists on graphs that cannot be here.
    """
    names = list(loss.counts(torch.zeros(1, 1, 1, 1, 1, dtype=torch.bool)))
    reason = obstacle(
        device=accelerator.device,
        processes=accelerator.num_processes,
        precision=recipe.train.precision,
        recompute=recompute,
    )
    return GraphedPasses(launched(accelerator, objective, names), objective, recipe.train.graph, reason)


def _engine(
    recipe: Recipe, forecaster: Forecaster, grid: tuple[int, int], share: int, device: torch.device
) -> dict[str, Any]:
    """What computes the convolutions of a training batch, for the run record.

    Raises:
        UsageError: the recipe insists on an engine that cannot be here.
    """
    from stkit.stacks.engine import engine_record

    crop = recipe.data.crop
    cells = grid if crop is None else (min(crop.height, grid[0]), min(crop.width, grid[1]))
    height, width = (-(-side // recipe.model.patch) for side in cells)
    batch = max(share // recipe.train.accumulate, 1)
    try:
        return engine_record(
            forecaster,
            recipe.model.engine,
            batch=batch,
            grid=(height, width),
            device=device,
            precision=recipe.train.precision,
        )
    except ValueError as error:
        raise UsageError(f"model.engine: {error}") from error


def _memory(
    recipe: Recipe, objective: Objective, stream: TrainStream, ema: AveragedWeights | None, accelerator: Accelerator
) -> dict[str, Any]:
    """Set what the backward pass computes again; what is said of it in the run record.

    Raises:
        UsageError: the limit is below what training needs.
    """
    train = recipe.train

    def needs(level: Level) -> int:
        share = train.batch_size // accelerator.num_processes
        part = -(-share // train.accumulate)
        batch = {
            name: value[:part] for name, value in on_device(stream.batch(0), accelerator.device, objective.loss).items()
        }
        weights = sum(parameter.numel() * parameter.element_size() for parameter in objective.parameters())
        averaged = 0 if ema is None else sum(value.numel() * value.element_size() for value in ema.module.parameters())
        state = optimiser_share(lambda module: build_optimiser(train.optimiser, module))
        with accelerator.autocast():
            return training_bytes(
                objective,
                batch,
                sampled=train.sampling.name != "none",
                level=level,
                besides=averaged + round(state * weights),
                world=accelerator.num_processes,
            )

    objective.recompute, told = on_main(accelerator, lambda: choose_level(recipe, needs))
    return told


def saves_memory(recipe: Recipe) -> bool:
    """Whether training is to take little memory, even if that takes time."""
    return recipe.train.memory_limit_gb is not None or recipe.train.recompute not in (None, "none")


def passes(recipe: Recipe) -> int:
    """Optimiser steps that are taken with each batch."""
    return 2 if recipe.train.reverse_batches else 1


def build_component(kind: str, config: Any, *arguments: Any) -> Any:
    """A registered component from its configuration: ``target.from_config(config, ...)``.

    Raises:
        RecipeError: the component refuses its configuration or where it stands.
    """
    target = plugins().resolve(kind, config.name).load_target()
    try:
        return target.from_config(config, *arguments)
    except ValueError as error:
        raise RecipeError(f"train.{'loss' if kind == 'losses' else kind}: {config.name}: {error}") from error


def seed_everything(seed: int, *more: int) -> None:
    """Seed torch's generators by a seed and what else tells the places apart where random numbers are drawn."""
    state = np.random.SeedSequence([seed, *more]).generate_state(1, np.uint64)
    torch.manual_seed(int(state[0]))


def ready_for(device: torch.device, loss: Loss) -> Callable[[Batch], Batch]:
    """What is done to a batch before a step takes it: a GPU copies from pinned memory while the program goes on."""
    pins = device.type == "cuda"

    def ready(batch: Batch) -> Batch:
        return {name: value.pin_memory() if pins else value for name, value in read(batch, loss).items()}

    return ready


def on_device(sample: Batch, device: torch.device, loss: Loss) -> dict[str, torch.Tensor]:
    """What a model is trained on and its loss reads, moved to the device."""
    return {name: value.to(device, non_blocking=True) for name, value in read(sample, loss).items()}


def read(sample: Batch, loss: Loss) -> dict[str, torch.Tensor]:
    """What a model is trained on and its loss reads; what else a sample tells is left out."""
    names = ("frames", "valid", "known", "base", *loss.reads)
    return {name: sample[name] for name in names if name in sample}
