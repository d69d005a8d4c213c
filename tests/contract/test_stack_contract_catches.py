"""The contract of architectures can fail: each faulty forecaster here is caught by a named rule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stkit.cells import Tensors
from stkit.stacks.forecaster import Forecaster, RolloutOut, StreamState
from stkit.testing.contract import ContractViolation, StackContract

SMALL = {
    "cell": {"name": "conv_lstm", "kernel": 3},
    "layers": [4],
    "head": "conv",
    "rollout": {"name": "next_frame"},
    "patch": 2,
}


class PeeksAtTheFuture(Forecaster):
    """Frames are centred by the mean over the whole sequence."""

    def rollout(self, frames: Tensor, context_steps: int, **more: Any) -> RolloutOut:
        mean = frames.mean(dim=1, keepdim=True)
        out = super().rollout(frames - mean, context_steps, **more)
        return out._replace(predictions=out.predictions + mean)


class ShowsWhatIsHidden(Forecaster):
    """The sampling tokens are taken and nothing reads them."""

    def rollout(self, frames: Tensor, context_steps: int, *, tokens: Tensor | None = None, **more: Any) -> RolloutOut:
        tokens = None if tokens is None else torch.ones_like(tokens)
        return super().rollout(frames, context_steps, tokens=tokens, **more)


class StartsFromTheLastState(Forecaster):
    """What was forecast before moves what is forecast now."""

    last: Tensor | None = None

    def forward(self, context: Tensor, horizon: int, **more: Any) -> Tensor:
        forecast = super().forward(context, horizon, **more)
        if self.last is not None and self.last.shape == forecast.shape:
            forecast = forecast + self.last
        self.last = forecast.detach()
        return forecast


class ForecastsTwoFrames(Forecaster):
    """The horizon is fixed."""

    def forward(self, context: Tensor, horizon: int, **more: Any) -> Tensor:
        return super().forward(context, 2, **more)


class ForgetsToCrop(Forecaster):
    """The padding stays on the forecast."""

    def forward(self, context: Tensor, horizon: int, **more: Any) -> Tensor:
        forecast = super().forward(context, horizon, **more)
        return nn.functional.pad(forecast, (0, forecast.shape[-1] % 2))


class StreamsFromZeros(Forecaster):
    """Where no frame comes the stream takes zeros in place of its forecast."""

    def step(self, frame: Tensor | None, state: StreamState, **more: Any) -> tuple[Tensor, StreamState]:
        if frame is None:
            frame = torch.zeros_like(state.forecast[:, : self.fed_channels])
        return super().step(frame, state, **more)


class StreamsFromItself(Forecaster):
    """The stream lives on the module; the state that is handed in is not read."""

    stream: StreamState | None = None

    def warm(self, context: Tensor, **more: Any) -> StreamState:
        self.stream = super().warm(context, **more)
        return self.stream

    def step(self, frame: Tensor | None, state: StreamState, **more: Any) -> tuple[Tensor, StreamState]:
        forecast, self.stream = super().step(frame, self.stream or state, **more)
        return forecast, self.stream


class NormalisesOverTheBatch(Forecaster):
    """The mean of the batch is taken off."""

    def forward(self, context: Tensor, horizon: int, **more: Any) -> Tensor:
        return super().forward(context - context.mean(dim=0, keepdim=True), horizon, **more)


class FillsItsContext(Forecaster):
    """The context is changed in place."""

    def forward(self, context: Tensor, horizon: int, **more: Any) -> Tensor:
        return super().forward(context.clamp_(min=0), horizon, **more)


class DetachesItsFeedback(Forecaster):
    """There is no gradient through the forecasts that are fed back."""

    def _forecast_as_input(self, stream: StreamState) -> tuple[Tensor, Tensors]:
        x, memory = super()._forecast_as_input(stream)
        return x.detach(), memory


class LengthensItsStream(Forecaster):
    """The stream remembers every forecast."""

    def step(self, frame: Tensor | None, state: StreamState, **more: Any) -> tuple[Tensor, StreamState]:
        forecast, new = super().step(frame, state, **more)
        (stack,) = new.rollout.stacks
        seen = [*(v for name, v in state.rollout.stacks[0].nodes[0].items() if name == "seen"), forecast]
        stack = stack._replace(nodes=({**stack.nodes[0], "seen": torch.cat(seen, 1)},))
        return forecast, new._replace(rollout=new.rollout._replace(stacks=(stack,)))


class BranchesOnValues(Forecaster):
    """A field that is zero is not forecast."""

    def forward(self, context: Tensor, horizon: int, **more: Any) -> Tensor:
        return super().forward(context, horizon, **more) if context.abs().max() > 0 else context[:, :1]


class ExportsOneBatch(Forecaster):
    """The batch becomes a plain number."""

    def forward(self, context: Tensor, horizon: int, **more: Any) -> Tensor:
        noise = torch.zeros(int(context.shape[0]), 1, 1, 1, 1, dtype=context.dtype)
        forecast = super().forward(context, horizon, **more)
        return torch.cat([forecast[i : i + 1] + noise[i] for i in range(len(noise))])


class RoundsWhenExported(Forecaster):
    """The graph gives other numbers."""

    def forward(self, context: Tensor, horizon: int, **more: Any) -> Tensor:
        forecast = super().forward(context, horizon, **more)
        return forecast.round(decimals=3) if torch.compiler.is_exporting() else forecast


class AnswersInFloat32(Forecaster):
    """The forecast is cast."""

    def forward(self, context: Tensor, horizon: int, **more: Any) -> Tensor:
        return super().forward(context, horizon, **more).float()


class AnswersOnTheCpu(Forecaster):
    """A device by name."""

    def forward(self, context: Tensor, horizon: int, **more: Any) -> Tensor:
        return super().forward(context, horizon, **more).cpu()


class HasADeadParameter(Forecaster):
    """A layer that nothing calls."""

    def adorn(self) -> None:
        self.spare = nn.Linear(2, 2, dtype=torch.float64)


class SharesAWeight(Forecaster):
    """Two names for one tensor."""

    def adorn(self) -> None:
        self.again = next(self.parameters())


FAULTS: list[tuple[type[Forecaster], str]] = [
    (PeeksAtTheFuture, "causality"),
    (ShowsWhatIsHidden, "causality"),
    (StartsFromTheLastState, "pure"),
    (StartsFromTheLastState, "writes-nothing"),
    (ForecastsTwoFrames, "shapes"),
    (ForgetsToCrop, "shapes"),
    (StreamsFromZeros, "stepwise"),
    (StreamsFromItself, "resumes"),
    (StreamsFromItself, "writes-nothing"),
    (NormalisesOverTheBatch, "batch-independence"),
    (FillsItsContext, "writes-nothing"),
    (DetachesItsFeedback, "gradcheck"),
    (LengthensItsStream, "state-form"),
    (BranchesOnValues, "exports"),
    (ExportsOneBatch, "exports"),
    (RoundsWhenExported, "exports"),
    (AnswersInFloat32, "dtype"),
    (AnswersOnTheCpu, "meta-device"),
    (HasADeadParameter, "gradients"),
    (SharesAWeight, "saves"),
]


class TestASoundForecaster(StackContract):
    """Every rule passes on the model that the faulty ones are made of."""

    overrides = SMALL


def contract_of(fault: type[Forecaster]) -> StackContract:
    class Contract(StackContract):
        overrides = SMALL

        def build(self, *what: Any, **how: Any) -> Forecaster:
            forecaster = super().build(*what, **how)
            forecaster.__class__ = fault
            if hasattr(forecaster, "adorn"):
                forecaster.adorn()
            return forecaster

    return Contract()


@pytest.mark.parametrize(("fault", "rule"), FAULTS, ids=[f"{fault.__name__}-{rule}" for fault, rule in FAULTS])
def test_a_fault_is_caught_by_its_rule(fault: type[Forecaster], rule: str) -> None:
    with pytest.raises(ContractViolation) as caught:
        getattr(contract_of(fault), "test_" + rule.replace("-", "_"))()
    assert caught.value.rule == rule
    assert "found: " in str(caught.value)
    assert "what to do: " in str(caught.value)


def test_every_rule_catches_something() -> None:
    assert {rule for _, rule in FAULTS} == set(StackContract.rules)


def test_every_rule_has_a_test_and_every_test_a_rule() -> None:
    tests = {name.removeprefix("test_").replace("_", "-") for name in dir(StackContract) if name.startswith("test_")}
    assert tests == set(StackContract.rules)


def test_an_architecture_that_cannot_be_built_says_why() -> None:
    class Contract(StackContract):
        name = "predrnn"
        overrides = {"layers": [4, 8]}

    with pytest.raises(ContractViolation, match="equal widths"):
        Contract().test_pure()
