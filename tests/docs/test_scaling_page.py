"""The pages on growth, memory and a machine's speed: what they compute is right, the records hold what they say."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.docs.pages import DOCS, python_blocks

sys.path.insert(0, str(DOCS / "_ext"))

import scaling_plan
import scaling_text
from scaling_plan import Links, data_parallel, exchange_seconds, sharded

RECORDS = DOCS / "records"
sizes = st.lists(st.floats(1, 100), min_size=3, max_size=6, unique=True)


@given(sizes, st.floats(0.1, 5), st.floats(0.01, 3), st.lists(st.floats(0.9, 1.1), min_size=6, max_size=6))
def test_the_line_is_that_of_least_squares(found: list[float], start: float, slope: float, noise: list[float]) -> None:
    values = [(start + slope * size) * factor for size, factor in zip(found, noise, strict=False)]
    fit = scaling_text.fit(found, values)
    expected_slope, expected_start = np.polyfit(found, values, 1, w=1 / np.array(values))
    np.testing.assert_allclose([fit.start, fit.slope], [expected_start, expected_slope], rtol=1e-5, atol=1e-7)
    errors = np.abs(np.polyval([expected_slope, expected_start], found) - values) / values
    assert fit.largest == pytest.approx(errors.max(), rel=1e-4, abs=1e-9)


def test_an_exchange_by_hand() -> None:
    """A hundred million bytes over eight GPUs at a hundred GB/s: 2 * 7/8 ms, and fourteen messages."""
    links = Links(within_bytes=100e9, between_bytes=10e9, latency_seconds=1e-6)
    assert exchange_seconds(100e6, 8, links) == pytest.approx(1.75e-3 + 14e-6)
    assert exchange_seconds(100e6, 16, links) == pytest.approx(2 * 15 / 16 * 10e-3 + 30e-6)
    assert exchange_seconds(100e6, 8, links, passes=3) == pytest.approx(1.5 * exchange_seconds(100e6, 8, links))
    assert exchange_seconds(100e6, 1, links) == 0


@given(
    step=st.floats(1e-3, 1),
    parameters=st.integers(10**5, 10**9),
    gpus=st.sampled_from([2, 8, 64]),
    accumulate=st.integers(1, 8),
)
def test_more_parts_a_step_lose_less(step: float, parameters: int, gpus: int, accumulate: int) -> None:
    links = Links()
    one, parts = (data_parallel(step, parameters, gpus, links, accumulate=k) for k in (1, accumulate))
    cut = sharded(step, parameters, gpus, links)
    assert 0 < one.worst <= one.best <= 1
    assert one.worst <= parts.worst + 1e-12
    assert cut.worst < one.worst
    assert data_parallel(step, parameters, 1, links).worst == 1
    computing, exchange = accumulate * step, exchange_seconds(4 * parameters, gpus, links)
    assert parts.worst == pytest.approx(computing / (computing + exchange))
    hidden = max(0.0, exchange - scaling_plan.BACKWARD_SHARE * step)
    assert parts.best == pytest.approx(computing / (computing + hidden))
    assert one.weight_bytes == 16 * parameters
    assert cut.weight_bytes == pytest.approx(16 * parameters / gpus + 4 * parameters)


def test_what_is_recorded_of_growth() -> None:
    """Memory lies on a line; no time that does grows faster than its size; a forecast's memory not with its horizon."""
    record = scaling_text.load()
    assert record is not None
    on_a_line = 0
    for size in scaling_text.SIZES:
        for figure in scaling_text.FIGURES:
            found, values = scaling_text.series(record, size, figure)
            assert len(found) >= 4
            fit = scaling_text.fit(found, values)
            if "bytes" in figure:
                assert fit.largest < 0.05, (size, figure)
            if fit.largest < 0.2:
                on_a_line += 1
                assert values[-1] / values[0] < 1.1 * found[-1] / found[0], (size, figure)
    assert on_a_line >= 17
    held = [row["bytes"] for row in record["horizons"]]
    assert max(held) < 1.05 * min(held)


def test_the_shipped_recipes_do_not_wait() -> None:
    rows = json.loads((RECORDS / "waiting.json").read_text(encoding="utf-8"))["rows"]
    assert len(rows) >= 6
    assert [row for row in rows if row["waiting_share"] > 0.02] == []


def test_the_python_on_the_page_on_memory_runs() -> None:
    page = DOCS / "guides" / "memory.md"
    (block,) = python_blocks(page)
    exec(compile("\n" * (block.line - 1) + block.body, str(page), "exec"), {})  # the page's own code
