"""The loss on the validation part: what weights are chosen by. The test part is not looked at here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from stkit.train.ahead import Ahead
from stkit.train.device import total, vector
from stkit.train.objective import validation_terms
from stkit.train.setup import Training, on_device, ready_for


@torch.no_grad()
def validate(training: Training) -> dict[str, float]:
    """Mean terms of the loss of free-running forecasts over all validation windows; the same on every process.

    Each process takes every ``world``-th window, none twice, and sums are added up, so that the result does not depend
    on the number of processes (but for rounding).
    """
    training.batches.rest()
    accelerator, recipe = training.accelerator, training.recipe
    windows = training.data.validation
    mine = range(accelerator.process_index, len(windows), accelerator.num_processes)
    model, loss = training.evaluated, training.objective.loss
    were_training = model.training, loss.training
    model.eval()
    loss.eval()
    names = list(loss.counts(torch.zeros(1, 1, 1, 1, 1, dtype=torch.bool)))  # a process may have no window at all
    sums = vector([torch.zeros(())] * (2 * len(names)), accelerator.device)
    size = recipe.evaluate.batch_size
    ready = ready_for(accelerator.device, loss)
    parts_of = (mine[first : first + size] for first in range(0, len(mine), size))
    with Ahead(ready(collate([windows[index] for index in part])) for part in parts_of) as batches:
        for one in batches:
            batch = on_device(one, accelerator.device, loss)
            with accelerator.autocast():
                terms = validation_terms(model, loss, batch, recipe.data.input_steps)
            sums += vector([terms[name][0] for name in names] + [terms[name][1] for name in names], accelerator.device)
    model.train(were_training[0])
    loss.train(were_training[1])
    reduced: list[float] = total(accelerator, sums).tolist()
    parts = zip(names, reduced[: len(names)], reduced[len(names) :], strict=True)
    return {name: value / max(count, 1.0) for name, value, count in parts}


def collate(samples: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Samples as one batch."""
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
