"""What a source's weights say of their model.

Axes: ``H`` height, ``W`` width (in patches).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from stkit.errors import CheckpointError, StkitError
from stkit.interop.layout import Place, Places, theirs_of, values_of
from stkit.interop.weights import Weights, listed
from stkit.recipe.alone import model_config
from stkit.stacks.build import build_forecaster
from stkit.stacks.forecaster import Forecaster
from stkit.stacks.rollout import NextFrame

Semantics = Literal["openstl-0.3", "openstl-1.0"]
"""Versions of OpenSTL whose cells compute something else with the same parameters."""


@dataclass(frozen=True)
class Architecture:
    """A model that was recognised in a source's weights."""

    title: str
    """For messages: ``OpenSTL's ConvLSTM``."""
    model: Mapping[str, Any]
    """The ``model`` section of a recipe that is this model, but for the patch."""
    patch_channels: int
    """Channels of a frame with its patches folded."""
    places: Callable[[NextFrame], Places]
    """For our network: where each parameter of theirs is in it."""
    grid: tuple[int, int] | None = None
    """Height and width, in patches, that the weights are tied to; None: they fit any."""
    dropped: Mapping[str, str] = field(default_factory=dict)
    """Parameters that are left out, each with the reason."""
    notes: tuple[str, ...] = ()
    """What to know of the imported model."""

    def build(
        self,
        *,
        patch: int = 1,
        grid: tuple[int, int] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Forecaster:
        """Our forecaster of this architecture, its weights not yet set.

        Args:
            patch: side in cells of the patches.
            grid: height and width of the frames, in cells; None: what the weights are tied to, or any.
            device: of the parameters.
            dtype: of the parameters.

        Raises:
            CheckpointError: the widths do not fit each other.
        """
        if grid is None and self.grid is not None:
            grid = (self.grid[0] * patch, self.grid[1] * patch)
        channels = self.patch_channels // patch**2
        try:
            return build_forecaster(
                model_config({**self.model, "patch": patch}),
                in_channels=channels,
                out_channels=channels,
                grid=grid,
                device=device,
                dtype=dtype,
            )
        except StkitError as error:
            told = "; ".join(str(error).splitlines())
            raise CheckpointError(f"{self.title}: the widths found make no model: {told}") from error

    def values(self, theirs: Weights, forecaster: Forecaster) -> dict[str, Tensor]:
        """Our parameters' values by name, for a forecaster of :meth:`build`.

        Raises:
            CheckpointError: a parameter is missing, unknown or has another shape, each named.
        """
        network = forecaster.network
        assert isinstance(network, NextFrame)
        places = self.places(network)
        self._check(theirs, places, dict(network.named_parameters()))
        return {f"network.{name}": value for name, value in values_of(places, theirs).items()}

    def idle(self, forecaster: Forecaster) -> dict[str, str]:
        """Parameters of which some gates are left out, with the reason."""
        network = forecaster.network
        assert isinstance(network, NextFrame)
        found: dict[str, str] = {}
        for name, place in self.places(network).items():
            if gates := place.idle_gates():
                found[name] = f"the gates {', '.join(gates)} in it, which have no effect on a forecast"
        return found

    def _check(self, theirs: Weights, places: Mapping[str, Place], ours: Mapping[str, Tensor]) -> None:
        filled = {name for place in places.values() for name in place.ours}
        assert filled == ours.keys(), f"places for {filled ^ ours.keys()}"
        problems = []
        if missing := places.keys() - theirs.keys():
            problems.append(f"missing: {listed(missing)}")
        if unknown := theirs.keys() - places.keys() - self.dropped.keys():
            problems.append(f"unknown: {listed(unknown)}")
        empty = {name: torch.empty_like(value, device="meta") for name, value in ours.items()}
        expected = theirs_of(places, empty)
        wrong = [
            f"{name} is {tuple(theirs[name].shape)} instead of {tuple(shape.shape)}"
            for name, shape in expected.items()
            if name in theirs and theirs[name].shape != shape.shape
        ]
        if wrong:
            more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            problems.append("; ".join(wrong[:3]) + more)
        if problems:
            raise CheckpointError(f"{theirs.where} does not fit {self.title}: {'; '.join(problems)}")


def present(theirs: Weights, names: Iterable[str], reason: str) -> dict[str, str]:
    """Those of the names that the file has, each with the reason why it is dropped."""
    return {name: reason for name in names if name in theirs}
