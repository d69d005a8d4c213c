"""The core's own components, registered through the same hooks as any plugin's. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator

from stkit.api import (
    BaselineSpec,
    CellSpec,
    CheckSpec,
    DatasetSpec,
    ExporterSpec,
    LossSpec,
    MetricSpec,
    ModuleSpec,
    Paper,
    RecipeSpec,
    Slot,
    hookimpl,
)

SA_CONVLSTM = Paper(
    title="Self-Attention ConvLSTM for Spatiotemporal Prediction",
    authors="Lin, Li, Zheng, Cheng, Yuan",
    year=2020,
    link="AAAI 2020",
    reference_code="none was published",
    parity="stkit:modules/attention/parity.json",
)

SWIN = Paper(
    title="Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
    authors="Liu, Lin, Cao, Hu, Wei, Zhang, Lin, Guo",
    year=2021,
    link="arXiv:2103.14030",
    reference_code="https://github.com/microsoft/Swin-Transformer (MIT)",
)
AXIAL = Paper(
    title="Axial Attention in Multidimensional Transformers",
    authors="Ho, Kalchbrenner, Weissenborn, Salimans",
    year=2019,
    link="arXiv:1912.12180",
)
REVIN = Paper(
    title="Reversible Instance Normalization for Accurate Time-Series Forecasting against Distribution Shift",
    authors="Kim, Kim, Tae, Park, Choi, Choo",
    year=2022,
    link="ICLR 2022",
    reference_code="https://github.com/ts-kim/RevIN (MIT)",
)

HKO7 = Paper(
    title="Deep Learning for Precipitation Nowcasting: A Benchmark and A New Model",
    authors="Shi, Gao, Lausen, Wang, Yeung, Wong, Woo",
    year=2017,
    link="arXiv:1706.03458",
    reference_code="https://github.com/sxjscience/HKO-7 (MIT)",
)


@hookimpl
def stkit_cells() -> Iterator[CellSpec]:
    """What only imported weights need."""
    yield CellSpec(
        name="openstl_0_3_conv_lstm",
        target="stkit.interop.cell:OpenSTL03ConvLSTM",
        config="stkit.interop.config:OpenSTL03ConvLSTMConfig",
        summary="to run imported weights: the faulty ConvLSTM of OpenSTL 0.3, H = o . g",
    )


@hookimpl
def stkit_modules() -> Iterator[ModuleSpec]:
    """Heads, norms, attention, transitions, and what makes fields steadier."""
    norms = "stkit.modules.norm.norms"
    yield _module("head", "conv", "stkit.modules.head.conv:ConvHead", "ConvHead", "a convolution of hidden states")
    yield _module("norm", "channel", f"{norms}:ChannelNorm", "ChannelNorm", "one gain for each channel; any grid")
    yield _module("norm", "pixel", f"{norms}:PixelNorm", "PixelNorm", "a gain for each channel and grid cell")
    attention = "stkit.modules.attention"
    for name, part, summary, source in (
        ("self_attention", "SelfAttention", "every cell of the grid looks at all others", SA_CONVLSTM),
        (
            "self_attention_memory",
            "SelfAttentionMemory",
            "self-attention with a memory of its own (SA-ConvLSTM's SAM)",
            SA_CONVLSTM,
        ),
        ("windowed_attention", "WindowedAttention", "cells look at those of their window, for large grids", SWIN),
        ("axial_attention", "AxialAttention", "cells look along rows, then columns, for large grids", AXIAL),
    ):
        yield ModuleSpec(
            name=name,
            slot="attention",
            target=f"{attention}.{name}:{part}",
            config=f"{attention}.config:{part}Config",
            summary=summary,
            paper=source,
        )
    yield _module("transition", "forget", "stkit.cells.forget:Forget", "Forget", "the forget gate")
    nonstationary = "stkit.modules.nonstationary"
    for name, part, summary, paper in (
        ("differencing", "Differencing", "differences from step to step and from season to season", None),
        ("reversible_norm", "ReversibleNorm", "each sequence by its own mean and deviation, and back", REVIN),
        ("trend_season", "TrendSeason", "a trend and a season are carried on; the network sees the rest", None),
    ):
        yield ModuleSpec(
            name=name,
            slot="nonstationary",
            target=f"{nonstationary}.{name}:{part}",
            config=f"{nonstationary}.config:{part}Config",
            summary=summary,
            paper=paper,
        )


def _module(slot: Slot, name: str, target: str, config: str, summary: str) -> ModuleSpec:
    config = f"stkit.modules.{slot}.config:{config}Config"
    return ModuleSpec(name=name, slot=slot, target=target, config=config, summary=summary)


@hookimpl
def stkit_losses() -> Iterator[LossSpec]:
    """Losses."""
    for name, part, summary in (
        ("mse", "MSE", "mean squared error over valid cells"),
        ("mae", "MAE", "mean absolute error over valid cells"),
        ("l1_l2", "L1L2", "weighted sum of absolute and squared error"),
        ("bce", "BCE", "cross-entropy of cells as probabilities; the head ends in a sigmoid"),
    ):
        target, config = f"stkit.train.losses:{part}", f"stkit.train.losses_config:{part}Config"
        yield LossSpec(name=name, target=target, config=config, summary=summary)
    yield LossSpec(
        name="balanced",
        target="stkit.train.balanced:BalancedLoss",
        config="stkit.train.losses_config:BalancedConfig",
        summary="absolute and squared error weighted by rain rate (B-MAE and B-MSE of HKO-7)",
        paper=HKO7,
    )


@hookimpl
def stkit_metrics() -> Iterator[MetricSpec]:
    """Scores, each named with its convention."""
    for name, target, config, summary in (
        ("mse", "metrics:MeanSquaredError", "Fixed", "mean squared error, masked and area-weighted"),
        ("rmse", "metrics:RootMeanSquaredError", "Fixed", "root of the mean squared error, masked and area-weighted"),
        ("mae", "metrics:MeanAbsoluteError", "Fixed", "mean absolute error, masked and area-weighted"),
        ("bias", "metrics:Bias", "Fixed", "mean of forecast minus truth, masked and area-weighted"),
        ("acc_centred", "correlation:CentredAnomalyCorrelation", "Fixed", "anomaly correlation, area mean removed"),
        (
            "acc_uncentred",
            "correlation:UncentredAnomalyCorrelation",
            "Fixed",
            "anomaly correlation, area mean kept",
        ),
        ("csi", "contingency:CriticalSuccessIndex", "Threshold", "critical success index of an event"),
        ("pod", "contingency:ProbabilityOfDetection", "Threshold", "probability of detection of an event"),
        ("far", "contingency:FalseAlarmRatio", "Threshold", "false alarm ratio of an event"),
        ("hss", "contingency:HeidkeSkillScore", "Threshold", "Heidke skill score of an event"),
        ("frequency_bias", "contingency:FrequencyBias", "Threshold", "events forecast for each that is observed"),
        ("max_csi", "contingency:PooledCriticalSuccessIndex", "Pooled", "critical success index of maxima in blocks"),
        ("fss", "neighbourhood:FractionsSkillScore", "Fractions", "fractions skill score of an event at a scale"),
        ("mse_per_frame", "metrics:SquaredErrorPerFrame", "Fixed", "squared error, sum of a frame (Moving MNIST)"),
        (
            "mae_per_frame",
            "metrics:AbsoluteErrorPerFrame",
            "Fixed",
            "absolute error, sum of a frame (Moving MNIST)",
        ),
        ("ssim_range1", "image_metrics:StructuralSimilarity", "Fixed", "structural similarity for a data range of 1"),
        ("ssim_uint8", "image_metrics:StructuralSimilarityUint8", "Fixed", "structural similarity of 8-bit images"),
        ("ssim_float2", "image_metrics:StructuralSimilarityFloat2", "Fixed", "structural similarity, range 2 (MIM)"),
        ("lpips_alex", "image_metrics:PerceptualSimilarity", "Fixed", "LPIPS; its network must be downloaded once"),
        ("variance_ratio", "spectrum:VarianceRatio", "Fixed", "variance of the forecast over that of the truth"),
        ("effective_resolution", "spectrum:EffectiveResolution", "Fixed", "smallest scale with half the true power"),
        ("crps", "ensemble:ContinuousRankedProbabilityScore", "Fixed", "fair CRPS of an ensemble; of one forecast MAE"),
        ("spread_skill", "ensemble:SpreadSkill", "Fixed", "spread of an ensemble over the error of its mean"),
        ("rank_histogram", "ensemble:RankHistogram", "Fixed", "where the truth lies among the members"),
        ("reliability", "ensemble:Reliability", "Threshold", "how often an event comes that has a probability"),
        ("psnr_range1", "image_metrics:PeakSignalToNoise", "Fixed", "peak signal-to-noise ratio for a data range of 1"),
    ):
        yield MetricSpec(
            name=name,
            target=f"stkit.evaluate.{target}",
            config=f"stkit.evaluate.metric_config:{config}Config",
            summary=summary,
        )


@hookimpl
def stkit_baselines() -> Iterator[BaselineSpec]:
    """Forecasts that need no model."""
    for name, target, config, summary in (
        ("persistence", "baselines:Persistence", "FixedBaseline", "the last known frame stays"),
        ("climatology", "baselines:Climatology", "FixedBaseline", "the normal state for the time of year"),
        ("damped_anomaly", "baselines:DampedAnomaly", "FixedBaseline", "the last departure from climatology fades"),
        ("mean_frame", "baselines:MeanFrame", "FixedBaseline", "the mean of all training frames"),
        ("eof_linear", "eof_linear:EofLinear", "EofLinear", "a linear law of a few patterns (linear inverse model)"),
        ("extrapolation", "extrapolation:Extrapolation", "FixedBaseline", "the last frame moves on (optical flow)"),
        (
            "pysteps_extrapolation",
            "pysteps_nowcast:PystepsExtrapolation",
            "FixedBaseline",
            "optical-flow extrapolation of pysteps (extra radar)",
        ),
        ("sprog", "pysteps_nowcast:Sprog", "FixedBaseline", "S-PROG of pysteps: small scales fade (extra radar)"),
        ("optimal", "optimal:Optimal", "Optimal", "the best possible forecast, where the law of the field is known"),
    ):
        yield BaselineSpec(
            name=name,
            target=f"stkit.evaluate.{target}",
            config=f"stkit.evaluate.baseline_config:{config}Config",
            summary=summary,
        )


@hookimpl
def stkit_datasets() -> Iterator[DatasetSpec]:
    """Packaged fields, generators and the user's own files."""
    yield DatasetSpec(
        name="netcdf",
        target="stkit.data.netcdf:NetcdfSource",
        config="stkit.data.netcdf_config:NetcdfConfig",
        summary="your own NetCDF file or files",
    )
    yield DatasetSpec(
        name="zarr",
        target="stkit.data.zarr_store:ZarrSource",
        config="stkit.data.zarr_config:ZarrConfig",
        summary="your own Zarr store, local or remote",
    )
    for name, target, summary in (
        ("arrays", "arrays:Arrays", "your own NumPy array, .npy or .npz"),
        ("images", "pictures:Images", "your own folders of pictures"),
        ("video", "video:Video", "your own video files"),
    ):
        yield DatasetSpec(
            name=name,
            target=f"stkit.data.{target}",
            config=f"stkit.data.frames_config:{name.capitalize()}Config",
            summary=summary,
        )
    for name, target, summary in (
        ("kth", "actions:Kth", "human actions, 25 persons (KTH)"),
        ("human36m", "actions:Human36m", "human actions, 7 subjects (Human3.6M)"),
        ("taxibj", "taxibj:TaxiBj", "taxis in Beijing every half hour (TaxiBJ)"),
        ("sevir", "sevir:Sevir", "storms over the United States (SEVIR)"),
        ("hko7", "radar:Hko7", "radar of Hong Kong (HKO-7)"),
        ("knmi_radar", "radar:KnmiRadar", "radar of the Netherlands, KNMI HDF5"),
        ("fmi_radar", "radar:FmiRadar", "radar of Finland, PGM"),
        ("odim_radar", "radar:OdimRadar", "radar composites in ODIM HDF5 (OPERA, FMI and others)"),
        ("mrms_radar", "radar:MrmsRadar", "radar of the United States, MRMS GRIB2"),
        ("weatherbench", "gridded:WeatherBench", "ERA5 on a coarse grid (WeatherBench)"),
        ("oisst", "gridded:Oisst", "daily sea-surface temperature on a quarter degree (OISST)"),
    ):
        yield DatasetSpec(
            name=name,
            target=f"stkit.data.readers.{target}",
            config=f"stkit.data.readers.config:{target.partition(':')[2]}Config",
            summary=summary,
        )
    yield DatasetSpec(
        name="sst_ostia",
        target="stkit.data.packaged.fields:OstiaSst",
        config="stkit.data.packaged.config:PackagedFieldConfig",
        summary="monthly sea-surface temperature of the equatorial band, 2006 to 2010 (packaged)",
    )
    yield DatasetSpec(
        name="wind_navy",
        target="stkit.data.packaged.fields:NavyWind",
        config="stkit.data.packaged.config:PackagedFieldConfig",
        summary="monthly global surface wind, 1982 to 1992 (packaged)",
    )
    yield DatasetSpec(
        name="moving_mnist",
        target="stkit.data.moving_mnist:MovingMnist",
        config="stkit.data.moving_mnist_config:MovingMnistConfig",
        summary="digits that move and bounce, made on the fly",
        paper=Paper(
            title="Unsupervised Learning of Video Representations using LSTMs",
            authors="N. Srivastava, E. Mansimov, R. Salakhutdinov",
            year=2015,
            link="arXiv:1502.04681",
        ),
    )
    yield DatasetSpec(
        name="synthetic_field",
        target="stkit.data.synthetic_field:SyntheticField",
        config="stkit.data.synthetic_field_config:SyntheticFieldConfig",
        summary="a field by a known law, with the error of the best possible forecast (made from its seed)",
    )
    yield DatasetSpec(
        name="imported",
        target="stkit.interop.data:ImportedData",
        config="stkit.interop.config:ImportedDataConfig",
        summary="stands for the data of an imported model, which did not come with it",
    )


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
    yield CheckSpec(
        name="packaged_data",
        target="stkit.data.packaged.fields:damaged_file",
        summary="the packaged data files are there and whole",
    )
