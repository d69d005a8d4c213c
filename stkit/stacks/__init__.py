"""Stacks, the ways they run over time, and the forecaster that users hold."""

from stkit.stacks.forecaster import Forecaster, RolloutOut, StreamState
from stkit.stacks.nonstationary import NonStationary, NonStationarySite
from stkit.stacks.patch import Patches, fold, unfold
from stkit.stacks.rollout import EncoderForecaster, NextFrame, Rollout, RolloutState
from stkit.stacks.stack import Stack, StackOut, StackState

__all__ = [
    "EncoderForecaster",
    "Forecaster",
    "NextFrame",
    "NonStationary",
    "NonStationarySite",
    "Patches",
    "Rollout",
    "RolloutOut",
    "RolloutState",
    "Stack",
    "StackOut",
    "StackState",
    "StreamState",
    "fold",
    "unfold",
]
