"""What was found, in sentences: a number, what it is held against, and what one run allows to conclude."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stkit.diagnose.attention import memories_there
from stkit.diagnose.gates import CLAIM, memories, saturation_of
from stkit.diagnose.result import Diagnosis
from stkit.diagnose.stationarity import DIFFERENCE, HIDDEN, MADE, READ, SignalDrift, of_white_noise
from stkit.evaluate.words import percent, signed_text, steps_text

_CLAIMED = ("C", "M")
"""Memories whose gates the paper speaks of; the first one that is there is held against its figure."""
_MOST_LOOKS = 4
"""Attentions that have a sentence each."""
_MADE = {
    "more": "makes what it reads more stationary",
    "less": "makes what it reads less stationary",
    "about as": "leaves what it reads about as stationary as it was",
    "more or less": "makes what it reads more stationary by one measure and less by the other",
}


@dataclass(frozen=True)
class Finding:
    """One sentence or two about one thing."""

    about: str
    text: str


def findings(found: Diagnosis) -> list[Finding]:
    """In the order of the figures."""
    return [
        *(Finding("gates", text) for text in _gates(found)),
        *(Finding("gradients", text) for text in _gradients(found)),
        *(Finding("recall", text) for text in _recall(found)),
        *(Finding("attention", text) for text in _attention(found)),
        *(Finding("stationarity", text) for text in _stationarity(found)),
        *(Finding("decoupling", text) for text in _decoupling(found)),
    ]


def _gates(found: Diagnosis) -> Iterator[str]:
    if not found.gates:
        yield "No cell of this model shows a forget gate."
        return
    known = memories(found.gates)
    spoken_of = next((memory for memory in _CLAIMED if memory in known), None)
    for memory in known:
        share, always = saturation_of(found.gates, memory)
        held = "as many or more" if share >= CLAIM else "fewer"
        claim = f" The MIM paper says about {percent(CLAIM)} of PredRNN's on radar maps; here it is {held}."
        yield (
            f"{percent(share)} of the forget gates of {memory} are saturated (below {found.bounds.below:g} or above "
            f"{found.bounds.above:g}), {percent(always)} at every step.{claim if memory == spoken_of else ''}"
        )


def _gradients(found: Diagnosis) -> Iterator[str]:
    for flow in found.gradients:
        who = "The error of the last forecast frame" if len(found.gradients) == 1 else f"{flow.name}: the error"
        if len(flow.norms) < 2:
            continue
        first, last = flow.norms[0], flow.norms[-1]
        if not last > 0:
            yield f"{who} does not depend on the input at all."
            continue
        total = sum(flow.norms)
        early = f"{first / last:.2g}" if first > 0 else "0"
        yield (
            f"{who} depends on the first input frame {early} times as strongly as on the last one; even would be 1. "
            f"The last frame has {percent(last / total)} of the sum."
        )


def _recall(found: Diagnosis) -> Iterator[str]:
    at = found.leads.index(1)
    for ages in found.ages:
        if at not in ages.steps:
            continue
        weights = ages.weights[ages.steps.index(at)]
        there = memories_there(weights)
        yield (
            f"RECALL of {found.layer(ages.layer)} gives {percent(weights[-1])} of its weight to the newest of {there} "
            f"memories at the first lead time; even would be {percent(1 / there)}."
        )


def _attention(found: Diagnosis) -> Iterator[str]:
    looks = found.looks
    if len(looks) <= _MOST_LOOKS:
        for look in looks:
            yield (
                f"Attention of {found.layer(look.layer)} on {look.place} looks at {look.cells:.0f} of {look.available} "
                f"patches in effect, {look.distance:.1f} patches away on the mean (all alike: "
                f"{look.even_distance:.1f})."
            )
        return
    cells, distances = sorted(look.cells for look in looks), sorted(look.distance for look in looks)
    yield (
        f"The {len(looks)} attentions look at {cells[0]:.0f} to {cells[-1]:.0f} of {looks[0].available} patches in "
        f"effect, {distances[0]:.1f} to {distances[-1]:.1f} patches away on the mean (all alike: "
        f"{looks[0].even_distance:.1f})."
    )


def _stationarity(found: Diagnosis) -> Iterator[str]:
    by_layer = {(one.layer, one.signal): one for one in found.drifts}
    hidden = [one for one in found.drifts if one.signal == HIDDEN]
    changes = [one for one in found.drifts if one.signal == DIFFERENCE]
    if hidden and changes:
        by_chance = percent(of_white_noise(found.drift_steps)[0])
        yield (
            f"A straight line in time explains {_range(hidden)} of the variance of the layers' hidden states and "
            f"{_range(changes)} of that of their differences; of values without any order it would be {by_chance}."
        )
    for one in found.comparisons:
        read, made = by_layer[one.layer, READ], by_layer[one.layer, MADE]
        alone = " One window says nothing about chance." if one.trend_share_error is None else ""
        yield (
            f"MIM-N of {found.layer(one.layer)} {_MADE[one.verdict]}: a straight line in time explains "
            f"{percent(read.trend_share)} of the variance of what it reads and {percent(made.trend_share)} of that of "
            f"D; neighbouring steps correlate by {signed_text(read.lag1)} and {signed_text(made.lag1)}.{alone}"
        )


def _range(drifts: Sequence[SignalDrift]) -> str:
    """``19 % to 46 %``."""
    low, high = (percent(share) for share in (min(d.trend_share for d in drifts), max(d.trend_share for d in drifts)))
    return low if low == high else f"{low} to {high}"


def _decoupling(found: Diagnosis) -> Iterator[str]:
    if found.overlaps:
        shown = ", ".join(f"{one.mean:.2f} in layer {one.layer}" for one in found.overlaps)
        yield f"The increments of C and M overlap by |cos| = {shown}; 0 is nothing in common, 1 the same."


def looked_at(found: Diagnosis) -> str:
    """``8 windows of the validation part, weights of step 400``."""
    windows = steps_text(len(found.windows), "window")
    return f"{windows} of the {found.part} part, weights of step {found.trained_steps}"
