"""EOFs and a linear law: the linear inverse model, a serious rival for anomalies at long lead times.

Penland and Sardeshmukh (1995), The Optimal Growth of Tropical Sea Surface Temperature Anomalies, Journal of Climate 8.
What the EOFs leave out is not dropped, as there: it fades as a damped anomaly does, so that with no EOF this is the
damped anomaly. Everything is fitted on the training part, the number of EOFs too: laws are fitted to its first four
fifths, and the number that forecasts the last fifth best is taken.

Axes: ``B`` any leading axes, ``T`` time, ``N`` lead times, ``C`` variables, ``H`` rows, ``W`` columns, ``K`` EOFs,
``P`` all values of a frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from stkit.data.box import Box
from stkit.data.calendar import Times
from stkit.data.record import Piece, Record
from stkit.errors import DataError
from stkit.evaluate.baseline_config import EofLinearConfig
from stkit.evaluate.baselines import Climatology, Context, Forecast, chosen_kind, count_of, latest
from stkit.evaluate.climatology import Climatology as Normal
from stkit.evaluate.climatology import ClimatologyKind
from stkit.evaluate.metric import area_weights
from stkit.plugin.config import ComponentConfig
from stkit.recipe.sections.data import DataConfig

CANDIDATES = (0, 1, 2, 3, 5, 8, 12, 20, 30)
"""Numbers of EOFs among which the training part chooses."""
_FITTED_SHARE = 0.8
_MOST_FRAMES = 1000
_MOST_BYTES = 512 * 2**20
"""Of the frames from which the patterns are found: evenly spread ones where the record is longer."""
_RIDGE = 1e-9
_NOTHING = 1e-30


class Series(NamedTuple):
    """A record seen through its patterns."""

    amplitudes: Float[Tensor, "T K"]
    products: Float[Tensor, "lag T"]
    """Scalar product of each frame with the one so many steps before it; 0 where there is none."""
    sequence: Float[Tensor, " T"]
    """Number of the stretch without a gap in which each frame lies."""


class EofLinear(Climatology):
    """Departures from climatology as a few patterns (EOFs) whose amplitudes follow a linear law from step to step.

    Args:
        kind: of climatology, as in :class:`Climatology`.
        horizon: lead times for which the number of EOFs is chosen.
        modes: so many EOFs; None: the number is chosen.
    """

    name = "eof_linear"

    def __init__(self, kind: ClimatologyKind | None = None, horizon: int = 1, modes: int | None = None) -> None:
        super().__init__(kind)
        self.horizon = horizon
        self.modes = modes
        self._patterns: Float[Tensor, "K C H W"] | None = None
        self._filter: Float[Tensor, "K C H W"] | None = None
        self._law: Float[Tensor, "K K"] | None = None
        self._fading = 0.0

    @classmethod
    def from_config(cls, config: ComponentConfig, data: DataConfig) -> EofLinear:
        """With the climatology of the recipe's transforms; the number of EOFs is chosen for its horizon."""
        assert isinstance(config, EofLinearConfig)
        return cls(chosen_kind(data), horizon=data.horizon, modes=config.modes)

    @property
    def law(self) -> Float[Tensor, "K K"]:
        """What the amplitudes are multiplied by from one step to the next."""
        if self._law is None:
            raise DataError(f"{self.name} has not been fitted: call fit() first")
        return self._law

    @property
    def about(self) -> str:
        """See :attr:`Baseline.about`."""
        count = len(self.law)
        return (
            f"a linear law of {count} EOF{'s' if count != 1 else ''} of the departure from climatology (a linear "
            "inverse model); what they leave out fades"
        )

    def forecast(
        self, context: Context, context_times: Times | None, target_times: Times | int, box: Box | None = None
    ) -> Forecast:
        """See :meth:`Baseline.forecast`. A cell without a value in the context counts as normal."""
        if box is not None:
            raise DataError(f"{self.name}: its patterns are of the whole grid, not of a part of it")
        steps, count = context.shape[-4], count_of(target_times)
        departure, _ = latest(context - self._at(steps if context_times is None else context_times, context, box))
        departure = torch.nan_to_num(departure)
        law = self.law.to(context)
        assert self._filter is not None, "checked by law"
        assert self._patterns is not None, "checked by law"
        patterns = self._patterns.to(context)
        now = torch.einsum("kchw,...chw->...k", self._filter.to(context), departure)
        left = departure - torch.einsum("...k,kchw->...chw", now, patterns)
        ahead = []
        for lead in range(1, count + 1):
            now = now @ law.T
            ahead.append(torch.einsum("...k,kchw->...chw", now, patterns) + self._fading**lead * left)
        return self._at(target_times, context, box) + torch.stack(ahead, dim=-4)

    def _fit(self, record: Record) -> None:
        super()._fit(record)
        frames = sum(len(piece.fields) for piece in record)
        count = self._chosen(record, frames) if self.modes is None else self.modes
        scale = _scale(record, self.normal)
        patterns = _leading(record, self.normal, scale, frames, count)
        series = _series(record, self.normal, scale, patterns, 1)
        self._law = linear_law(series, frames).float()
        self._fading = _fading(series, frames)
        shape = (len(patterns), *record.shape)
        # Departures to amplitudes, and back; land has neither.
        self._filter = (patterns * scale).reshape(shape).float()
        self._patterns = torch.where(scale > 0, patterns / scale, 0.0).reshape(shape).float()

    def _chosen(self, record: Record, frames: int) -> int:
        """How many EOFs: of the climatology, patterns and laws of the first part, what forecasts the other one best."""
        fitted = int(_FITTED_SHARE * frames)
        first = FirstFrames(record, fitted)
        assert self.kind is not None, "chosen with the climatology"
        try:
            normal = Normal.fit(first, self.kind)
        except DataError:
            return 0  # too short to be without a part of it
        scale = _scale(first, normal)
        patterns = _leading(first, normal, scale, fitted, CANDIDATES[-1])
        return _best(_series(record, normal, scale, patterns, self.horizon), fitted, self.horizon)


@dataclass(frozen=True)
class FirstFrames(Record):
    """The first frames of a record."""

    whole: Record
    frames: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Variables, height, width."""
        return self.whole.shape

    @property
    def times(self) -> Times | None:
        """Their times."""
        return None if self.whole.times is None else self.whole.times[: self.frames]

    @property
    def latitude(self) -> NDArray[np.float64] | None:
        """Degrees north of each row; None where there is none."""
        return self.whole.latitude

    def __iter__(self) -> Iterator[Piece]:
        left = self.frames
        for piece in self.whole:
            if left <= 0:
                return
            yield Piece(piece.fields[:left], None if piece.times is None else piece.times[:left], piece.follows)
            left -= len(piece.fields)


def _scale(record: Record, normal: Normal) -> Float[Tensor, " P"]:
    """What a departure is multiplied by: the root of its cell's weight over its variable's deviation; 0 on land."""
    square = torch.zeros(record.shape, dtype=torch.float64)
    count = torch.zeros(record.shape, dtype=torch.float64)
    for piece in record:
        departure = piece.fields - normal.at(piece.times, len(piece.fields))
        square += torch.nan_to_num(departure).double().square().sum(0)
        count += departure.isfinite().sum(0)
    weights = torch.from_numpy(area_weights(record.latitude, *record.shape[1:]))
    deviation = (square.sum((1, 2)) / count.sum((1, 2)).clamp(min=1)).sqrt().clamp(min=1e-12)
    return torch.where(count > 0, weights.sqrt() / deviation[:, None, None], 0.0).flatten()


def _frames(record: Record, normal: Normal, scale: Tensor) -> Iterator[tuple[Float[Tensor, "T P"], bool]]:
    """Scaled departures, 0 where there is none, and whether they follow those before."""
    for piece in record:
        departure = torch.nan_to_num(piece.fields - normal.at(piece.times, len(piece.fields)))
        yield (departure.flatten(1) * scale).float(), piece.follows


def _leading(record: Record, normal: Normal, scale: Tensor, until: int, count: int) -> Float[Tensor, "K P"]:
    """The leading patterns of the first frames: orthonormal, at most ``count``."""
    most = min(_MOST_FRAMES, max(2 * count, _MOST_BYTES // (4 * len(scale))), until)
    every = max(1, -(-until // max(most, 1)))
    kept, first = [], 0
    for frames, _ in _frames(record, normal, scale):
        wanted = torch.arange(first, first + len(frames))
        kept.append(frames[(wanted % every == 0) & (wanted < until)])
        first += len(frames)
    chosen = torch.cat(kept).double()
    power, vectors = torch.linalg.eigh(chosen @ chosen.T)
    real = power > 1e-7 * power.amax().clamp(min=_NOTHING)
    vectors, power = vectors[:, real].flip(-1)[:, :count], power[real].flip(-1)[:count]
    patterns: Tensor = (vectors / power.sqrt()).T @ chosen
    return patterns


def _series(record: Record, normal: Normal, scale: Tensor, patterns: Tensor, lags: int) -> Series:
    amplitudes: list[Tensor] = []
    products: list[Tensor] = []
    sequence: list[int] = []
    past: list[Tensor] = []
    for frames, after in _frames(record, normal, scale):
        amplitudes.append(frames.double() @ patterns.T)
        for number, frame in enumerate(frames):
            if number == 0 and not after:
                past = []
            sequence.append(sequence[-1] if past else len(amplitudes))
            past = [frame, *islice(past, lags)]
            found = torch.zeros(lags + 1, dtype=torch.float64)
            found[: len(past)] = torch.stack(past) @ frame
            products.append(found)
    return Series(torch.cat(amplitudes), torch.stack(products, dim=1), torch.tensor(sequence))


def linear_law(series: Series, until: int) -> Float[Tensor, "K K"]:
    """What amplitudes are multiplied by from one step to the next, by least squares; nothing in it grows."""
    amplitudes = series.amplitudes[:until]
    count = amplitudes.shape[1]
    if count == 0:
        return amplitudes.new_zeros(0, 0)
    after = _apart(series, until, 1)
    before, now = amplitudes[:-1][after], amplitudes[1:][after]
    square = before.T @ before
    ridge = _RIDGE * square.diagonal().mean().clamp(min=_NOTHING) * torch.eye(count, dtype=square.dtype)
    law: Tensor = torch.linalg.solve(square + ridge, before.T @ now).T
    fastest: Tensor = torch.linalg.eigvals(law).abs().amax()
    return law / fastest.clamp(min=1.0)


def _fading(series: Series, until: int) -> float:
    """How much of what the patterns leave out is left after a step: least squares, within [0, 1]."""
    both = _apart(series, until, 1)
    product, square = _left(series, 1)[1:until][both], _left(series, 0)[: until - 1][both]
    return float((product.sum() / square.sum().clamp(min=_NOTHING)).clamp(0.0, 1.0))


def _left(series: Series, lag: int) -> Float[Tensor, " T"]:
    """Scalar product of what the patterns leave out of each frame with that of the one ``lag`` steps before it."""
    amplitudes = series.amplitudes
    explained = torch.zeros(len(amplitudes), dtype=amplitudes.dtype)
    explained[lag:] = (amplitudes[lag:] * amplitudes[: len(amplitudes) - lag]).sum(1)
    return series.products[lag] - explained


def _apart(series: Series, until: int, lag: int) -> Bool[Tensor, " T-lag"]:
    """Whether a frame and the one ``lag`` steps before it lie in one stretch, for the first ``until`` frames."""
    sequence = series.sequence[:until]
    return sequence[lag:] == sequence[: len(sequence) - lag]


def _best(series: Series, fitted: int, horizon: int) -> int:
    """The number of EOFs that, fitted to the first frames, forecasts the others best over the horizon."""
    frames = len(series.amplitudes)
    errors: dict[int, float] = {}
    for count in CANDIDATES:
        if count > series.amplitudes.shape[1]:
            break
        some = series._replace(amplitudes=series.amplitudes[:, :count])
        law, fading = linear_law(some, fitted), _fading(some, fitted)
        said, total = some.amplitudes, 0.0
        for lead in range(1, horizon + 1):
            said = said @ law.T
            both = _apart(some, frames, lead)
            both[: max(fitted - lead, 0)] = False  # only targets in the last part
            error = (said[: frames - lead] - some.amplitudes[lead:]).square().sum(1)
            now, before, product = _left(some, 0)[lead:], _left(some, 0)[: frames - lead], _left(some, lead)[lead:]
            rate = fading**lead
            total += float((error + now - 2 * rate * product + rate**2 * before)[both].sum())
        errors[count] = total
    return min(errors, key=lambda count: errors[count])
