"""The second half of E3D-LSTM: self-supervised auxiliary learning, that is recognition trained beside prediction.

Eidetic 3D LSTM (Wang et al. 2019), on self-supervised auxiliary learning; the released code has none of it. These are
choices: what is recognised (the direction in which the scene moves at each step, read from the frames themselves, so
that no labels are needed), the constants of the falling weight, and a classifier that is linear in the largest hidden
values.

Axes: ``B`` batch, ``N`` predicted frames, ``C`` channels, ``D`` depth, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stkit.train.callbacks import Callback, CallbackContext
from stkit.train.losses import Loss, LossSite, Terms, masked_sum
from stkit_e3d_lstm.config import PredictionWeightConfig, RecognitionConfig

DIRECTIONS = 2
"""Questions asked at each step: does the scene move down, and does it move to the right?"""


class RecognitionLoss(Loss):
    """``recognition + w * (a mean |d| + b mean d**2)``, with ``w = max(start - decrease_per_step * step, floor)``.

    Recognition is the cross-entropy of a classifier over the top layer's hidden state at each step: it reads of each
    channel the largest value over depth and grid, and says in which direction the scene moves into the frame that is
    being predicted. It is trained with the model, and is no part of it afterwards.

    In evaluation mode it is ``a mean |d| + b mean d**2`` alone: what weights are chosen by must not depend on the step.

    Args:
        width: channels of the top layer.
        recognition_weight: of the recognition.
        l1_weight: ``a``.
        l2_weight: ``b``.
        start: weight of the prediction at step 0.
        decrease_per_step: of the weight of the prediction.
        floor: of the weight of the prediction.

    The weight is kept in a tensor, which a graph of the training step follows (:mod:`stkit.train.graph`).
    """

    weight: Tensor

    def __init__(
        self,
        width: int,
        *,
        recognition_weight: float = 1.0,
        l1_weight: float = 1.0,
        l2_weight: float = 1.0,
        start: float = 1.0,
        decrease_per_step: float = 2e-5,
        floor: float = 0.1,
    ) -> None:
        super().__init__()
        self.recognition_weight = recognition_weight
        self.l1_weight, self.l2_weight = l1_weight, l2_weight
        self.start, self.decrease_per_step, self.floor = start, decrease_per_step, floor
        self.register_buffer("weight", torch.full((), torch.nan, dtype=torch.float64), persistent=False)
        self._knows_step = False
        self.classifier = nn.Linear(width, DIRECTIONS)

    @classmethod
    def from_config(cls, config: RecognitionConfig, site: LossSite) -> RecognitionLoss:  # type: ignore[override]
        """As a recipe says it."""
        return cls(site.widths[-1], **config.model_dump(exclude={"name"}))

    def at_step(self, step: int) -> None:
        """Training has finished so many optimiser steps; the callback ``prediction_weight`` says so."""
        self.weight.fill_(max(self.start - self.decrease_per_step * step, self.floor))
        self._knows_step = True

    @property
    def prediction_weight(self) -> float:
        """``w(step)``; NaN before somebody has said at which step training is."""
        return float(self.weight)

    def _weighted(self, total: Tensor, factor: float) -> Tensor:
        """A sum of the prediction's errors, times its factor and, in training, ``w(step)``.

        Raises:
            ValueError: if nobody says at which step training is.
        """
        if not self.training:
            return factor * total
        if not self._knows_step:
            raise ValueError(
                "the loss 'recognition' does not know the step of training: "
                "put the callback 'prediction_weight' into train.callbacks"
            )
        return (self.weight * factor).to(total.dtype) * total

    def counts(self, valid: Tensor) -> dict[str, Tensor]:
        """Valid cells for the prediction, samples for the recognition."""
        cells = valid.sum(dtype=torch.float64)
        counts = {"l1": cells, "l2": cells}
        if self.training:
            counts["recognition"] = torch.full((), valid.shape[0], device=valid.device, dtype=torch.float64)
        return counts

    def forward(
        self, prediction: Tensor, target: Tensor, valid: Tensor, aux: Sequence[tuple[Mapping[str, Tensor], ...]]
    ) -> Terms:
        """The terms of these samples, as sums with their counts.

        Args:
            prediction: ``B N C H W``.
            target: as ``prediction``.
            valid: bool, False where the target is missing.
            aux: the cells' by-products, for each step and layer.

        Raises:
            ValueError: if the top layer hands out no hidden state, or nobody says at which step training is.
        """
        difference = prediction.float() - target.float()
        counts = self.counts(valid)
        terms: Terms = {
            "l1": (self._weighted(masked_sum(difference.abs(), valid), self.l1_weight), counts["l1"]),
            "l2": (self._weighted(masked_sum(difference.square(), valid), self.l2_weight), counts["l2"]),
        }
        if self.training:
            told = self.recognise(aux)[:, 1 - target.shape[1] :]
            entropy = F.binary_cross_entropy_with_logits(told.float(), directions(target, valid), reduction="none")
            terms["recognition"] = (self.recognition_weight * entropy.mean(dim=(1, 2)).sum(), counts["recognition"])
        return terms

    def recognise(self, aux: Sequence[tuple[Mapping[str, Tensor], ...]]) -> Tensor:
        """``B T 2``, for each step: positive where the scene is said to move down, and to the right.

        Raises:
            ValueError: if the top layer hands out no hidden state.
        """
        hidden = [step[-1]["hidden"] for step in aux if "hidden" in step[-1]]
        if not hidden:
            raise ValueError(
                "the loss 'recognition' reads the hidden state of the top layer, which must be an e3d_lstm"
            )
        logits: Tensor = self.classifier(torch.stack([h.flatten(2).amax(dim=2) for h in hidden], dim=1))
        return logits


class PredictionWeight(Callback):
    """Tells the loss ``recognition`` at which step training is, so that the weight of the prediction falls."""

    @classmethod
    def from_config(cls, config: PredictionWeightConfig) -> PredictionWeight:  # type: ignore[override]
        """As a recipe says it."""
        return cls()

    def on_start(self, context: CallbackContext) -> None:
        """Also after a resume."""
        self._tell(context)

    def on_step(self, context: CallbackContext) -> None:
        """The next step's weight."""
        self._tell(context)

    def _tell(self, context: CallbackContext) -> None:
        loss: Any = context.objective.loss
        if not isinstance(loss, RecognitionLoss):
            raise ValueError("the callback 'prediction_weight' belongs to the loss 'recognition'")
        loss.at_step(context.step)


def directions(target: Tensor, valid: Tensor) -> Tensor:
    """``B N-1 2``: 1 where the centre of what exceeds a frame's mean moves down, and to the right; else 0.

    Args:
        target: ``B N C H W``; the first field counts, from each frame to the next.
        valid: as ``target``, bool; elsewhere nothing is seen.
    """
    height, width = target.shape[-2:]
    frames, seen = target[:, :, 0].float(), valid[:, :, 0]
    frames = torch.where(seen, frames, torch.zeros_like(frames))
    mean = frames.sum(dim=(2, 3), keepdim=True) / seen.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    weight = torch.where(seen, (frames - mean).clamp(min=0), torch.zeros_like(frames))
    total = weight.sum(dim=(2, 3)).clamp(min=torch.finfo(weight.dtype).tiny)
    rows = torch.arange(height, device=target.device, dtype=weight.dtype)
    columns = torch.arange(width, device=target.device, dtype=weight.dtype)
    down = (weight.sum(dim=3) * rows).sum(dim=2) / total  # B N
    right = (weight.sum(dim=2) * columns).sum(dim=2) / total
    return torch.stack([down.diff(dim=1) > 0, right.diff(dim=1) > 0], dim=2).to(weight.dtype)
