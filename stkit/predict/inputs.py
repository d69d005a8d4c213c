"""The frames that a forecast starts from: a user's file, opened as the data that a run was trained on."""

from __future__ import annotations

from pathlib import Path

from stkit.data.netcdf import NetcdfSource
from stkit.data.netcdf_config import NetcdfConfig
from stkit.data.netcdf_file import open_file
from stkit.data.source import FieldSource
from stkit.errors import DataError, UsageError
from stkit.run.load import TrainedForecaster


def open_input(path: Path, forecaster: TrainedForecaster) -> FieldSource:
    """Open a user's file as fields of the kind that a model was trained on.

    Raises:
        DataError: a variable, its unit or the grid differs, with what was received and what is known.
    """
    pipeline = forecaster.pipeline
    source = NetcdfSource(_input_config(path, forecaster))
    names = [variable.name for variable in source.variables]
    expected = [variable.name for variable in pipeline.inputs]
    if names != expected:
        raise DataError(
            f"{path}: gives the variables {', '.join(names)}; the model was trained on {', '.join(expected)}"
        )
    for given, trained in zip(source.variables, pipeline.inputs, strict=True):
        if given.units != trained.units:
            raise DataError(
                f"{path}: {given.name!r} is in {given.units!r}, but the model was trained on {trained.units!r}: "
                "convert the file, or mend its 'units' attribute if that is wrong"
            )
    pipeline.check_grid(source.grid, str(path))
    return source


def _input_config(path: Path, forecaster: TrainedForecaster) -> NetcdfConfig:
    """How the training file was read, for another file. A mask that does not change is the model's own."""
    names = tuple(variable.name for variable in forecaster.pipeline.inputs)
    config = _trained_config(forecaster)
    if not path.is_file():
        return config.model_copy(update={"path": str(path), "variables": names})
    with open_file(path) as dataset:
        present = {str(name) for name in dataset.data_vars}
        moving = config.mask in dataset.variables and dataset[config.mask].ndim == 3
    keep = config.spread is not None and not present.issuperset(names)
    update = {"path": str(path), "mask": config.mask if moving else None, "allow_gaps": True}
    return config.model_copy(update=update if keep else {**update, "variables": names, "spread": None})


def _trained_config(forecaster: TrainedForecaster) -> NetcdfConfig:
    from stkit.data.prepare import open_source

    config = forecaster.recipe.data.dataset
    if isinstance(config, NetcdfConfig):
        return config
    try:
        source = open_source(forecaster.recipe.data)
    except UsageError:
        # The training data are not needed for a forecast; without them the file must say everything itself.
        source = None
    return source.config if isinstance(source, NetcdfSource) else NetcdfConfig(name="netcdf", path="")
