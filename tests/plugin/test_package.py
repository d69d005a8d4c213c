"""What ``import stkit`` gives, and when."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import stkit
import stkit.recipe


def test_the_version_is_the_distributions() -> None:
    assert stkit.__version__ == version("stkit-torch")


def test_build_and_load_are_there_when_they_are_asked_for() -> None:
    from stkit.run.load import load
    from stkit.stacks.build import build

    assert stkit.build is build
    assert stkit.load is load
    assert {"build", "load", "__version__"} <= set(dir(stkit))


@pytest.mark.parametrize("package", [stkit, stkit.recipe])
def test_an_unknown_attribute_is_an_attribute_error(package: object) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_importing_stkit_imports_no_torch() -> None:
    code = "import sys, stkit, stkit.recipe; assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
