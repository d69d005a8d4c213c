"""Forecasts that need no model: what every model is compared with, and what a model may start from.

Everything is in physical units. Axes: ``B`` any leading axes, ``T`` context, ``N`` lead times, ``C`` variables, ``H``
rows, ``W`` columns. NaN is a missing value; where a cell has no value in the context, persistence has no forecast.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stkit.data.box import Box
from stkit.data.calendar import Times
from stkit.data.record import Record
from stkit.data.source import Fields
from stkit.errors import DataError, PluginError
from stkit.evaluate.climatology import Climatology as Normal
from stkit.evaluate.climatology import ClimatologyKind, suitable_kind
from stkit.plugin.config import ComponentConfig
from stkit.plugin.manager import plugins
from stkit.recipe.sections.data import DataConfig

Context = Float[Tensor, "*B T C H W"]
Forecast = Float[Tensor, "*B N C H W"]


class Baseline(ABC):
    """A forecast that is fitted on the training part and never learns again.

    Example:
        >>> fields = torch.randn(48, 1, 4, 4)
        >>> times = np.arange("2000-01", "2004-01", dtype="datetime64[M]").astype("datetime64[ns]")
        >>> baseline = DampedAnomaly().fit(fields, times)
        >>> baseline.forecast(fields[:6], times[:6], times[6:9]).shape
        torch.Size([3, 1, 4, 4])
    """

    name: ClassVar[str]
    looks_around: ClassVar[bool] = False
    """Whether the forecast of a cell comes from other cells, so that a part of the grid does not suffice for it."""

    @classmethod
    def from_config(cls, config: ComponentConfig, data: DataConfig) -> Baseline:
        """The baseline that a recipe names, for the recipe's data."""
        return cls()

    @property
    @abstractmethod
    def about(self) -> str:
        """What it is, once it has been fitted, for the list of what is compared."""

    def fit(self, fields: Float[Tensor, "T C H W"] | Fields | Record, times: Times | None = None) -> Baseline:
        """Learn from the training part: a ``T C H W`` array with its times, or a record.

        Raises:
            DataError: if the record does not suffice.
        """
        self._fit(Record.of(fields, times))
        return self

    @abstractmethod
    def forecast(
        self, context: Context, context_times: Times | None, target_times: Times | int, box: Box | None = None
    ) -> Forecast:
        """Forecast the frames that follow the context.

        Args:
            context: the frames known so far, in physical units.
            context_times: ``*B T``; None for sequences without a calendar.
            target_times: ``*B N`` times of the frames to forecast, consecutive steps after the context; for sequences
                without a calendar their number ``N``.
            box: the part of the grid that the context is; None for all of it.
        """

    def _fit(self, record: Record) -> None:
        return None

    def state(self) -> dict[str, Tensor]:
        """The tensors that make it up."""
        return {}

    def settings(self) -> dict[str, str]:
        """What else :meth:`from_state` needs."""
        return {}

    @classmethod
    def from_state(cls, settings: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Baseline:
        """Back from :meth:`settings` and :meth:`state`."""
        return cls()


class Persistence(Baseline):
    """The last known frame stays. A cell that has no value in it keeps its latest one in the context."""

    name = "persistence"

    @property
    def about(self) -> str:
        """See :attr:`Baseline.about`."""
        return "the last known frame stays"

    def forecast(
        self, context: Context, context_times: Times | None, target_times: Times | int, box: Box | None = None
    ) -> Forecast:
        """See :meth:`Baseline.forecast`."""
        last, _ = latest(context)
        return last.unsqueeze(-4).expand(*last.shape[:-3], count_of(target_times), *last.shape[-3:])


class Climatology(Baseline):
    """The normal state for the time of year, whatever the context.

    Args:
        kind: ``month``, ``day_of_year`` or ``mean``; None: the finest one that the training times allow.
    """

    name = "climatology"

    def __init__(self, kind: ClimatologyKind | None = None) -> None:
        self.kind = kind
        self._normal: Normal | None = None

    @classmethod
    def from_config(cls, config: ComponentConfig, data: DataConfig) -> Climatology:
        """With the climatology of the recipe's transforms, where they have one."""
        return cls(chosen_kind(data))

    @property
    def about(self) -> str:
        """See :attr:`Baseline.about`."""
        return {
            "month": "the mean of the training part for each calendar month",
            "day_of_year": "the training part's smooth yearly course",
            "mean": "the mean of the training part",
        }[self.normal.kind]

    @property
    def normal(self) -> Normal:
        """The fitted climatology."""
        if self._normal is None:
            raise DataError(f"{self.name} has not been fitted: call fit() first")
        return self._normal

    def _fit(self, record: Record) -> None:
        self.kind = self.kind or suitable_kind(record.times)
        self._normal = Normal.fit(record, self.kind)

    def forecast(
        self, context: Context, context_times: Times | None, target_times: Times | int, box: Box | None = None
    ) -> Forecast:
        """See :meth:`Baseline.forecast`."""
        normal = self._at(target_times, context, box)
        return normal.expand(*context.shape[:-4], *normal.shape[-4:])

    def _at(self, times: Times | int, like: Tensor, box: Box | None) -> Tensor:
        known = None if isinstance(times, int) else times
        return self.normal.to(like.device).at(known, count_of(times), box).to(like.dtype)

    def state(self) -> dict[str, Tensor]:
        """See :meth:`Baseline.state`."""
        return self.normal.state()

    def settings(self) -> dict[str, str]:
        """See :meth:`Baseline.settings`."""
        return {"kind": self.normal.kind}

    @classmethod
    def from_state(cls, settings: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Climatology:
        """See :meth:`Baseline.from_state`."""
        kind: ClimatologyKind = settings["kind"]  # type: ignore[assignment]
        fresh = cls(kind)
        fresh._normal = Normal.from_state(kind, tensors)
        return fresh


class MeanFrame(Climatology):
    """The mean of all training frames, whatever the time of year: what a model that learns nothing says."""

    name = "mean_frame"

    def __init__(self, kind: ClimatologyKind = "mean") -> None:
        super().__init__(kind)

    @classmethod
    def from_config(cls, config: ComponentConfig, data: DataConfig) -> MeanFrame:
        """See :meth:`Baseline.from_config`."""
        return cls()


class DampedAnomaly(Climatology):
    """The last anomaly, damped by how much of it is left after so many steps in the training part.

    ``forecast(t + n) = normal(t + n) + a_n (field(t) - normal(t))``, where ``a_n`` is the least-squares slope of the
    anomalies on those ``n`` steps before, one number for each variable and lead over all cells and training times. A
    slope for each cell fits a short record better and forecasts it worse.

    Args:
        kind: of climatology, as in :class:`Climatology`.
        longest_lag: the largest lag, in steps, that is estimated; beyond it the damping goes on at the rate at which it
            got there.
    """

    name = "damped_anomaly"

    def __init__(self, kind: ClimatologyKind | None = None, longest_lag: int = 40) -> None:
        super().__init__(kind)
        self.longest_lag = longest_lag
        self._slope: Float[Tensor, "lag C"] | None = None

    @classmethod
    def from_config(cls, config: ComponentConfig, data: DataConfig) -> DampedAnomaly:
        """With the climatology of the recipe's transforms, and lags that suffice for its windows."""
        return cls(chosen_kind(data), longest_lag=data.input_steps + data.horizon)

    @property
    def about(self) -> str:
        """See :attr:`Baseline.about`."""
        return f"the last departure from climatology, damped as the training part says; climatology: {super().about}"

    @property
    def slope(self) -> Float[Tensor, "lag C"]:
        """``a_n`` for lag n = 0 (always 1), 1, 2 ... and each variable; within [-1, 1]."""
        if self._slope is None:
            raise DataError("damped_anomaly has not been fitted: call fit() first")
        return self._slope

    def _fit(self, record: Record) -> None:
        super()._fit(record)
        self._slope = _lag_slopes(record, self.normal, self.longest_lag)

    def forecast(
        self, context: Context, context_times: Times | None, target_times: Times | int, box: Box | None = None
    ) -> Forecast:
        """See :meth:`Baseline.forecast`."""
        steps = context.shape[-4]
        anomaly, age = latest(context - self._at(steps if context_times is None else context_times, context, box))
        normal = self._at(target_times, context, box)
        slope = self.slope.to(context)
        count = count_of(target_times)
        lead = torch.arange(1, count + 1, device=context.device).view(count, 1, 1, 1)
        lag = age.unsqueeze(-4) + lead
        longest = len(slope) - 1
        channel = torch.arange(slope.shape[1], device=context.device).view(-1, 1, 1)
        damping = slope[lag.clamp(max=longest), channel]
        beyond = lag > longest
        damping = torch.where(beyond, damping.clamp(min=0) ** (lag / longest), damping)
        return normal + damping * anomaly.unsqueeze(-4)

    def state(self) -> dict[str, Tensor]:
        """See :meth:`Baseline.state`."""
        return {**super().state(), "slope": self.slope}

    @classmethod
    def from_state(cls, settings: Mapping[str, str], tensors: Mapping[str, Tensor]) -> DampedAnomaly:
        """See :meth:`Baseline.from_state`."""
        kind: ClimatologyKind = settings["kind"]  # type: ignore[assignment]
        fresh = cls(kind)
        fresh._normal = Normal.from_state(kind, tensors)
        fresh._slope = tensors["slope"]
        return fresh


def make_baseline(config: ComponentConfig | str, data: DataConfig) -> Baseline:
    """The baseline that a recipe names, for the recipe's data; not fitted yet.

    Args:
        config: its entry in ``evaluate.baselines``, or its name alone.
        data: the recipe's ``data:`` section.

    Raises:
        UnknownComponent, AmbiguousComponent: there is no such baseline, or there are several.
        PluginError: what a plugin brings is no :class:`Baseline`.
    """
    name = config if isinstance(config, str) else config.name
    spec = plugins().resolve("baselines", name)
    chosen = spec.load_config()(name=name) if isinstance(config, str) else config
    made = spec.load_target().from_config(chosen, data)
    if not isinstance(made, Baseline):
        raise PluginError(
            f"the baseline {spec.qualified_name!r} ({spec.distribution}): {spec.target} gives a "
            f"{type(made).__name__}, expected a stkit.evaluate.baselines.Baseline"
        )
    return made


def chosen_kind(data: DataConfig) -> ClimatologyKind | None:
    """The climatology of a recipe's transforms; None where they have none, for the finest that the times allow."""
    anomaly = data.transforms.anomaly
    return None if anomaly == "none" else anomaly


def latest(context: Context) -> tuple[Float[Tensor, "*B C H W"], Int[Tensor, "*B C H W"]]:
    """Each cell's latest value in the context, and how many steps old it is; NaN where it has none."""
    value = context[..., -1, :, :, :]
    age = torch.zeros_like(value, dtype=torch.long)
    for back in range(1, context.shape[-4]):
        missing = value.isnan()
        if not missing.any():
            break
        value = torch.where(missing, context[..., -1 - back, :, :, :], value)
        age = torch.where(missing, back, age)
    return value, age


def count_of(times: Times | int) -> int:
    """How many frames are to be forecast."""
    return times if isinstance(times, int) else int(times.shape[-1])


def _lag_slopes(record: Record, normal: Normal, longest: int) -> Tensor:
    """Sums of products over all cells, times and lags, going once through the record with its last frames kept."""
    channels = record.shape[0]
    product = torch.zeros(longest + 1, channels, dtype=torch.float64)
    square = torch.zeros(longest + 1, channels, dtype=torch.float64)
    past: list[Tensor] = []
    for piece in record:
        if not piece.follows:
            past = []
        anomalies = (piece.fields - normal.at(piece.times, len(piece.fields))).flatten(2)
        for now in anomalies:
            past = [*past[-longest:], now]
            for lag, before in enumerate(reversed(past)):
                both = now.isfinite() & before.isfinite()
                earlier = torch.where(both, before, 0.0)
                product[lag] += (torch.where(both, now, 0.0) * earlier).sum(-1).double()
                square[lag] += (earlier * earlier).sum(-1).double()
    slope = torch.where(square > 0, product / square.clamp(min=torch.finfo(torch.float64).tiny), torch.nan)
    slope[0] = 1.0
    for lag in range(1, len(slope)):
        slope[lag] = torch.where(slope[lag].isnan(), slope[lag - 1], slope[lag])
    return slope.clamp(-1.0, 1.0).float()
