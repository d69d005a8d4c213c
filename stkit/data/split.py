"""Training, validation and test parts of a record, by share or by date, with a gap between them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from stkit.data.calendar import Times, as_text
from stkit.data.source import PARTS, Part
from stkit.errors import DataError
from stkit.recipe.sections.data import SplitConfig


class Span(NamedTuple):
    """Time steps ``start`` to ``stop`` (exclusive) of the record."""

    start: int
    stop: int

    @property
    def steps(self) -> int:
        """Length."""
        return self.stop - self.start


Spans = Mapping[Part, Span]


def split(config: SplitConfig, steps: int, times: Times | None, where: str = "data.split") -> Spans:
    """Cut a record of ``steps`` steps; there is no test part where the configuration says that it is another record.

    Shares follow each other as train, validation, test, each pair ``gap_steps`` apart; they are shares of what is left
    without the gaps. Spans by date are inclusive and may lie in any order.

    Raises:
        DataError: if parts overlap, lie closer than the gap, are empty, or lie outside the record.
    """
    chosen: dict[Part, float | str] = {"train": config.train, "validation": config.validation}
    if config.test is not None:
        chosen["test"] = config.test
    by_date = [part for part, value in chosen.items() if isinstance(value, str)]
    if not by_date:
        return _by_share({part: float(value) for part, value in chosen.items()}, steps, config.gap_steps, where)
    if len(by_date) < len(chosen):
        others = [part for part in chosen if part not in by_date]
        raise DataError(
            f"{where}: {' and '.join(by_date)} by date, but {' and '.join(others)} by share: give all parts one way"
        )
    if times is None:
        raise DataError(f"{where}: spans by date need times, but the record has none; give shares such as 0.7")
    spans = {part: _by_date(str(value), times, f"{where}.{part}") for part, value in chosen.items()}
    _check_apart(spans, config.gap_steps, where)
    return spans


def describe(spans: Spans, times: Times | None) -> dict[str, dict[str, int | str]]:
    """Each part's first and last step, as numbers and as times where there are some."""
    summary: dict[str, dict[str, int | str]] = {}
    for part, span in spans.items():
        summary[part] = {"start": span.start, "stop": span.stop, "steps": span.steps}
        if times is not None:
            summary[part] |= {"first": as_text(times[span.start]), "last": as_text(times[span.stop - 1])}
    return summary


def _by_share(shares: Mapping[Part, float], steps: int, gap: int, where: str) -> Spans:
    for part, share in shares.items():
        if not 0 < share < 1:
            raise DataError(
                f"{where}.{part}: a share must lie between 0 and 1, got {share:g}; for a span write '2006-04..2008-12'"
            )
    if sum(shares.values()) > 1 + 1e-9:
        told = " + ".join(f"{share:g}" for share in shares.values())
        raise DataError(f"{where}: the parts overlap: the shares {told} are more than 1")
    usable = steps - gap * (len(shares) - 1)
    spans: dict[Part, Span] = {}
    start, share_before = 0, 0.0
    for number, part in enumerate(part for part in PARTS if part in shares):
        share_after = share_before + shares[part]
        stop = number * gap + int(np.floor(usable * share_after + 1e-6))
        if stop <= start:
            raise DataError(
                f"{where}.{part}: {shares[part]:g} of {steps} time steps, with gaps of {gap}, leaves nothing"
            )
        spans[part] = Span(start, stop)
        start, share_before = stop + gap, share_after
    return spans


def _by_date(text: str, times: Times, where: str) -> Span:
    first, separator, last = text.partition("..")
    try:
        if not separator:
            raise ValueError(text)
        begin = np.datetime64(first.strip())
        end = np.datetime64(last.strip()) + 1  # the whole month or day that is named
        if np.isnat(begin) or np.isnat(end):
            raise ValueError(text)
    except ValueError:
        raise DataError(f"{where}: expected a span like '2006-04..2008-12' or a share like 0.7, got {text!r}") from None
    if begin >= end:
        raise DataError(f"{where}: {text!r} ends before it starts")
    start, stop = (int(np.searchsorted(times, edge.astype("datetime64[ns]"))) for edge in (begin, end))
    if start >= stop:
        raise DataError(
            f"{where}: no time step lies in {text!r}; the record goes from {as_text(times[0])} to {as_text(times[-1])}"
        )
    return Span(start, stop)


def _check_apart(spans: Spans, gap: int, where: str) -> None:
    ordered = sorted(spans.items(), key=lambda item: item[1].start)
    for (part, span), (following, after) in itertools.pairwise(ordered):
        between = after.start - span.stop
        if between < 0:
            raise DataError(f"{where}: {part} and {following} overlap by {min(-between, after.steps)} time steps")
        if between < gap:
            raise DataError(
                f"{where}: {part} and {following} are {between} time steps apart, but gap_steps asks for {gap}"
            )
