"""What a study found, in words: what the intervals say, and what they cannot say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args

from stkit.evaluate.comparison.blocks import FEWEST_BLOCKS
from stkit.evaluate.comparison.study import Compared, Study, Word
from stkit.evaluate.verdict import listed, spoken
from stkit.evaluate.words import signed_text


def finding(study: Study) -> list[str]:
    """Sentences: for each variable each recipe against the first, then against the baselines."""
    if not study.rankable:
        return [_nothing(study)]
    several = len(study.layout.variables) > 1
    found = []
    for variable in study.layout.variables:
        compared = study.of_variable(variable.name)
        sentences = [*_against_first(study, compared), *_against_baselines(study, compared)]
        by = "" if study.info is None else study.info.name(variable.units)
        start = "".join(f"{words}: " for words in (variable.name if several else "", by) if words)
        found += [start + sentence for sentence in sentences or ["There is nothing to compare with."]]
    return found


def worth(study: Study) -> str:
    """What the finding is worth: windows, blocks, seeds, and the correction."""
    windows = f"{study.windows} test window{'s' if study.windows != 1 else ''}"
    seeds = _seeds_text([len(member.seeds) for member in study.trained])
    if not study.rankable:
        return f"{windows}, {seeds}."
    count = sum(one.p_adjusted is not None for one in study.compared)
    blocks = f"{study.blocks:.3g} blocks of {study.block}" if study.block > 1 else "each by itself"
    level = f"{count} comparison{'s' if count != 1 else ''}, held to 5 % together (Holm)"
    return f"{windows} ({blocks}), {seeds}; {level}. {_one_seed(study)}".strip()


def ends(one: Compared) -> str:
    """``−4.1 % [−6.0, −2.2]``: the difference as a share of the second's score, with its interval if it has one."""
    found = one.paired.overall
    if found.relative is None:
        return "–"
    shown = f"{_percent(found.relative)} %"
    interval = found.relative_interval()
    return shown if interval is None else f"{shown} [{_percent(interval[0])}, {_percent(interval[1])}]"


def p_text(value: float | None) -> str:
    """A p-value with two figures."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def not_ranked(one: Compared) -> str:
    """Why there is no interval."""
    pair = one.paired
    return (
        f"{one.first} against {one.against}: the difference stays alike over {pair.block} windows, which leaves "
        f"{pair.blocks:.2g} blocks; {FEWEST_BLOCKS * pair.block} test windows would be needed"
    )


def _nothing(study: Study) -> str:
    layout = study.layout
    if not layout.share_steps:
        return f"Nothing can be ranked: {study.windows} test sequences; an interval needs {study.windows_needed}."
    more = f"{study.windows_needed} test windows, a test part of {study.steps_needed} steps, would be needed"
    windows = f"{study.windows} test window{'s' if study.windows != 1 else ''}"
    blocks = f"{study.blocks:.2g} independent block{'s' if study.blocks != 1 else ''}"
    return (
        f"Nothing can be ranked: {windows} of {layout.input_steps} input and {layout.horizon} forecast steps make "
        f"{blocks}, and an interval needs {FEWEST_BLOCKS}: {more}."
    )


def _against_first(study: Study, compared: Sequence[Compared]) -> list[str]:
    chosen = [one for one in compared if not one.with_baseline]
    return [f"Against {study.trained[0].name}: {_by_word(chosen)}."] if chosen else []


def _against_baselines(study: Study, compared: Sequence[Compared]) -> list[str]:
    names = list(dict.fromkeys(one.second for one in compared if one.with_baseline))
    outcomes: dict[tuple[Word, ...], list[str]] = {}
    for name in names:
        words = tuple(one.word for one in compared if one.with_baseline and one.second == name)
        outcomes.setdefault(words, []).append(name)
    sentences = []
    for words, baselines in outcomes.items():
        if len(set(words)) == 1 and len(words) > 1:
            verb = {"better": "better than", "worse": "worse than"}.get(words[0], f"{words[0]} against")
            sentences.append(f"All {len(words)} are {verb} {listed([spoken(name) for name in baselines])}.")
            continue
        for baseline in baselines:
            chosen = [one for one in compared if one.with_baseline and one.second == baseline]
            sentences.append(f"Against {spoken(baseline)}: {_by_word(chosen, intervals=False)}.")
    return sentences


def _by_word(compared: Sequence[Compared], *, intervals: bool = True) -> str:
    """``better: A (−4.1 % [−6.0, −2.2]); not distinguishable: B (...)``."""
    parts = []
    for word in get_args(Word):
        found = [f"{one.first} ({ends(one)})" if intervals else one.first for one in compared if one.word == word]
        if found:
            parts.append(f"{word}: {listed(found)}")
    return "; ".join(parts)


def _seeds_text(counts: Iterable[int]) -> str:
    found = sorted(set(counts))
    if found == [1]:
        return "one seed each"
    return f"{found[0]} seeds each" if len(found) == 1 else f"{found[0]} to {found[-1]} seeds"


def _one_seed(study: Study) -> str:
    single = [member.name for member in study.trained if len(member.seeds) == 1]
    if not single:
        return ""
    if len(single) == len(study.trained):
        return "With one seed the words are about these weights, not about the recipes."
    return f"{listed(single)} with one seed: the words are about these weights, not about the recipe."


def _percent(share: float) -> str:
    value = 100 * share
    if abs(value) >= 10:
        return f"{round(value):+d}".replace("-", "−") if round(value) else "0"
    return signed_text(value) if abs(value) < 1 else f"{value:+.1f}".replace("-", "−")
