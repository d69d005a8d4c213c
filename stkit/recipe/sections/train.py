"""The ``train:`` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from stkit.plugin.config import ComponentConfig, Config
from stkit.recipe.component import Component

LossChoice = Annotated[ComponentConfig, Component("losses")]
CallbackChoice = Annotated[ComponentConfig, Component("callbacks")]


class OptimiserConfig(Config):
    """An optimiser of ``timm.optim`` by its name there."""

    name: str = "adam"
    lr: float = Field(1e-3, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[float, float] | None = None
    """Null: the optimiser's own."""
    eps: float | None = Field(None, gt=0)
    """Null: the optimiser's own."""


class ScheduleConfig(Config):
    """Learning rate over the steps, as a factor of the peak."""

    name: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = Field(0, ge=0)
    """Steps of linear rise from zero."""
    final_factor: float = Field(0.0, ge=0, le=1)
    """Factor at the last step (linear, cosine)."""


class NoSampling(Config):
    """The model always sees its own predictions after the context."""

    name: Literal["none"]


class ScheduledSampling(Config):
    """Bengio et al. 2015 as in PredRNN: true frames are shown in the forecast part with a falling probability."""

    name: Literal["scheduled"]
    start: float = Field(1.0, ge=0, le=1)
    """Probability of a true frame at step 0."""
    decrease_per_step: float = Field(2e-5, ge=0)
    stop_step: int = Field(50_000, ge=0)
    """From this step on the probability is zero."""


class ReverseScheduledSampling(Config):
    """PredRNN-V2: in the context part, too, frames are hidden at first; shown with a rising probability."""

    name: Literal["reverse_scheduled"]
    first_step: int = Field(25_000, ge=0)
    """Until here the context's probability is 0.5."""
    second_step: int = Field(50_000, ge=0)
    """From here on the context is always shown and the forecast part never."""
    decay_steps: float = Field(5_000.0, gt=0)
    """Time constant (``alpha``) of the rise in between."""


SamplingChoice = Annotated[NoSampling | ScheduledSampling | ReverseScheduledSampling, Field(discriminator="name")]


class EarlyStoppingConfig(Config):
    """Stop when the validation loss has not improved."""

    patience: int = Field(ge=1)
    """Evaluations without improvement that are waited for."""
    min_delta: float = Field(0.0, ge=0)
    """Smallest decrease that counts."""


class TrainConfig(Config):
    """How the model learns. Everything is counted in optimiser steps."""

    steps: int = Field(ge=1)
    batch_size: int = Field(8, ge=1)
    """Windows of one optimiser step, over all processes and accumulated parts."""
    accumulate: int = Field(1, ge=1)
    """Parts into which a process splits its share of the batch."""
    loss: LossChoice
    reverse_batches: bool = False
    """Train each batch a second time with time reversed, as the PredRNN authors do: two optimiser steps a batch."""
    sampling: SamplingChoice
    optimiser: OptimiserConfig = OptimiserConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    clip_norm: float | None = Field(None, gt=0)
    """Largest norm of the gradient; null: not clipped."""
    precision: Literal["no", "tf32", "bf16", "fp16"] = "no"
    """``no`` is float32; ``tf32``: float32 whose products a GPU rounds to 10 bits; ``bf16``, ``fp16``: mixed."""
    graph: Literal["auto", "off", "on"] = "auto"
    """Whether a step's forward and backward pass are recorded once as a CUDA graph and replayed; it changes no number.
    ``auto``: on one GPU where that can be."""
    ema_decay: float | None = Field(None, gt=0, lt=1)
    """Exponential moving average of the weights, used for evaluation; null: none."""
    early_stopping: EarlyStoppingConfig | None = None
    evaluate_every_steps: int = Field(100, ge=1)
    """Validation, and keeping the best weights."""
    checkpoint_every_steps: int = Field(500, ge=1)
    log_every_steps: int = Field(10, ge=1)
    truncate_steps: int | None = Field(None, ge=1)
    """Time steps after which the gradient stops on its way back through states and forecasts; null: it goes back to the
    first frame."""
    recompute: Literal["none", "layer", "step", "everything"] | None = None
    """What the backward pass computes a second time, to keep less for it: nothing, each layer's step, each time step,
    or each layer's step and what an engine makes of the weights. Null: what ``memory_limit_gb`` asks for."""
    memory_limit_gb: float | None = Field(None, gt=0)
    """What training may hold in tensors on each process's device, in 10^9 bytes: as little is computed again as fits;
    null: no limit."""
    workers: int = Field(0, ge=0)
    """Processes that prepare batches; 0: a thread of the training process, while it computes."""
    callbacks: tuple[CallbackChoice, ...] = ()
    """Plugins' callbacks that act during training."""

    @model_serializer(mode="wrap")
    def _without_what_is_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A recipe without these keeps its hash, and so its runs, from before there were any.
        absent: dict[str, Any] = {
            "graph": "auto",
            "truncate_steps": None,
            "recompute": None,
            "memory_limit_gb": None,
        }
        values: dict[str, Any] = handler(self)
        return {key: value for key, value in values.items() if key not in absent or value != absent[key]}
