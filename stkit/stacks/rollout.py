"""How stacks run over time. Everything here is in folded space: frames are ``B C H W`` with patches in the channels.

Axes: ``B`` batch, ``C`` channels, ``H`` height, ``W`` width (in patches).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from stkit.cells.base import Tensors
from stkit.stacks.stack import Stack, StackState

Aux = tuple[Tensors, ...]
"""By-products of one step of a stack, a mapping for each node."""


class RolloutState(NamedTuple):
    """Everything a rollout remembers between two frames."""

    stacks: tuple[StackState, ...]
    hidden: tuple[Tensor, ...]
    """What the head reads next: every node's hidden state; empty where the forecast takes a step of its own."""


def detached(state: RolloutState) -> RolloutState:
    """The same numbers, from which no gradient goes back."""
    stacks = tuple(
        StackState(tuple(_cut(node) for node in stack.nodes), _cut(stack.carry), stack.steps) for stack in state.stacks
    )
    return RolloutState(stacks, tuple(hidden.detach() for hidden in state.hidden))


def _cut(tensors: Tensors) -> Tensors:
    return {name: value.detach() for name, value in tensors.items()}


class Rollout(nn.Module):
    """How frames are taken in and forecasts given out.

    A true frame is *absorbed*, then the next one can be *forecast*. Running freely, the forecast is *fed* back before
    the next forecast. In a stream a frame may fail to come: then the forecast *stands in* for it.

    Attributes:
        predicts_context: whether it forecasts the frames of the context, too.
    """

    predicts_context: bool

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> RolloutState:
        """Zeros. ``height`` and ``width`` are counted in patches."""
        raise NotImplementedError

    def absorb(self, x: Tensor, state: RolloutState) -> tuple[RolloutState, tuple[Aux, ...]]:
        """Take in a frame with its known inputs. Returns the state and the by-products of the steps taken."""
        raise NotImplementedError

    def forecast(self, known: Tensor | None, state: RolloutState) -> tuple[Tensor, RolloutState, tuple[Aux, ...]]:
        """What the head says of the next frame, whose known inputs are ``known``; the state; the by-products."""
        raise NotImplementedError

    def feed(self, x: Tensor, state: RolloutState) -> tuple[RolloutState, tuple[Aux, ...]]:
        """Go on from a forecast, with its known inputs."""
        raise NotImplementedError

    def stand_in(self, x: Tensor, state: RolloutState) -> RolloutState:
        """Go on from a forecast in place of a frame that did not come."""
        return self.feed(x, state)[0]


class NextFrame(Rollout):
    """Every step predicts the next frame; what is fed back is a frame or a forecast, the stack does not know which.

    Args:
        stack: takes a frame and its known inputs.
        head: ``hidden states -> frame``.
    """

    predicts_context = True

    def __init__(self, stack: Stack, head: nn.Module) -> None:
        super().__init__()
        self.stack = stack
        self.head = head

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> RolloutState:
        """Zeros; nothing can be forecast from them before a frame was absorbed."""
        return RolloutState((self.stack.initial_state(batch, height, width, device, dtype),), ())

    def absorb(self, x: Tensor, state: RolloutState) -> tuple[RolloutState, tuple[Aux, ...]]:
        """One step of the stack."""
        out = self.stack.step(x, state.stacks[0])
        return RolloutState((out.state,), out.ys), (out.aux,)

    def forecast(self, known: Tensor | None, state: RolloutState) -> tuple[Tensor, RolloutState, tuple[Aux, ...]]:
        """The head's reading of the step just taken. ``known`` belongs to a frame not yet seen: it is not used."""
        frame: Tensor = self.head(state.hidden)
        return frame, state, ()

    def feed(self, x: Tensor, state: RolloutState) -> tuple[RolloutState, tuple[Aux, ...]]:
        """As a true frame."""
        return self.absorb(x, state)


class EncoderForecaster(Rollout):
    """Encoding-Forecasting structure (Shi et al. 2015, section 3.3).

    The encoder reads the context; the forecaster starts from copies of its states, layer by layer, and takes as many
    steps as there are frames to forecast, without an input (or with the known inputs only).

    Args:
        encoder: takes a frame and its known inputs.
        forecaster: the same nodes, whose bottom one takes no input or the known inputs.
        head: ``the forecaster's hidden states -> frame``.

    Raises:
        ValueError: if the forecaster's states are not those of the encoder.
    """

    predicts_context = False

    def __init__(self, encoder: Stack, forecaster: Stack, head: nn.Module) -> None:
        super().__init__()
        meta = torch.device("meta")
        told, wanted = (_shapes(stack.initial_state(1, 4, 4, meta)) for stack in (encoder, forecaster))
        if told != wanted:
            raise ValueError(f"the forecaster's states {wanted} cannot start from the encoder's {told}")
        self.encoder = encoder
        self.forecaster = forecaster
        self.head = head

    def initial_state(
        self, batch: int, height: int, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> RolloutState:
        """Zeros for the encoder and the forecaster."""
        stacks = (self.encoder, self.forecaster)
        return RolloutState(tuple(stack.initial_state(batch, height, width, device, dtype) for stack in stacks), ())

    def absorb(self, x: Tensor, state: RolloutState) -> tuple[RolloutState, tuple[Aux, ...]]:
        """One step of the encoder; the forecaster starts anew from its states."""
        out = self.encoder.step(x, state.stacks[0])
        return RolloutState((out.state, out.state), ()), (out.aux,)

    def forecast(self, known: Tensor | None, state: RolloutState) -> tuple[Tensor, RolloutState, tuple[Aux, ...]]:
        """One step of the forecaster, and the head's reading of it."""
        encoded, running = state.stacks
        out = self.forecaster.step(known if self.forecaster.in_channels else None, running)
        frame: Tensor = self.head(out.ys)
        return frame, RolloutState((encoded, out.state), ()), (out.aux,)

    def feed(self, x: Tensor, state: RolloutState) -> tuple[RolloutState, tuple[Aux, ...]]:
        """Nothing: the forecaster runs without input."""
        return state, ()

    def stand_in(self, x: Tensor, state: RolloutState) -> RolloutState:
        """The encoder takes the forecast for the frame that did not come; the forecaster runs on."""
        encoded, running = state.stacks
        return RolloutState((self.encoder.step(x, encoded).state, running), ())


def _shapes(state: StackState) -> list[dict[str, tuple[int, ...]]]:
    return [{name: tuple(value.shape) for name, value in part.items()} for part in (*state.nodes, state.carry)]
