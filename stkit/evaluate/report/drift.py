"""The drift report of a run that goes on from another one on new data: ``drift.json`` and ``drift.html``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stkit.data.prepare import PreparedData
from stkit.data.record import JoinedRecord, SpanRecord
from stkit.data.source import PARTS, FieldSource
from stkit.errors import UsageError
from stkit.evaluate.drift import VariableDrift, drift_words, find_drift
from stkit.evaluate.figures.canvas import Drawn, Format, Theme, draw, new_figure, stem_of
from stkit.evaluate.part_errors import PartErrors, part_errors
from stkit.evaluate.report.document import document
from stkit.evaluate.report.html import facts, figure, join, paragraph, plain_table, section, text
from stkit.evaluate.verdict import spoken
from stkit.evaluate.words import lead_axis, percent, with_unit
from stkit.run.directory import RunDirectory
from stkit.run.files import write_json, write_text
from stkit.run.load import TrainedForecaster, load
from stkit.run.origin import Origin, origin_of, prepared

BASELINES = ("persistence", "climatology", "damped_anomaly")
_BEFORE, _AFTER = "old weights", "continued"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PANEL_INCHES = 2.6
_MARKERS = ("o", "s", "^", "D", "v")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)))


def write_drift(run: RunDirectory) -> Path:
    """Compare the new data with what was trained on, and the weights before and after, and write both files.

    Returns:
        The page.

    Raises:
        UsageError: the run goes on from no other, or the data are not there any more.
        RunFailed: the disk is full.
    """
    origin = origin_of(run)
    if origin is None:
        raise UsageError(f"{run.path}: goes on from no other run on new data, so there is no drift to tell")
    after = load(run.path)
    data = prepared(run, after.recipe)
    assert isinstance(data.source, FieldSource), "a run is continued on a record"
    assert isinstance(data.record, JoinedRecord), "it begins with what was trained on"
    begin = min(data.split_summary[part]["start"] for part in PARTS)
    new = SpanRecord(data.source, begin, max(data.split_summary[part]["stop"] for part in PARTS))
    drifts = find_drift(data.record.records[0], new, data.source.variables, data.pipeline.valid)
    errors = _errors(origin, data, after)
    write_json(
        run.drift,
        {
            "continues": {"run": origin.run, "weights_of_step": origin.weights_of_step, "until": origin.until},
            "new": {"first": str(new.times[0])[:19], "last": str(new.times[-1])[:19]} if new.times is not None else {},
            "step": after.trained_steps,
            "variables": [drift.as_dict() for drift in drifts],
            "errors": [one.as_dict() for one in errors],
        },
    )
    write_text(run.drift_page, _page(run, origin, data, drifts, errors, after))
    return run.drift_page


def _errors(origin: Origin, data: PreparedData, after: TrainedForecaster) -> list[PartErrors]:
    """On the new test part, and on the old one where the old run is still there."""
    batch = after.recipe.evaluate.batch_size
    try:
        old = RunDirectory.open(origin.run)
        before = load(old.path)
    except UsageError:
        return [part_errors("the new test part", data, {_AFTER: after}, BASELINES, batch)]
    models = {_BEFORE: before, _AFTER: after}
    then = prepared(old, before.recipe)
    return [
        part_errors("the new test part", data, models, BASELINES, batch),
        part_errors("the old test part", then, models, BASELINES, batch),
    ]


def error_words(errors: PartErrors) -> list[str]:
    """What going on has changed, a sentence for each variable."""
    said = []
    for name, rmse in errors.rmse.items():
        means = {forecast: _mean(values) for forecast, values in rmse.items()}
        baselines = {forecast: mean for forecast, mean in means.items() if forecast in BASELINES and mean is not None}
        best = min(baselines, key=lambda forecast: baselines[forecast], default=None)
        before, after = means.get(_BEFORE), means[_AFTER]
        if after is None:
            said.append(f"{name}, {errors.part}: no cell could be scored.")
            continue
        against = ""
        if best is not None:
            way = "below" if after < baselines[best] else "not below"
            against = f", {way} the best baseline ({spoken(best)}, {baselines[best]:.3g})"
        change = f"{after:.3g} after" if before is None else f"{before:.3g} before, {after:.3g} after going on"
        said.append(
            f"{name}, {errors.part} ({errors.windows} windows), mean RMSE over the lead times: {change}{against}."
        )
    return said


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def _page(
    run: RunDirectory,
    origin: Origin,
    data: PreparedData,
    drifts: Sequence[VariableDrift],
    errors: Sequence[PartErrors],
    after: TrainedForecaster,
) -> str:
    sections = []
    for drift in drifts:
        pieces = [paragraph(drift_words(drift)), plain_table(_rows(drift), f"{drift.name}: new data and training part")]
        if any(value is not None for value in drift.months):
            pieces.append(figure(run.figures, _draw_months(run.figures, drift)))
        sections.append(section(f"{drift.name}: what has changed", *pieces))
    for drift in drifts:
        drawn = _draw_errors(run.figures, drift, errors, data.source.step_name)
        words = [paragraph(one) for part in errors for one in error_words(part) if one.startswith(f"{drift.name},")]
        sections.append(section(f"{drift.name}: errors", *words, figure(run.figures, drawn)))
    kept = after.trained_steps == 0
    told = "no step made the validation better, so the old weights are kept" if kept else "of the best validation"
    return document(
        title=f"Drift: {run.path.name}",
        summary=f"goes on from {origin.run}, whose data end at {origin.until}",
        verdict=paragraph(" ".join(error_words(errors[0])), "verdict"),
        worth=text(
            f"{errors[0].windows} overlapping windows and one training: enough to see a shift, not to rank. Statistics "
            "and climatology are those of the first training; what the old run was scored on stays out of training."
        ),
        facts=facts(
            [
                (part.capitalize(), f"{span['first']} to {span['last']}", f"{span['windows']} windows")
                for part, span in data.split_summary.items()
            ]
            + [("Weights", f"step {after.trained_steps}", told)]
        ),
        sections=join(sections),
    )


def _rows(drift: VariableDrift) -> dict[str, object]:
    unit = with_unit("", drift.units).strip()
    both = ((drift.training, "training part"), (drift.new, "new data"))
    rows: dict[str, object] = {}
    for part, name in both:
        rows[f"{name} {unit}".strip()] = (
            f"mean {part.mean:.4g}, standard deviation {part.deviation:.4g}; 5 %, 50 % and 95 %: {part.low:.4g}, "
            f"{part.median:.4g}, {part.high:.4g}; missing {percent(part.missing)}"
        )
    rows["largest difference of the distributions"] = f"{drift.distance:.3f} (Kolmogorov and Smirnov)"
    rows[f"mean distance of the distributions {unit}".strip()] = f"{drift.transport:.3g} (Wasserstein)"
    rows[f"departure from the old climatology {unit}".strip()] = f"{drift.anomaly:+.3g}"
    if drift.anomaly_spread is not None:
        rows["spread of the departures"] = f"{drift.anomaly_spread:.2f} times that of the training part"
    return rows


def _draw_months(folder: Path, drift: VariableDrift) -> Drawn:
    stem = stem_of("drift-months", drift.name)
    draw(folder, stem, lambda theme, form: _months_figure(drift, theme, form))
    return Drawn(
        stem=stem,
        title="Shift by calendar month",
        alt=f"Bar chart of the mean departure of {drift.name} from the training part's climatology by month.",
        caption="Mean departure of the new data from the climatology of the training part, for each calendar month "
        "that the new data have.",
    )


def _months_figure(drift: VariableDrift, theme: Theme, form: Format) -> Figure:
    chart = new_figure(form.width_inches, _PANEL_INCHES)
    axis = chart.subplots()
    there = {month: value for month, value in enumerate(drift.months) if value is not None}
    axis.bar(list(there), list(there.values()), color=theme.series[0], width=0.7)
    axis.axhline(0, color=theme.muted, linewidth=0.8)
    axis.set_xticks(range(12), [name[0] if form.narrow else name for name in _MONTHS])
    axis.set_ylabel(with_unit("departure", drift.units))
    return chart


def _draw_errors(folder: Path, drift: VariableDrift, errors: Sequence[PartErrors], step: str) -> Drawn:
    stem = stem_of("drift-errors", drift.name)
    draw(folder, stem, lambda theme, form: _errors_figure(drift, errors, step, theme, form))
    return Drawn(
        stem=stem,
        title="Errors before and after",
        alt=f"Line charts of the error of {drift.name} by lead time: old weights, continued weights and baselines.",
        caption="Root mean squared error by lead time, on the same cells for every forecast. Baselines are fitted on "
        "the training parts of both runs.",
    )


def _errors_figure(drift: VariableDrift, errors: Sequence[PartErrors], step: str, theme: Theme, form: Format) -> Figure:
    across = 1 if form.narrow else len(errors)
    down = len(errors) if form.narrow else 1
    chart = new_figure(form.width_inches, down * _PANEL_INCHES + 0.5)
    for axis, part in zip(chart.subplots(down, across, squeeze=False).ravel(), errors, strict=True):
        for number, (name, values) in enumerate(part.rmse[drift.name].items()):
            axis.plot(
                range(1, len(values) + 1),
                [np.nan if value is None else value for value in values],
                color=theme.series[number % len(theme.series)],
                marker=_MARKERS[number % len(_MARKERS)],
                linestyle=_DASHES[number % len(_DASHES)],
                linewidth=2.0 if name == _AFTER else 1.3,
                markersize=4,
                label=spoken(name),
            )
        axis.set_title(part.part, loc="left")
        axis.set_xlabel(lead_axis(step))
        axis.set_ylabel(with_unit("RMSE", drift.units))
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 5, 10]))
    handles, labels = axis.get_legend_handles_labels()
    chart.legend(handles, labels, loc="outside lower center", ncols=2 if form.narrow else 5, frameon=False)
    return chart
