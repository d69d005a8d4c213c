"""Colours: perceptually uniform, told apart with a colour vision deficiency, rain in fixed levels."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import Colormap

from stkit.data.source import Variable
from stkit.evaluate.figures.colours import (
    DRY,
    ERROR_MAP,
    FIELD_MAP,
    RAIN_LEVELS,
    SKILL_MAP,
    Scale,
    rain_colours,
    rain_levels,
)

# What a person sees with no red, green or blue cones (Machado, Oliveira and Fernandes 2009, severity 1), linear RGB.
DEFICIENCIES = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def cielab(rgb: np.ndarray, deficiency: str | None = None) -> np.ndarray:
    """``N 3``: L*, a*, b* (D65) of sRGB colours, as a person sees them."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    if deficiency is not None:
        linear = (linear @ np.array(DEFICIENCIES[deficiency]).T).clip(0, 1)
    xyz = (
        linear
        @ np.array(
            [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
        ).T
    )
    scaled = xyz / np.array([0.95047, 1.0, 1.08883])
    root = np.where(scaled > (6 / 29) ** 3, np.cbrt(scaled), scaled / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def seen(colours: Colormap, count: int, deficiency: str | None = None) -> np.ndarray:
    return cielab(colours(np.linspace(0, 1, count))[:, :3], deficiency)


def test_cielab_of_known_colours() -> None:
    found = cielab(np.array([[1.0, 1, 1], [0, 0, 0], [1, 0, 0]]))
    assert found[0] == pytest.approx([100, 0, 0], abs=0.02)
    assert found[1] == pytest.approx([0, 0, 0], abs=0.02)
    assert found[2] == pytest.approx([53.24, 80.09, 67.20], abs=0.05)


@pytest.mark.parametrize("deficiency", [None, *DEFICIENCIES])
def test_a_field_gets_lighter_with_its_value(deficiency: str | None) -> None:
    lightness = seen(matplotlib.colormaps[FIELD_MAP], 64, deficiency)[:, 0]
    assert (np.diff(lightness) > 0).all()


@pytest.mark.parametrize("colours", [ERROR_MAP, SKILL_MAP])
def test_an_error_looks_as_large_to_either_side(colours: Colormap) -> None:
    found = seen(colours, 65)
    lightness, chroma = found[:, 0], np.hypot(found[:, 1], found[:, 2])
    assert (np.diff(lightness[:33]) > 0).all()
    assert (np.diff(lightness[32:]) < 0).all()
    assert lightness == pytest.approx(lightness[::-1], abs=1.0)
    assert chroma == pytest.approx(chroma[::-1], abs=3.0)
    assert chroma[32] < 0.5
    steps = np.abs(np.diff(lightness))
    assert steps.max() < 1.5 * steps.min()


@pytest.mark.parametrize("deficiency", list(DEFICIENCIES))
@pytest.mark.parametrize("colours", [ERROR_MAP, SKILL_MAP])
def test_the_two_sides_are_told_apart_with_a_deficiency(colours: Colormap, deficiency: str) -> None:
    found = seen(colours, 65, deficiency)
    apart = np.linalg.norm(found - found[::-1], axis=1)
    # A quarter of the way out and further; 10 is plain to see, 2.3 the least that can be.
    assert apart[:25].min() > 10


@pytest.mark.parametrize("deficiency", [None, *DEFICIENCIES])
def test_rain_gets_darker_level_by_level(deficiency: str | None) -> None:
    colours = rain_colours(len(RAIN_LEVELS))
    values = np.array([0.0, *RAIN_LEVELS]) + 1e-6
    scale = Scale.of_variable(Variable("rain", "mm/h"), values)
    rgb = scale.colormap(scale.norm(values))[:, :3]
    assert len(np.unique(rgb, axis=0)) == len(RAIN_LEVELS) + 1, "every level has its own colour"
    assert tuple(np.round(255 * rgb[0]).astype(int)) == tuple(int(DRY[i : i + 2], 16) for i in (1, 3, 5))
    found = cielab(rgb, deficiency)
    assert (np.diff(found[:, 0]) < -2.5).all()
    assert np.linalg.norm(np.diff(found, axis=0), axis=1).min() > 5
    assert len(RAIN_LEVELS) - 1 == colours.N


def test_what_is_rain() -> None:
    for units in ("mm/h", "mm h-1", "mm hr-1", "mm h^-1", "mm / hour"):
        assert rain_levels(Variable("r", units)) == RAIN_LEVELS
    assert rain_levels(Variable("z", "dBZ"))[0] == 7
    for units in ("mm", "m s-1", "degC", "1", ""):
        assert rain_levels(Variable("r", units)) == ()


def test_a_large_constant_has_a_range() -> None:
    scale = Scale.of_field(np.full(4, 1e9, dtype=np.float32))
    assert np.float32(scale.low) < np.float32(scale.high)
