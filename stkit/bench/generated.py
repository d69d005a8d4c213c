"""Data of a recipe's shapes, drawn at random: what a step costs does not depend on what the numbers say.

Axes: ``B`` batch, ``T`` time, ``C`` fields, ``K`` known inputs, ``H`` height, ``W`` width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stkit.data.prepare import open_source
from stkit.data.roles import roles_of
from stkit.plugin.manager import plugins
from stkit.recipe.validate import known_channels

if TYPE_CHECKING:
    from stkit.recipe.model import Recipe


class Generated:
    """Stands for the data that a recipe is trained on; of the real ones no more is read than what they are.

    Raises:
        DataError: the recipe's data cannot be opened.
    """

    def __init__(self, recipe: Recipe) -> None:
        source = open_source(recipe.data.dataset)
        roles = roles_of(recipe.data.roles, source.variables, source.name)
        self.recipe = recipe
        self.grid = source.grid.shape
        self.forecast_channels = len(roles.forecast)
        self.state_channels = len(roles.forecast) - len(roles.target)
        self.known_channels = known_channels(recipe)
        self.pipeline = SimpleNamespace(variables=tuple(source.variables[channel] for channel in roles.forecast))

    @property
    def frames(self) -> int:
        """Frames of a window: context and horizon."""
        return self.recipe.data.input_steps + self.recipe.data.horizon

    def stream(self, seed: int, global_batch: int, rank: int = 0, world: int = 1) -> GeneratedStream:
        """One process's share of each batch."""
        return GeneratedStream(self._batch(seed, global_batch // world, self._crop()))

    def context(self, seed: int, size: int) -> tuple[Tensor, Tensor | None]:
        """What a forecast is made from: ``B T C H W``, and the known inputs ``B horizon K H W``."""
        batch = self._batch(seed, size, self.grid)
        steps, known = self.recipe.data.input_steps, batch.get("known")
        frames = batch["frames"][:, :steps, : self.state_channels]
        if known is None:
            return frames, None
        return torch.cat([frames, known[:, :steps]], dim=2), known[:, steps:]

    def _crop(self) -> tuple[int, int]:
        crop = self.recipe.data.crop
        return self.grid if crop is None else (min(crop.height, self.grid[0]), min(crop.width, self.grid[1]))

    def _batch(self, seed: int, size: int, grid: tuple[int, int]) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)

        def uniform(steps: int, channels: int) -> Tensor:
            return torch.rand(size, steps, channels, *grid, generator=generator)

        frames = uniform(self.frames, self.forecast_channels)
        batch = {"frames": frames, "valid": torch.ones_like(frames, dtype=torch.bool)}
        if self.known_channels:
            batch["known"] = uniform(self.frames, self.known_channels)
        if self.recipe.data.departure_from != "none":
            batch["base"] = uniform(self.frames - 1, self.forecast_channels)
        loss = plugins().resolve("losses", self.recipe.train.loss.name).load_target()
        return batch | {name: uniform(self.frames, self.forecast_channels) for name in loss.reads}


class GeneratedStream:
    """The same batch at every step; it is there already."""

    def __init__(self, batch: Mapping[str, Tensor]) -> None:
        self._batch = dict(batch)

    def batch(self, step: int) -> dict[str, Tensor]:
        """The batch of a step."""
        return self._batch

    def batches(self, start: int, stop: int, workers: int = 0) -> Iterator[dict[str, Tensor]]:
        """The batches of the steps ``start`` to ``stop`` (exclusive)."""
        return (self._batch for _ in range(start, stop))
