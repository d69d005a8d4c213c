"""The core's own components, registered through the same hooks as any plugin's. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator

from stkit.api import (
    CheckSpec,
    DatasetSpec,
    ExporterSpec,
    LossSpec,
    MetricSpec,
    ModuleSpec,
    RecipeSpec,
    hookimpl,
)


@hookimpl
def stkit_modules() -> Iterator[ModuleSpec]:
    """Heads, norms and transitions that belong to no paper."""
    yield from ()


@hookimpl
def stkit_losses() -> Iterator[LossSpec]:
    """Losses."""
    yield from ()


@hookimpl
def stkit_metrics() -> Iterator[MetricSpec]:
    """Scores, each named with its convention."""
    config = "stkit.evaluate.metric_config:MetricConfig"
    for name, target, summary in (
        ("mse", "metrics:MeanSquaredError", "mean squared error, masked and area-weighted"),
        ("rmse", "metrics:RootMeanSquaredError", "root of the mean squared error, masked and area-weighted"),
        ("mae", "metrics:MeanAbsoluteError", "mean absolute error, masked and area-weighted"),
        ("bias", "metrics:Bias", "mean of forecast minus truth, masked and area-weighted"),
        ("acc_centred", "correlation:CentredAnomalyCorrelation", "anomaly correlation, the area mean removed"),
        ("acc_uncentred", "correlation:UncentredAnomalyCorrelation", "anomaly correlation, the area mean kept"),
        ("mse_per_frame", "metrics:SquaredErrorPerFrame", "squared error summed over a frame (Moving MNIST)"),
        ("mae_per_frame", "metrics:AbsoluteErrorPerFrame", "absolute error summed over a frame (Moving MNIST)"),
        ("ssim_range1", "image_metrics:StructuralSimilarity", "structural similarity for a data range of 1"),
        ("psnr_range1", "image_metrics:PeakSignalToNoise", "peak signal-to-noise ratio for a data range of 1"),
    ):
        yield MetricSpec(name=name, target=f"stkit.evaluate.{target}", config=config, summary=summary)


@hookimpl
def stkit_datasets() -> Iterator[DatasetSpec]:
    """Packaged fields, generators and the user's own files."""
    yield from ()


@hookimpl
def stkit_exporters() -> Iterator[ExporterSpec]:
    """File formats of forecasts."""
    yield from ()


@hookimpl
def stkit_recipes() -> Iterator[RecipeSpec]:
    """The shipped recipes and overlays."""
    from stkit.recipe.shipped_files import shipped_specs

    yield from shipped_specs()


@hookimpl
def stkit_checks() -> Iterator[CheckSpec]:
    """What ``stkit doctor`` looks at besides the installation itself."""
    yield from ()
