"""The hooks a plugin may implement. Each yields frozen specs; none runs per training step.

A plugin is a module (or an object) named by an entry point of the group ``stkit.plugins.v1``::

    [project.entry-points."stkit.plugins.v1"]
    mine = "stkit_mine.plugin"

The entry point's name is the plugin's name. A hook may be a generator or return any iterable.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from stkit.plugin.specs import (
    BaselineSpec,
    CallbackSpec,
    CellSpec,
    CheckSpec,
    CommandSpec,
    DatasetSpec,
    ExporterSpec,
    LossSpec,
    MetricSpec,
    ModuleSpec,
    RecipeSpec,
    StackSpec,
)

PROJECT = "stkit"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Hooks:
    """The hook specifications of generation 1."""

    @hookspec
    def stkit_cells(self) -> Iterable[CellSpec]:
        """Yield nodes of a stack: recurrent cells, and units that stand between cells.

        Example::

            from stkit.api import CellSpec, hookimpl

            @hookimpl
            def stkit_cells():
                yield CellSpec(
                    name="my_lstm",
                    target="stkit_mine.cell:MyLSTM",  # has from_config(config, site) -> Cell
                    config="stkit_mine.config:MyLSTMConfig",  # a stkit.api.CellConfig
                    summary="An LSTM with my gate",
                )

        In a recipe: ``model: {cell: {name: my_lstm}}``.
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def stkit_stacks(self) -> Iterable[StackSpec]:
        """Yield architectures: for each variant the ``model:`` block it stands for.

        Example::

            from stkit.api import StackSpec, hookimpl

            @hookimpl
            def stkit_stacks():
                yield StackSpec(
                    name="my_net",
                    variants={
                        "standard": {
                            "cell": {"name": "my_lstm"},
                            "layers": [64, 64],
                            "head": {"name": "conv"},
                            "rollout": {"name": "next_frame"},
                        }
                    },
                )

        In a recipe: ``model: {name: my_net}``.
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def stkit_modules(self) -> Iterable[ModuleSpec]:
        """Yield parts that fit a named slot: a transition, an attention, a norm, a head.

        Example::

            from stkit.api import ModuleSpec, hookimpl

            @hookimpl
            def stkit_modules():
                yield ModuleSpec(
                    name="leaky",
                    slot="transition",
                    target="stkit_mine.leaky:Leaky",  # has from_config(config, site)
                    config="stkit_mine.config:LeakyConfig",  # a stkit.api.ModuleConfig
                )

        In a recipe: ``model: {transition: {name: leaky}}``.
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def stkit_losses(self) -> Iterable[LossSpec]:
        """Yield training losses. A loss may own parameters, which are then trained.

        Example::

            from stkit.api import LossSpec, hookimpl

            @hookimpl
            def stkit_losses():
                yield LossSpec(name="my_loss", target="stkit_mine.loss:MyLoss", config="stkit_mine.config:MyLossConfig")

        In a recipe: ``train: {loss: {name: my_loss}}``.
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def stkit_metrics(self) -> Iterable[MetricSpec]:
        """Yield verification scores; the name carries the convention (``ssim_range1``, not ``ssim``).

        Example::

            from stkit.api import MetricSpec, hookimpl

            @hookimpl
            def stkit_metrics():
                yield MetricSpec(
                    name="gss",
                    target="stkit_mine.gss:GilbertSkillScore",  # has from_config(config) -> Metric
                    config="stkit_mine.config:GilbertConfig",  # a stkit.api.MetricConfig
                )

        In a recipe: ``evaluate: {metrics: [{name: gss, threshold: 1.0}]}``.
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def stkit_baselines(self) -> Iterable[BaselineSpec]:
        """Yield forecasts that need no model. They are fitted on the training part, and stand beside the model.

        Example::

            from stkit.api import BaselineSpec, hookimpl

            @hookimpl
            def stkit_baselines():
                yield BaselineSpec(
                    name="last_year",
                    target="stkit_mine.last_year:LastYear",  # a stkit.evaluate.baselines.Baseline
                    config="stkit_mine.config:LastYearConfig",  # a stkit.api.BaselineConfig
                )

        In a recipe: ``evaluate: {baselines: [persistence, last_year]}``.
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def stkit_datasets(self) -> Iterable[DatasetSpec]:
        """Yield sources of fields.

        Example::

            from stkit.api import DatasetSpec, hookimpl

            @hookimpl
            def stkit_datasets():
                yield DatasetSpec(
                    name="my_radar",
                    target="stkit_mine.radar:MyRadar",  # has from_config(config) -> FieldSource
                    config="stkit_mine.config:MyRadarConfig",
                )

        In a recipe: ``data: {dataset: {name: my_radar}}``.
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def stkit_callbacks(self) -> Iterable[CallbackSpec]:
        """Yield things that act during training when, and only when, a recipe names them.

        Example::

            from stkit.api import CallbackSpec, hookimpl

            @hookimpl
            def stkit_callbacks():
                yield CallbackSpec(name="alarm", target="stkit_mine.alarm:Alarm", config="stkit_mine.config:Alarm")

        In a recipe: ``train: {callbacks: [{name: alarm}]}``.
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def stkit_exporters(self) -> Iterable[ExporterSpec]:
        """Yield writers of forecasts in a file format.

        Example::

            from stkit.api import ExporterSpec, hookimpl

            @hookimpl
            def stkit_exporters():
                yield ExporterSpec(name="grib", target="stkit_mine.grib:write", config="stkit_mine.config:GribConfig")
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def stkit_recipes(self) -> Iterable[RecipeSpec]:
        """Yield recipes and overlays that the plugin ships as files inside its package.

        Example::

            from stkit.api import RecipeSpec, hookimpl

            @hookimpl
            def stkit_recipes():
                yield RecipeSpec(name="my-net-sst", resource="stkit_mine:recipes/my-net-sst.yaml", summary="On SST")

        On the command line: ``stkit recipe my-net-sst``.
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def stkit_commands(self) -> Iterable[CommandSpec]:
        """Yield click commands, which become subcommands of ``stkit``.

        Example::

            from stkit.api import CommandSpec, hookimpl

            @hookimpl
            def stkit_commands():
                yield CommandSpec(name="nowcast", target="stkit_mine.cli:nowcast", summary="Forecast the last hour")

        On the command line: ``stkit nowcast``. A built-in command of the same name wins.
        """
        raise AssertionError("a specification is never called")

    @hookspec
    def stkit_checks(self) -> Iterable[CheckSpec]:
        """Yield checks for ``stkit doctor``: functions without arguments that return a problem, or None.

        Example::

            from stkit.api import CheckSpec, hookimpl

            @hookimpl
            def stkit_checks():
                yield CheckSpec(name="radar-archive", target="stkit_mine.checks:archive_is_mounted")
        """
        raise AssertionError("a specification is never called")

    @hookspec(firstresult=True)
    def stkit_resolve_recipe(self, ref: str) -> str | None:
        """Return the YAML text of the recipe that ``ref`` names, or None. Asked last, after files and shipped names.

        Example::

            from stkit.api import hookimpl

            @hookimpl
            def stkit_resolve_recipe(ref):
                if ref.startswith("lab:"):
                    return (ARCHIVE / ref.removeprefix("lab:")).with_suffix(".yaml").read_text()

        On the command line: ``stkit recipe lab:sst-2024``.
        """
        raise AssertionError("a specification is never called")
