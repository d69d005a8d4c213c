"""The advice as one HTML page that needs no network, or its maps as one picture."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from stkit.advise.advice import CAVEAT, Advice
from stkit.advise.figures import draw_lags, draw_maps, maps_png
from stkit.advise.stationarity import MEANINGS
from stkit.advise.words import measured, tried
from stkit.evaluate.report.document import document
from stkit.evaluate.report.html import Markup, code, details, facts, figure, join, paragraph, plain_table, section, text
from stkit.evaluate.words import percent
from stkit.run.files import write_bytes, write_text

_TESTS = {
    "augmented Dickey-Fuller": "supposes a unit root, with level and trend; p-values of MacKinnon",
    "KPSS": "supposes that the cell is stationary about a level, and in a second test about a trend; lags of Hobijn, "
    "Franses and Ooms; p-values from its limit distribution",
    "false finds": "Benjamini and Hochberg, over all cells for each test",
    "stationary": "no unit root, and a level is not refuted",
    "trend-stationary": "no unit root, a level is refuted, a trend is not",
    "difference-stationary": "a unit root is not refuted, a trend is",
    "unclear": "the rest",
    "spread": "Brown and Forsythe, on the innovations of a first-order autoregression, first half against second",
}


def write_page(advice: Advice, path: Path) -> None:
    """Write the page.

    Raises:
        RunFailed: the disk is full.
    """
    with TemporaryDirectory() as folder:
        maps, lags = (figure(Path(folder), make(Path(folder), advice)) for make in (draw_maps, draw_lags))
    name = f"{advice.sample.variable.name} of {advice.sample.source.name}"
    shares = {verdict: f"{percent(share)}: {MEANINGS[verdict]}" for verdict, share in advice.findings.shares.items()}
    listed = Markup(
        "<ul>\n" + "\n".join(f"<li>{text(reason)}</li>" for reason in advice.suggestion.reasons) + "\n</ul>"
    )
    sections = [
        section("What to try", listed, code(advice.suggestion.lines), paragraph(f"{tried(advice)}. {CAVEAT}", "note")),
        section("Where", maps),
        section("How long it remembers", lags),
        section("What was measured", plain_table(measured(advice), "What was measured")),
        section(
            "The verdicts",
            plain_table(shares, "Shares of the verdicts"),
            details("How it was tested", plain_table(_TESTS, "Tests")),
        ),
    ]
    page = document(
        title=f"Is {name} stationary?",
        summary="",
        verdict=paragraph(advice.verdict, "verdict"),
        worth=text(advice.worth),
        facts=facts(_facts(advice)),
        sections=join(sections),
    )
    write_text(path, page)


def write_maps(advice: Advice, path: Path) -> None:
    """Write the maps as a PNG.

    Raises:
        RunFailed: the disk is full.
    """
    write_bytes(path, maps_png(advice))


def _facts(advice: Advice) -> list[tuple[str, str, str]]:
    sample, suggestion = advice.sample, advice.suggestion
    folding = advice.memory.overall_folding
    return [
        ("tested", f"{sample.cells} cells", f"of {sample.valid_cells} that are no land"),
        ("record", f"{sample.steps} steps", sample.span),
        ("season", percent(advice.split.overall) if advice.split.seasons else "–", "of the variance about the trend"),
        ("memory", "–" if folding is None else f"{folding:.1f} steps", "until the correlation is 1/e"),
        ("suggested input", f"{suggestion.input_steps} steps", f"to forecast {suggestion.horizon}"),
        (
            "suggested modules",
            ", ".join(name for name in suggestion.nonstationary if name != "none"),
            "to test against none",
        ),
    ]
