"""What the plugin brings, said as data. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator

from stkit.api import CellSpec, Paper, RecipeSpec, StackSpec, hookimpl

PAPER = Paper(
    title="Delving Deeper into Convolutional Networks "
    "for Learning Video Representations",
    authors="Ballas, Yao, Pal, Courville",
    year=2016,
    link="arXiv:1511.06432",
)


@hookimpl
def stkit_cells() -> Iterator[CellSpec]:
    """The cell: any recipe can name it."""
    yield CellSpec(
        name="conv_gru",
        target="stkit_convgru.cell:ConvGruCell",
        config="stkit_convgru.config:ConvGruConfig",
        summary="a GRU whose products with weights are convolutions",
        paper=PAPER,
    )


@hookimpl
def stkit_stacks() -> Iterator[StackSpec]:
    """The architecture: what a recipe need not say about its model."""
    yield StackSpec(
        name="convgru",
        variants={
            "standard": {
                "cell": {"name": "conv_gru"},
                "layers": [64, 64],
                "head": {"name": "conv"},
                "rollout": {"name": "next_frame"},
            },
        },
        summary="Two layers of conv_gru that predict the next frame",
        paper=PAPER,
    )


@hookimpl
def stkit_recipes() -> Iterator[RecipeSpec]:
    """The recipe: something to run at once."""
    yield RecipeSpec(
        name="convgru-sst",
        resource="stkit_convgru:convgru-sst.yaml",
        summary="conv_gru, small, on monthly sea-surface temperature",
    )
