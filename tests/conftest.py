"""For tests that install plugins of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stkit.plugin.manager import plugins

from .fake_site import FakeSite


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSite]:
    """A folder where plugins can be installed for this test alone."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    for variable in ("STKIT_PLUGINS", "STKIT_PLUGINS_DISABLE", "STKIT_PLUGINS_STRICT"):
        monkeypatch.delenv(variable, raising=False)
    plugins.cache_clear()
    site = FakeSite(folder)
    yield site
    site.clean_up()
