"""The small recipe of the training tests, as a file too."""

import pytest

from stkit.recipe.yaml import dump
from tests.train.conftest import field, recipe, values  # noqa: F401


@pytest.fixture
def file(values, tmp_path):  # noqa: F811
    """The small recipe in a file."""
    path = tmp_path / "small.yaml"
    path.write_text(dump(values))
    return path
