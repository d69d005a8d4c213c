"""KTH and Human3.6M: videos of people, split by who they are.

KTH: Schuldt, Laptev and Caputo (2004), Recognizing human actions: a local SVM approach. Human3.6M: Ionescu, Papava,
Olaru and Sminchisescu (2014), Human3.6M: large scale datasets and predictive methods for 3D human sensing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from stkit.data.clips import Clip, ClipSequences, FileFrames
from stkit.data.frames_config import PicturesConfig
from stkit.data.pictures import GREY, RGB, by_number, decode_picture
from stkit.data.readers.config import Human36mConfig, KthConfig
from stkit.data.readers.layout import had_from, root_of
from stkit.data.source import PARTS, Part, Variable
from stkit.data.video import VideoClip
from stkit.errors import DataError
from stkit.plugin.config import ComponentConfig

KTH_ACTIONS = ("boxing", "handclapping", "handwaving", "jogging", "running", "walking")
_KTH_NAME = re.compile(r"person(\d{2})_")
_TRAINED_UP_TO = 16
_HUMAN_TEST = ("S9", "S11")
_PICTURES = (".jpg", ".jpeg", ".png")


class Kth:
    """The data set ``kth``: grey frames; persons 1 to 16 are for training and validation, 17 to 25 for the test."""

    @classmethod
    def from_config(cls, config: KthConfig) -> ClipSequences:
        """Find the videos, or folders of their frames.

        Raises:
            DataError: if there are none, or a part has none.
        """
        root = root_of(config.path, config)
        pictures = PicturesConfig(name="kth", colour="grey", size=config.size)
        found: dict[Part, list[Clip]] = {part: [] for part in PARTS}
        for action in KTH_ACTIONS:
            for entry in _entries(root / action):
                match = _KTH_NAME.match(entry.name)
                if match:
                    person = int(match[1])
                    part: Part = "test" if person > _TRAINED_UP_TO else "train"
                    part = "validation" if person in config.validation_persons else part
                    found[part].append(_clip(entry, pictures, 1))
        return _sequences("kth", found, config, GREY, f"{config.path}/boxing/person01_boxing_d1_uncomp.avi")


class Human36m:
    """The data set ``human36m``: colour frames of one action; subjects S9 and S11 are for the test."""

    @classmethod
    def from_config(cls, config: Human36mConfig) -> ClipSequences:
        """Find the videos.

        Raises:
            DataError: if there are none, or a part has none.
        """
        root = root_of(config.path, config)
        pictures = PicturesConfig(name="human36m", colour="rgb", size=config.size)
        wanted = re.compile(re.escape(config.action) + r"( \d)?\.\d+(\.mp4)?$")
        found: dict[Part, list[Clip]] = {part: [] for part in PARTS}
        for subject in _entries(root):
            part: Part = "test" if subject.name in _HUMAN_TEST else "train"
            part = "validation" if subject.name in config.validation_subjects else part
            videos = [entry for entry in _entries(subject / "Videos") if wanted.match(entry.name)]
            found[part] += [_clip(entry, pictures, config.every) for entry in videos]
        return _sequences("human36m", found, config, RGB, f"{config.path}/S1/Videos/{config.action}.54138969.mp4")


def _entries(folder: Path) -> Iterable[Path]:
    return sorted(folder.iterdir(), key=by_number) if folder.is_dir() else []


def _clip(entry: Path, config: PicturesConfig, every: int) -> Clip:
    if entry.is_dir():
        frames = [path for path in _entries(entry) if path.suffix.lower() in _PICTURES][::every]
        clip: Clip = FileFrames(str(entry), frames, partial(decode_picture, config=config))
    else:
        clip = VideoClip(entry, config, every)
    clip.name = f"{entry.parent.parent.name}/{entry.name}" if entry.parent.name == "Videos" else entry.name
    return clip


def _sequences(
    name: str,
    found: dict[Part, list[Clip]],
    config: ComponentConfig,
    variables: tuple[Variable, ...],
    example: str,
) -> ClipSequences:
    for part in PARTS:
        if not found[part]:
            raise DataError(f"{name}: no video of the {part} part; expected such as {example}. {had_from(config)}")
    return ClipSequences(name, variables, found)
