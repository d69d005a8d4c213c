"""The data set of an imported model: none."""

from __future__ import annotations

from typing import NoReturn

from stkit.errors import DataError
from stkit.interop.config import ImportedDataConfig


class ImportedData:
    """Stands in a recipe for the data that an imported model was trained on, which did not come with it."""

    @classmethod
    def from_config(cls, config: ImportedDataConfig) -> NoReturn:
        """There is nothing to open.

        Raises:
            DataError: always.
        """
        names = ", ".join(variable.name for variable in config.variables)
        raise DataError(
            "this model was imported: its weights came without data, so there is nothing to train or score it on "
            f"({names}, {config.height} x {config.width} cells). `stkit predict` forecasts from a file of yours; to "
            "train the architecture, start a recipe from the run and name data: `stkit recipe RUN data.dataset=...`"
        )
