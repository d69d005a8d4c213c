"""Where weights come from, and which architecture they are of."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stkit.errors import CheckpointError, UsageError, suggest
from stkit.interop import convlstm, e3d_lstm, mim, predrnn, predrnnpp
from stkit.interop.architecture import Architecture, Semantics
from stkit.interop.weights import Weights, listed


@dataclass(frozen=True)
class Asked:
    """What else decides how the weights are read."""

    semantics: Semantics = "openstl-1.0"
    steps: int = 20
    """Frames of context and forecast together."""


@dataclass(frozen=True)
class Kind:
    """One architecture of a source."""

    title: str
    sign: str
    """A regular expression that one of its parameters' names matches, and none of the kinds after it need."""
    describe: Callable[[Weights, Asked], Architecture]
    has_semantics: bool = False
    """Whether the version of OpenSTL makes a difference."""


@dataclass(frozen=True)
class Source:
    """A repository whose weights can be imported."""

    name: str
    title: str
    link: str
    kinds: tuple[Kind, ...]
    """The first one whose sign is found is it."""
    optimiser: str = ""
    """A regular expression of names that belong to the training, not the model."""


def _e3d_openstl(theirs: Weights, asked: Asked) -> Architecture:
    e3d_lstm.refuse_openstl(theirs)


_TENSORFLOW_TRAINING = r"(.*/)?(Adam(_\d+)?|ExponentialMovingAverage|Variable(_\d+)?|beta[12]_power|global_step)"

SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        Source(
            "openstl",
            "OpenSTL",
            "https://github.com/chengtan9907/OpenSTL",
            (
                Kind(
                    "PredRNN++",
                    r"gradient_highway\.",
                    lambda theirs, asked: predrnnpp.openstl(theirs, asked.semantics),
                    has_semantics=True,
                ),
                Kind("MIM", r"stlstm_layer\.\d+\.", lambda theirs, asked: mim.openstl(theirs)),
                Kind("E3D-LSTM", r"cell_list\.\d+\.conv_gm\.", _e3d_openstl),
                Kind(
                    "PredRNN",
                    r"cell_list\.\d+\.conv_m\.",
                    lambda theirs, asked: predrnn.released(theirs, "OpenSTL's PredRNN"),
                ),
                Kind(
                    "ConvLSTM",
                    r"cell_list\.\d+\.conv_x\.",
                    lambda theirs, asked: convlstm.openstl(theirs, asked.semantics),
                    has_semantics=True,
                ),
            ),
        ),
        Source(
            "predrnn-pytorch",
            "the authors' PyTorch code of PredRNN",
            "https://github.com/thuml/predrnn-pytorch",
            (
                Kind(
                    "PredRNN",
                    r"cell_list\.\d+\.conv_m\.",
                    lambda theirs, asked: predrnn.released(theirs, "the released PredRNN"),
                ),
            ),
        ),
        Source(
            "predrnn-pp",
            "the authors' TensorFlow code of PredRNN++",
            "https://github.com/Yunbo426/predrnn-pp",
            (Kind("PredRNN++", r"(.*/)?lstm_1/memory_reduce/", lambda theirs, asked: predrnnpp.tensorflow(theirs)),),
            _TENSORFLOW_TRAINING,
        ),
        Source(
            "mim",
            "the authors' TensorFlow code of MIM",
            "https://github.com/Yunbo426/MIM",
            (Kind("MIM", r"(.*/)?stlstm_1/cell_reduce/", lambda theirs, asked: mim.tensorflow(theirs)),),
            _TENSORFLOW_TRAINING,
        ),
        Source(
            "e3d-lstm",
            "the authors' TensorFlow code of E3D-LSTM",
            "https://github.com/google/e3d_lstm",
            (Kind("E3D-LSTM", r"(.*/)?e3d0/conv3d", lambda theirs, asked: e3d_lstm.tensorflow(theirs, asked.steps)),),
            _TENSORFLOW_TRAINING,
        ),
    )
}


def source_called(name: str) -> Source:
    """The source of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in SOURCES:
        raise UsageError(f"there is no source {name!r} to import from; {suggest(name, SOURCES)}")
    return SOURCES[name]


def kind_of(source: Source, theirs: Weights) -> Kind:
    """Which of a source's architectures the weights are of, by their names.

    Raises:
        CheckpointError: none, with the source that they look like if there is one.
    """
    found = _kind(source, theirs)
    # PredRNN's authors' code is a part of what OpenSTL has: other weights of OpenSTL match it, too.
    if found is not None and (source.name == "openstl" or not _is_only_openstl(theirs)):
        return found
    titles = ", ".join(kind.title for kind in source.kinds)
    near = next((other for other in SOURCES.values() if other is not source and _kind(other, theirs)), None)
    hint = f"; they look like weights of {near.title}: `stkit import {near.name}`" if near else ""
    raise CheckpointError(
        f"{theirs.where}: not recognised as a model of {source.title} ({titles}); its parameters are "
        f"{listed(theirs, 3)}{hint}"
    )


def _kind(source: Source, theirs: Weights) -> Kind | None:
    for kind in source.kinds:
        if any(re.match(kind.sign, name) for name in theirs):
            return kind
    return None


def _is_only_openstl(theirs: Weights) -> bool:
    found = _kind(SOURCES["openstl"], theirs)
    return found is not None and found.title != "PredRNN"


def without_training(source: Source, tensors: Weights) -> tuple[Weights, dict[str, str]]:
    """The weights without what belongs to the optimiser, and that with the reason."""
    if not source.optimiser:
        return tensors, {}
    pattern = re.compile(source.optimiser)
    dropped = {name: "belongs to the training, not to the model" for name in tensors if pattern.fullmatch(name)}
    kept = {name: value for name, value in tensors.items() if name not in dropped}
    return Weights(kept, tensors.where), dropped
