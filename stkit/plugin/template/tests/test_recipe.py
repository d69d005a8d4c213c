"""The recipe that comes with the plugin is sound, and builds a model of its cell."""

import stkit
import torch
from stkit.recipe import load

from stkit_convgru import cell


def test_the_recipe_names_the_cell():
    cell_config = load("convgru-sst").recipe.model.cell
    assert cell_config.name == "conv_gru"


def test_the_architecture_forecasts():
    forecaster = stkit.build("convgru", layers=[4, 4])
    kinds = [type(part) for part in forecaster.modules()]
    assert kinds.count(cell.ConvGruCell) == 2
    forecast = forecaster(torch.zeros(2, 3, 1, 6, 8), horizon=4)
    assert forecast.shape == (2, 4, 1, 6, 8)
