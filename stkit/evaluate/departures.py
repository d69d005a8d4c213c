"""The baselines that a model may forecast the departure from: they can be written down beside the weights."""

from __future__ import annotations

from collections.abc import Mapping

from stkit.evaluate.baselines import Baseline, Climatology, DampedAnomaly, Persistence
from stkit.evaluate.extrapolation import Extrapolation

DEPARTURES: Mapping[str, type[Baseline]] = {
    kind.name: kind for kind in (Persistence, Climatology, DampedAnomaly, Extrapolation)
}
"""By the name that recipes use: from :meth:`Baseline.settings` and :meth:`Baseline.state` each is made again."""
