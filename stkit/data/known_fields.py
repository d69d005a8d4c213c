"""Known inputs that come with the fields: what is the same at all times, and what forces them.

Axes: ``B`` any leading axes, ``T`` time, ``F`` forcing, ``S`` static variables, ``H`` rows, ``W`` columns; ``h w`` of
the box.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stkit.data.box import Box, crop
from stkit.data.calendar import Times
from stkit.data.record import Record
from stkit.data.source import ArraySource, Fields, Grid, Variable
from stkit.data.transforms import Frames, Transform, fit_transforms
from stkit.errors import DataError
from stkit.recipe.sections.data import TransformConfig


@dataclass(frozen=True)
class KnownFields:
    """Forcing and static variables, as a model sees them.

    Attributes:
        forcing: the variables that a forecast must be given for its own times.
        transforms: of the forcing.
        static: the variables that do not change.
        constant: ``S H W``, their values in model space, 0 where they have none.
    """

    forcing: tuple[Variable, ...]
    transforms: tuple[Transform, ...]
    static: tuple[Variable, ...]
    constant: Float[Tensor, "S H W"]

    @classmethod
    def none(cls, grid: Grid) -> KnownFields:
        """Where there are none."""
        return cls((), (), (), torch.zeros(0, *grid.shape))

    @property
    def names(self) -> tuple[str, ...]:
        """The channels, in order."""
        return tuple(variable.name for variable in (*self.static, *self.forcing))

    def at(
        self, forcing: Frames | None, times: Times | None, count: int, box: Box | None = None
    ) -> Float[Tensor, "*B T K h w"]:
        """The channels at some times.

        Args:
            forcing: ``*B T F h w``, physical units; None only where there is none to give.
            times: ``*B T``; None where there are none.
            count: ``T``.
            box: the part of the grid that the forcing is.

        Raises:
            DataError: if the forcing is missing.
        """
        constant = crop(self.constant, box)
        if not self.forcing:
            lead = (count,) if times is None else times.shape
            return constant.expand(*lead, *constant.shape)
        if forcing is None:
            raise DataError(
                f"the model needs the forcing {', '.join(variable.name for variable in self.forcing)} of the known "
                "frames and of those that it forecasts"
            )
        if forcing.shape[-4:-2] != (count, len(self.forcing)):
            raise DataError(
                f"forcing: expected {count} frames of {len(self.forcing)} variables "
                f"({', '.join(variable.name for variable in self.forcing)}), received the shape {tuple(forcing.shape)}"
            )
        for transform in self.transforms:
            forcing = transform.forward(forcing, times, box)
        forcing = torch.where(forcing.isfinite(), forcing, 0.0)
        return torch.cat([constant.expand(*forcing.shape[:-3], *constant.shape), forcing], dim=-3)

    def to(self, device: torch.device) -> KnownFields:
        """The same on another device."""
        transforms = tuple(transform.to(device) for transform in self.transforms)
        return replace(self, transforms=transforms, constant=self.constant.to(device))


def fit_known_fields(
    config: TransformConfig,
    forcing: Record | None,
    forcing_variables: tuple[Variable, ...],
    static: Fields,
    static_variables: tuple[Variable, ...],
) -> KnownFields:
    """Transforms of the forcing fitted on the training part, and the static variables as a model sees them.

    Args:
        config: of the recipe.
        forcing: the training part of the forcing; None where there is none.
        forcing_variables: its channels.
        static: ``S H W``, physical units, NaN where there is no value.
        static_variables: its channels.

    Raises:
        DataError: if a variable has no value, or a logarithm is asked of values that have none.
    """
    for variable, field in zip(static_variables, static, strict=True):
        if not np.isfinite(field).any():
            raise DataError(f"{variable.name}: every value of the static variable is missing (NaN)")
    constant = torch.from_numpy(np.array(static))
    for transform in _static_transforms(config, static, static_variables):
        constant = transform.forward(constant[None], None)[0]
    constant = torch.where(constant.isfinite(), constant, 0.0)
    transforms: tuple[Transform, ...] = ()
    if forcing is not None:
        found = torch.zeros(len(forcing_variables), dtype=torch.bool)
        for piece in forcing:
            found |= piece.fields.isfinite().any(0).any(-1).any(-1)
        for variable, there in zip(forcing_variables, found, strict=True):
            if not there:
                raise DataError(f"{variable.name}: every value of the training part is missing (NaN)")
        transforms = fit_transforms(config, forcing, forcing_variables)
    return KnownFields(forcing_variables, transforms, static_variables, constant)


def _static_transforms(
    config: TransformConfig, static: Fields, variables: tuple[Variable, ...]
) -> tuple[Transform, ...]:
    """One field has no climatology, and each of its cells one value: what is left is the logarithm and the field."""
    if not variables:
        return ()
    timeless = {}
    for variable in variables:
        own = config.of(variable.name)
        standardise = "none" if own.standardise == "none" else "variable"
        timeless[variable.name] = {"log_offset": own.log_offset, "standardise": standardise}
    record = Record.of(ArraySource(static[None], variables=variables).fields)
    return fit_transforms(TransformConfig.model_validate({"variables": timeless}), record, variables)
