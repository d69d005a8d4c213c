"""A comparison as one HTML page: the verdict first, then differences, scores, what it cost, and how it was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from stkit.evaluate.comparison.blocks import FEWEST_BLOCKS
from stkit.evaluate.comparison.difference import RESAMPLES
from stkit.evaluate.comparison.study import Study
from stkit.evaluate.comparison.tables import (
    VERDICT,
    Table,
    compared_tables,
    cost_table,
    score_words,
    scores_table,
    shown_score,
)
from stkit.evaluate.comparison.words import finding, not_ranked, worth
from stkit.evaluate.figures.canvas import Drawn, stem_of
from stkit.evaluate.report.document import document
from stkit.evaluate.report.html import (
    COPY,
    Markup,
    code,
    details,
    facts,
    figure,
    join,
    paragraph,
    plain_table,
    section,
    text,
)

_WORDS = {"better", "worse", "not distinguishable", "not ranked"}


def page(
    study: Study,
    folder: Path,
    drawn: Mapping[str, Drawn],
    *,
    title: str,
    summary: str,
    command: str,
    notes: Sequence[str] = (),
    sections: Sequence[Markup] = (),
) -> str:
    """The whole page, with its style and figures in it.

    Args:
        study: what was compared.
        folder: where the figures are.
        drawn: the figures by their stem.
        title: of the page.
        summary: one line under it.
        command: the command line that made it.
        notes: what else a reader must know, before the first section.
        sections: what else there is to tell, after the scores.
    """
    sentences = finding(study)
    kind = "verdict several" if len(sentences) > 1 or len(sentences[0]) > 160 else "verdict"
    said = [paragraph(words, kind) for words in sentences]
    parts = [_differences(study, folder, drawn), _scores(study, folder, drawn), _cost(study), *sections]
    parts += [_how(study), _repeat(study, command)]
    return document(
        title=title,
        summary=summary,
        verdict=join(said),
        worth=join([text(worth(study)), *(Markup(f"<br>{text(note)}") for note in (*study.notes, *notes))]),
        facts=facts(_facts(study)),
        sections=join(parts),
    )


def _facts(study: Study) -> list[tuple[str, str, str]]:
    layout = study.layout
    needed = f"{study.windows_needed} would be enough to rank" if not study.rankable else ""
    shape = f"{layout.input_steps} input and {layout.horizon} forecast steps"
    blocks = f"of {study.block} window{'s' if study.block != 1 else ''}; an interval needs {FEWEST_BLOCKS}"
    runs = sum(len(member.runs) for member in study.trained)
    return [
        ("recipes", str(len(study.trained)), f"{runs} training run{'s' if runs != 1 else ''}"),
        ("test windows", str(study.windows), needed or shape),
        ("independent blocks", f"{study.blocks:.3g}", blocks),
    ]


def _differences(study: Study, folder: Path, drawn: Mapping[str, Drawn]) -> Markup:
    if not study.compared:
        return section("Differences", paragraph("There is nothing to compare with."))
    pieces: list[Markup] = []
    note = (
        f"Difference of the {score_words(study)} over all lead times, as a share of that of what is compared with, "
        "with its 95 % interval. The verdict follows the p-value after Holm's correction for all comparisons of this "
        "page; DM is the test of Diebold and Mariano as a cross-check, on the mean of the seeds."
    )
    if not study.rankable:
        note = (
            f"Difference of the {score_words(study)} over all lead times, as a share of that of what is compared with. "
            "The test part is too short for intervals: nothing here ranks anything."
        )
    pieces.append(paragraph(note, "note"))
    for variable in study.layout.variables:
        if len(study.layout.variables) > 1:
            pieces.append(Markup(f"<h3>{text(variable.name)}</h3>"))
        forest = drawn.get(stem_of("forest", variable.name))
        if forest is not None:
            pieces.append(figure(folder, forest))
        compared = study.of_variable(variable.name)
        pieces.append(_tables([_table(compared_tables(compared), f"differences-{variable.name}")]))
        if study.rankable:
            pieces += [paragraph(f"{not_ranked(one)}.", "note") for one in compared if one.word == "not ranked"]
    return section("Differences", *pieces)


def _scores(study: Study, folder: Path, drawn: Mapping[str, Drawn]) -> Markup:
    pieces = []
    for variable in study.layout.variables:
        leads = drawn.get(stem_of("leads", variable.name))
        if leads is not None:
            pieces.append(figure(folder, leads))
        title = f"{shown_score(study, variable.name)} of {variable.name}"
        words = "Every seed, pooled over the windows; the last column is pooled over the lead times too."
        skill = drawn.get(stem_of("skill", variable.name))
        if skill is not None:
            pieces.append(figure(folder, skill))
        pieces.append(
            _tables([_table({"": scores_table(study, variable.name)}, f"scores-{variable.name}", title, words)])
        )
    return section("Scores by lead time", *pieces)


def _cost(study: Study) -> Markup:
    words = (
        "FLOPs are those of one forward pass over one training window; a training step takes about three times as many."
    )
    return section("What it cost", _tables([_table({"": cost_table(study)}, "cost")]), paragraph(words, "note"))


def _how(study: Study) -> Markup:
    together = (
        "sequences are independent, so that each is a block"
        if not study.layout.share_steps
        else (
            f"windows that start less than {study.layout.input_steps + study.layout.horizon} steps apart share time "
            f"steps, so a block has at least {study.block} windows, and more where differences stay alike for longer"
        )
    )
    rows = {
        "pairs": "the errors of two forecasts at the same start time, on the same cells; their difference is averaged",
        "blocks": f"circular moving blocks of start times; {together}",
        "seeds": "drawn with replacement beside the blocks; few seeds make a wide interval",
        "resamples": f"at least {RESAMPLES}, always the same ones",
        "words": "better or worse: p at most 0.05 after Holm's correction; not distinguishable: otherwise; "
        f"not ranked: fewer than {FEWEST_BLOCKS} blocks",
        "by lead time": "the scores are shown and not ranked: the verdict is about all lead times together",
        "windows": f"hash {study.layout.windows_hash}",
    }
    return section("How it was done", plain_table(rows, "How the comparison was done"))


def _repeat(study: Study, command: str) -> Markup:
    runs = "\n".join(f"{run}  # {member.name}" for member in study.trained for run in member.runs)
    return section("How to repeat it", code(command), details("Runs", code(runs)))


def _tables(tables: Sequence[Markup]) -> Markup:
    return Markup(f'<div class="tables" style="--least: 100%">\n{join(tables)}\n</div>')


def _table(tables: Mapping[str, Table], place: str, title: str = "", words: str = "") -> Markup:
    """Tables with one head below each other, each under its name."""
    place = stem_of("table", place)
    columns = next(iter(tables.values())).head
    head = "".join(f'<th scope="col"{_kind(cell)}>{text(cell)}</th>' for cell in columns)
    rows = []
    for against, table in tables.items():
        if against:
            rows.append(
                f'<tr class="group"><th scope="rowgroup" colspan="{len(columns)}">against {text(against)}</th></tr>'
            )
        for name, *cells in table.rows:
            row = "".join(f"<td{_kind(cell)}>{text(cell)}</td>" for cell in cells)
            rows.append(f'<tr><th scope="row">{text(name)}</th>{row}</tr>')
    said = f'<p id="{place}"><b>{text(title)}</b><span>{text(words)}</span></p>\n' if title else ""
    label = f'aria-labelledby="{place}"' if title else f'aria-label="{text(place)}"'
    body = "\n".join(rows)
    return Markup(
        f'<div class="score">{said}{COPY}<div class="scroll" tabindex="0" role="group" {label}>'
        f'<table class="names" {label}>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div></div>"
    )


def _kind(cell: str) -> str:
    if cell in _WORDS:
        return f' class="word {cell.split()[0]}"'
    return ' class="word"' if cell == VERDICT else ""
