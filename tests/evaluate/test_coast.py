"""The coast on maps: the edge of the mask, and the real one where cartopy has it on this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stkit.data.source import Axis, Grid
from stkit.evaluate.figures import coast as module
from stkit.evaluate.figures.coast import coast, mask_edges


def globe(longitudes: np.ndarray, latitudes: np.ndarray) -> Grid:
    return Grid(
        len(latitudes),
        len(longitudes),
        Axis("lat", latitudes, "degrees_north", "latitude"),
        Axis("lon", longitudes, "degrees_east", "longitude"),
    )


@given(arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(1, 6))))
@settings(max_examples=40, deadline=None)
def test_the_edge_of_the_mask_is_as_long_as_cells_differ(valid: np.ndarray) -> None:
    lines = mask_edges(Grid(*valid.shape), valid)
    length = sum(np.abs(np.diff(line, axis=0)).sum() for line in lines)
    assert length == (valid[1:] != valid[:-1]).sum() + (valid[:, 1:] != valid[:, :-1]).sum()


def test_the_edge_lies_between_the_cells_in_their_coordinates() -> None:
    valid = np.ones((2, 3), dtype=bool)
    valid[0, 0] = False
    grid = Grid(2, 3, Axis("y", np.array([10.0, 20.0])), Axis("x", np.array([0.0, 2.0, 4.0])))
    lines = {tuple(map(tuple, line.tolist())) for line in mask_edges(grid, valid)}
    assert lines == {((-1.0, 15.0), (1.0, 15.0)), ((1.0, 5.0), (1.0, 15.0))}


def test_without_cartopy_it_is_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    module._shapes.cache_clear()
    monkeypatch.setitem(sys.modules, "cartopy", None)
    grid = globe(np.arange(0.0, 8.0), np.arange(0.0, 4.0))
    valid = np.ones(grid.shape, dtype=bool)
    assert coast(grid, valid) == []
    valid[0, 0] = False
    assert len(coast(grid, valid)) == 2
    module._shapes.cache_clear()


@pytest.fixture
def island(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An island from 170 E over the date line to 170 W, cut there, as cartopy would find it."""
    cartopy = pytest.importorskip("cartopy", reason="cartopy is not installed")
    import shapefile

    folder = tmp_path / "shapefiles" / "natural_earth" / "physical"
    folder.mkdir(parents=True)
    with shapefile.Writer(str(folder / "ne_110m_coastline"), shapeType=shapefile.POLYLINE) as shapes:
        shapes.field("name", "C")
        shapes.line([[[180, 5], [170, 5], [170, -5], [180, -5], [180, 5]]])
        shapes.record("east")
        shapes.line([[[-180, 5], [-170, 5], [-170, -5], [-180, -5]]])
        shapes.record("west")
    monkeypatch.setitem(cartopy.config, "pre_existing_data_dir", tmp_path)
    monkeypatch.setitem(cartopy.config, "data_dir", tmp_path / "nothing")
    module._shapes.cache_clear()
    yield folder
    module._shapes.cache_clear()


@pytest.mark.parametrize(("west", "east"), [(0.0, 360.0), (-180.0, 180.0), (160.0, 200.0)])
def test_the_real_coast_in_any_longitudes(island: Path, west: float, east: float) -> None:
    step = 2.0
    grid = globe(np.arange(west + step / 2, east, step), np.arange(-29.0, 30.0, step))
    lines = coast(grid, np.ones(grid.shape, dtype=bool))
    points = np.concatenate(lines)
    seen = (points[:, 0] - west) % 360 + west
    assert {170.0, 190.0} <= set(np.round(seen % 360))
    assert np.abs(points[:, 1]).max() == 5
    for line in lines:
        along = np.abs(line[1:, 0] - line[:-1, 0])
        assert not ((along == 0) & (np.abs(line[1:, 0]) % 360 == 180)).any(), "the cut is no coast"


def test_a_region_without_coast_and_a_grid_without_degrees_fall_back_to_the_mask(island: Path) -> None:
    grid = globe(np.arange(10.0, 20.0), np.arange(40.0, 50.0))
    valid = np.ones(grid.shape, dtype=bool)
    assert coast(grid, valid) == []
    valid[3, 3] = False
    assert len(coast(grid, valid)) == 4
    assert len(coast(Grid(10, 10), valid)) == 4
