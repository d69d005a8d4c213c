"""Everything between fields in physical units and a model's tensors, fitted once and kept beside the weights.

Axes: ``B`` any leading axes, ``T`` time, ``N`` lead times, ``C`` variables, ``K`` known channels, ``H`` rows, ``W``
columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stkit.data.box import Box, crop
from stkit.data.calendar import Times, following
from stkit.data.fill_values import FillValues
from stkit.data.known import Known, check_known, known_inputs, known_names
from stkit.data.known_fields import KnownFields
from stkit.data.record import Record
from stkit.data.source import Grid, Variable
from stkit.data.transforms import Frames, Transform, fit_transforms
from stkit.errors import DataError
from stkit.evaluate.baselines import Baseline, make_baseline
from stkit.recipe.sections.data import DataConfig


@dataclass(frozen=True)
class Pipeline:
    """Fields in, tensors out, and back.

    Attributes:
        variables: what is forecast, one for each channel: the state, which is fed back, then the targets.
        grid: the whole grid that it was fitted on.
        valid: ``C H W``, False on land and wherever the training part never had a value.
        transforms: applied in order going in.
        departure: the baseline whose departure is forecast, None where the field itself is.
        extra_inputs: known inputs.
        input_steps: frames the model is given.
        horizon: frames it is trained to forecast.
        step: the record's typical time step, None where it has no times.
        targets: how many of the variables, the last ones, are forecast and never given.
        known_fields: variables that are given and not forecast.
    """

    variables: tuple[Variable, ...]
    grid: Grid
    valid: Bool[Tensor, "C H W"]
    transforms: tuple[Transform, ...]
    departure: Baseline | None
    extra_inputs: tuple[Known, ...]
    input_steps: int
    horizon: int
    step: np.timedelta64 | None
    targets: int = 0
    known_fields: KnownFields | None = None

    @classmethod
    def fit(
        cls,
        config: DataConfig,
        record: Record,
        variables: Sequence[Variable],
        grid: Grid,
        mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] | None = None,
        step: np.timedelta64 | None = None,
        targets: int = 0,
        known_fields: KnownFields | None = None,
    ) -> Pipeline:
        """Fit everything on the training record.

        Args:
            config: what is asked for.
            record: the training part.
            variables: one for each channel that is forecast, the targets last.
            grid: the horizontal grid.
            mask: ``H W``, the cells that the data set declares to count; None: all that have a value in training.
            step: the typical time step.
            targets: how many of the variables are never given.
            known_fields: what is given and not forecast, fitted already.

        Raises:
            DataError: if a variable has no value in the training part, or a fill value that nobody declared, or the
                record does not suffice.
        """
        valid = torch.zeros(record.shape, dtype=torch.bool)
        fill = FillValues(variables)
        for piece in record:
            valid |= piece.fields.isfinite().any(0)
            fill.add(piece.fields.numpy())
        fill.check()
        if mask is not None:
            valid &= torch.from_numpy(mask)
        for variable, found in zip(variables, valid, strict=True):
            if not found.any():
                where = " within the mask" if mask is not None else ""
                raise DataError(f"{variable.name}: every value of the training part{where} is missing (NaN)")
        departure: Baseline | None = None
        if config.departure_from != "none":
            departure = make_baseline(config.departure_from, config).fit(record)
        check_known(config.extra_inputs, grid.latitude, record.times)
        return cls(
            variables=tuple(variables),
            grid=grid,
            valid=valid,
            transforms=fit_transforms(config.transforms, record, variables),
            departure=departure,
            extra_inputs=config.extra_inputs,
            input_steps=config.input_steps,
            horizon=config.horizon,
            step=step,
            targets=targets,
            known_fields=known_fields,
        )

    @property
    def forecast_channels(self) -> int:
        """Channels that are forecast: the state and the targets."""
        return len(self.variables)

    @property
    def state_channels(self) -> int:
        """Channels that are given and fed back; they come first among those that are forecast."""
        return len(self.variables) - self.targets

    @property
    def forcing(self) -> tuple[Variable, ...]:
        """Variables that a forecast must be given for its own times, too."""
        return () if self.known_fields is None else self.known_fields.forcing

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """What has to be given for a forecast: the state, then the forcing."""
        return (*self.variables[: self.state_channels], *self.forcing)

    @property
    def known_channels(self) -> int:
        """Channels that are known for the future too."""
        return len(self.known_names)

    @property
    def known_names(self) -> tuple[str, ...]:
        """What these are."""
        more = () if self.known_fields is None else self.known_fields.names
        return (*known_names(self.extra_inputs), *more)

    def forward(self, fields: Frames, times: Times | None, box: Box | None = None) -> Frames:
        """Physical units to model space. A missing value, or one where the variable does not count, becomes 0.

        Args:
            fields: in physical units, NaN where there is no value.
            times: ``*B T``; None for fields without times.
            box: the part of the grid that the fields are; None for all of it.
        """
        return self.observe(fields, times, box)[0]

    def observe(
        self, fields: Frames, times: Times | None, box: Box | None = None
    ) -> tuple[Frames, Bool[Tensor, "*B T C H W"]]:
        """As :meth:`forward`, and where there is a value."""
        frames = torch.where(self._valid(fields, box), fields, torch.nan)
        for transform in self._transforms(fields):
            frames = transform.forward(frames, times, box)
        valid = frames.isfinite()
        return torch.where(valid, frames, 0.0), valid

    def inverse(self, frames: Frames, times: Times | None, box: Box | None = None) -> Frames:
        """Model space to physical units; NaN where the variable does not count."""
        for transform in reversed(self._transforms(frames)):
            frames = transform.inverse(frames, times, box)
        return torch.where(self._valid(frames, box), frames, torch.nan)

    def known(
        self, times: Times | None, count: int, box: Box | None = None, forcing: Frames | None = None
    ) -> Float[Tensor, "*B T K H W"]:
        """The known inputs at some times (``*B T``), or ``count`` frames where there are none.

        Args:
            times: ``*B T``; None for fields without times.
            count: ``T``.
            box: the part of the grid; None for all of it.
            forcing: ``*B T F H W``, physical units; None only where the model takes none.

        Raises:
            DataError: if times or the forcing are needed and missing.
        """
        made = known_inputs(self.extra_inputs, self.valid, self.grid.latitude, times, count, box)
        if self.known_fields is None:
            return made
        fields = self.known_fields.at(forcing, times, count, box)
        lead = max(made.shape[:-3], fields.shape[:-3], key=len)
        return torch.cat([part.expand(*lead, *part.shape[-3:]) for part in (made, fields)], dim=-3)

    def with_targets(self, state: Float[Tensor, "*B T S H W"]) -> Frames:
        """Fields of the state, followed by the targets, which are missing."""
        missing = state.new_full((*state.shape[:-3], self.targets, *state.shape[-2:]), torch.nan)
        return torch.cat([state, missing], dim=-3)

    def base(
        self,
        context: Frames,
        times: Times | None,
        horizon: int,
        target_times: Times | None = None,
        box: Box | None = None,
    ) -> Float[Tensor, "*B N C H W"] | None:
        """What the departure is counted from, in model space; None where the field itself is forecast.

        Args:
            context: frames known so far, in physical units.
            times: ``*B T``; None for fields without times.
            horizon: ``N``.
            target_times: ``*B N``; None: the regular steps after the context.
            box: the part of the grid that the context is.
        """
        if self.departure is None:
            return None
        if times is not None and target_times is None:
            target_times = self.target_times(times, horizon)
        context = torch.where(self._valid(context, box), context, torch.nan)
        ahead = horizon if target_times is None else target_times
        return self.forward(self.departure.forecast(context, times, ahead, box), target_times, box)

    def base_track(
        self, fields: Frames, times: Times | None, input_steps: int, box: Box | None = None
    ) -> Float[Tensor, "*B T-1 C H W"] | None:
        """The base of every frame but the first of a window, in model space; None where the field itself is forecast.

        Entry ``t`` belongs to frame ``t + 1``. Within the first ``input_steps`` frames it is the forecast one step
        ahead from frame ``t``; after them it comes from the last of them, further and further ahead. No entry depends
        on its own frame or a later one.
        """
        if self.departure is None:
            return None
        total = fields.shape[-4]
        bases: list[Tensor] = []
        for known in range(1, input_steps + 1):
            until = known + 1 if known < input_steps else total
            past = None if times is None else times[..., :known]
            ahead = None if times is None else times[..., known:until]
            base = self.base(fields[..., :known, :, :, :], past, until - known, ahead, box)
            assert base is not None, "there is a departure"
            bases.append(base)
        return torch.cat(bases, dim=-4)

    def target_times(self, times: Times, horizon: int) -> Times:
        """The ``horizon`` regular steps after a context: ``*B T`` -> ``*B horizon``."""
        if self.step is None:
            raise DataError("the model was trained on fields without times: it cannot say at what times it forecasts")
        return following(times[..., -1], horizon, self.step)

    def check_grid(self, grid: Grid, where: str) -> None:
        """Refuse fields on another grid.

        Raises:
            DataError: saying how ``grid`` differs from the one that this was fitted on.
        """
        difference = self.grid.difference(grid)
        if difference:
            raise DataError(f"{where}: its grid differs from the one the model was trained on: {difference}")

    def to(self, device: torch.device | str) -> Pipeline:
        """The same with its tensors on another device."""
        device = torch.device(device)
        transforms = tuple(transform.to(device) for transform in self.transforms)
        known_fields = None if self.known_fields is None else self.known_fields.to(device)
        return replace(self, valid=self.valid.to(device), transforms=transforms, known_fields=known_fields)

    def save(self, folder: Path) -> None:
        """Write it into a folder as ``pipeline.safetensors`` and ``pipeline.json``."""
        from stkit.data.pipeline_file import save

        save(self, folder)

    @staticmethod
    def load(folder: Path) -> Pipeline:
        """Read it back.

        Raises:
            CheckpointError: if a file is missing, cut short or does not belong to the other.
        """
        from stkit.data.pipeline_file import load

        return load(folder)

    def _valid(self, like: Tensor, box: Box | None) -> Tensor:
        return crop(self.valid.to(like.device), box)

    def _transforms(self, like: Tensor) -> tuple[Transform, ...]:
        if self.valid.device == like.device:
            return self.transforms
        return tuple(transform.to(like.device) for transform in self.transforms)
