"""The frames that a forecast starts from: a user's file, opened as the data that a run was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stkit.data.frames_config import ArraysConfig
from stkit.data.netcdf import NetcdfSource
from stkit.data.netcdf_config import NetcdfConfig
from stkit.data.netcdf_file import open_file
from stkit.data.prepare import open_source
from stkit.data.roles import select_fields
from stkit.data.source import FieldSource, SequenceSource, Variable
from stkit.data.units import same_units
from stkit.data.zarr_config import ZarrConfig
from stkit.data.zarr_store import for_path, open_store
from stkit.errors import DataError, UsageError
from stkit.plugin.config import ComponentConfig
from stkit.predict.numpy_frames import is_numpy, of_one_sequence, open_frames
from stkit.run.load import TrainedForecaster


def open_input(path: Path | None, forecaster: TrainedForecaster) -> FieldSource:
    """Open a user's file as fields of the kind that a model was trained on, by the data set of its recipe.

    Args:
        path: the file; None: the run's own data.
        forecaster: the model.

    Raises:
        DataError: a variable or its unit differs, with what was received and what is known.
        UsageError: the run's own data are not a record that one can start from.
    """
    return open_variables(path, forecaster, forecaster.pipeline.inputs)


def open_state(path: Path | None, forecaster: TrainedForecaster) -> FieldSource:
    """As :func:`open_input`, without the forcing."""
    pipeline = forecaster.pipeline
    return open_variables(path, forecaster, pipeline.variables[: pipeline.state_channels])


def open_variables(path: Path | None, forecaster: TrainedForecaster, wanted: Sequence[Variable]) -> FieldSource:
    """As :func:`open_input`, of some variables that the model was trained on, in this order."""
    own = forecaster.recipe.data.dataset
    config = own
    if path is not None:
        if is_numpy(path) and path.is_file() and _reads_netcdf(own):
            return open_frames(path, forecaster.pipeline, wanted)
        config = of_file(path, own, tuple(variable.name for variable in wanted))
        if isinstance(config, ArraysConfig):
            config = of_one_sequence(config, path)
    source = open_source(config)
    if isinstance(source, SequenceSource):
        raise UsageError(
            f"{source.name}: these are sequences without a common time; name a file with the frames to start from"
        )
    return _selected(source, wanted, str(path or source.name))


def _selected(source: FieldSource, wanted: Sequence[Variable], where: str) -> FieldSource:
    """The variables that are wanted, in the units of the training."""
    names = [variable.name for variable in source.variables]
    missing = [variable.name for variable in wanted if variable.name not in names]
    if missing:
        expected = ", ".join(variable.name for variable in wanted)
        raise DataError(f"{where}: gives the variables {', '.join(names)}; the model was trained on {expected}")
    channels = [names.index(variable.name) for variable in wanted]
    for channel, trained in zip(channels, wanted, strict=True):
        given = source.variables[channel]
        if not same_units(given.units, trained.units):
            raise DataError(
                f"{where}: {given.name!r} is in {given.units!r}, but the model was trained on {trained.units!r}: "
                "convert the file, or mend its 'units' attribute if that is wrong"
            )
    return select_fields(source, channels)


def of_file(path: Path, config: ComponentConfig, names: tuple[str, ...]) -> ComponentConfig:
    """A data set read from another file of the same kind.

    Args:
        path: a file, a pattern, or a Zarr store.
        config: the data set.
        names: variables to read, where the kind of data set reads variables by name.
    """
    if _reads_netcdf(config):
        return _netcdf(path, config, names)
    update: dict[str, Any] = {"path": str(path)}
    if "allow_gaps" in type(config).model_fields:
        update["allow_gaps"] = True
    return config.model_copy(update=update)


def _reads_netcdf(config: ComponentConfig) -> bool:
    """Whether other files than the training's are NetCDF or Zarr: those of such a data set, or of one without files."""
    return "path" not in type(config).model_fields or isinstance(config, NetcdfConfig)


def _netcdf(path: Path, dataset: ComponentConfig, names: tuple[str, ...]) -> NetcdfConfig:
    """How the training file was read, for another file or Zarr store; its mask where the other file has it, too."""
    config = for_path(_trained_netcdf(dataset), path)
    if not path.exists() or (path.is_dir() and not isinstance(config, ZarrConfig)):
        return config.model_copy(update={"variables": names, "allow_gaps": True})
    with open_store(str(path), {}) if isinstance(config, ZarrConfig) else open_file(path) as opened:
        present = {str(name) for name in opened.variables}
    keep = config.spread is not None and not present.issuperset(names)
    mask = config.mask if config.mask in present else None
    update = {"mask": mask, "allow_gaps": True}
    return config.model_copy(update=update if keep else {**update, "variables": names, "spread": None})


def _trained_netcdf(config: ComponentConfig) -> NetcdfConfig:
    if isinstance(config, NetcdfConfig):
        return config
    try:
        source = open_source(config)
    except UsageError:
        # The training data are not needed for a forecast; without them the file must say everything itself.
        source = None
    return source.config if isinstance(source, NetcdfSource) else NetcdfConfig(name="netcdf", path="")
