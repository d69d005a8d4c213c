"""Forecaster and loss as one module, so that both are prepared for several processes and mixed precision together.

Axes: ``B`` batch, ``T`` time, ``C`` fields, ``K`` known inputs, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stkit.stacks.forecaster import Forecaster
from stkit.stacks.recompute import Level
from stkit.train.losses import Aux, Loss, Terms

Batch = Mapping[str, Tensor]
"""``frames`` B T C H W, ``valid`` likewise (bool); where they exist ``known`` B T K H W, ``base`` B T-1 C H W; and what
the loss reads besides, ``B T ...``."""


class Objective(nn.Module):
    """The terms of the loss of a batch: sums and counts, not yet divided.

    Args:
        forecaster: the model.
        loss: scores every frame that the model's rollout predicts.
        context_steps: frames that the model is given when it forecasts.
        recompute: what the backward pass computes a second time.
        truncate_steps: time steps after which the gradient stops on its way back; None: it does not.
    """

    def __init__(
        self,
        forecaster: Forecaster,
        loss: Loss,
        context_steps: int,
        *,
        recompute: Level = "none",
        truncate_steps: int | None = None,
    ) -> None:
        super().__init__()
        self.forecaster = forecaster
        self.loss = loss
        self.context_steps = context_steps
        forecaster.hand_out_increments(wanted=loss.reads_increments)
        self.recompute = recompute
        self.truncate_steps = truncate_steps

    @property
    def first_target(self) -> int:
        """Index of the first frame that a training rollout predicts."""
        return 1 if self.forecaster.network.predicts_context else self.context_steps

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """What each term of this batch will be divided by, before the model has run."""
        return self.loss.counts(batch["valid"][:, self.first_target :])

    def forward(self, batch: Batch, tokens: Tensor | None = None) -> Terms:
        """The loss of every predicted frame; ``tokens`` (``B T-2``) say which true frames are shown."""
        out = self.forecaster.rollout(
            batch["frames"],
            self.context_steps,
            known=batch.get("known"),
            base=batch.get("base"),
            tokens=tokens,
            valid=batch["valid"],
            truncate=self.truncate_steps,
            recompute=self.recompute,
        )
        return _terms(self.loss, out.predictions, batch, out.first, out.aux)


def validation_terms(forecaster: Forecaster, loss: Loss, batch: Batch, context_steps: int) -> Terms:
    """The loss of the forecast part alone, running freely: what the model is chosen by."""
    out = forecaster.rollout(
        batch["frames"], context_steps, known=batch.get("known"), base=batch.get("base"), valid=batch["valid"]
    )
    return _terms(loss, out.predictions[:, context_steps - out.first :], batch, context_steps, out.aux)


def _terms(loss: Loss, predictions: Tensor, batch: Batch, first: int, aux: Aux) -> Terms:
    """The loss of ``predictions`` of the frames from ``first`` on."""
    besides = {name: batch[name][:, first:] for name in loss.reads}
    terms: Terms = loss(predictions, batch["frames"][:, first:], batch["valid"][:, first:], aux, **besides)
    return terms


def reversed_in_time(batch: Batch) -> dict[str, Tensor]:
    """The batch with its frames in reverse order (Wang et al. 2017 train on both).

    A batch with ``base`` has no reverse: a baseline's forecast points forward in time.
    """
    return {name: value.flip(1) for name, value in batch.items()}


def split(batch: Batch, tokens: Tensor | None, parts: int) -> list[tuple[dict[str, Tensor], Tensor | None]]:
    """Cut a batch along its samples into at most ``parts`` nearly equal parts, none of them empty."""
    samples = batch["frames"].shape[0]
    parts = min(parts, samples)
    cut = {name: torch.tensor_split(value, parts) for name, value in batch.items()}
    shown = [None] * parts if tokens is None else torch.tensor_split(tokens, parts)
    return [({name: pieces[part] for name, pieces in cut.items()}, shown[part]) for part in range(parts)]
