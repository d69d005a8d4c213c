"""Which plugins are installed: entry points, in an order that never depends on ``sys.path``. Imports no torch."""

from __future__ import annotations

import importlib.metadata as metadata
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Self

CORE = "stkit-torch"
"""The distribution that carries the core and the papers' plugins."""
GROUP_PREFIX = "stkit.plugins."
GROUP = "stkit.plugins.v1"
"""The entry-point group; its last part is the generation of the plugin contract."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry point that was found, before anything of it is imported."""

    entry: metadata.EntryPoint
    distribution: str
    version: str
    requires: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.entry.name

    @property
    def label(self) -> str:
        """``"distribution version"``."""
        return f"{self.distribution} {self.version}"

    @property
    def is_core(self) -> bool:
        """Whether the core's own distribution brings it."""
        return normalise(self.distribution) == CORE


@dataclass(frozen=True, slots=True)
class Selection:
    """Which plugins are wanted, as the environment says."""

    allowed: frozenset[str] | None = None
    """Third parties that may load (``STKIT_PLUGINS``, separated by commas; empty: none); None: all."""
    disabled: frozenset[str] = frozenset()
    """Plugins that must not load (``STKIT_PLUGINS_DISABLE``)."""
    strict: bool = False
    """Raise at the first broken plugin (``STKIT_PLUGINS_STRICT=1``)."""

    @classmethod
    def from_environment(cls) -> Self:
        """Read the three environment variables."""
        allowed = os.environ.get("STKIT_PLUGINS")
        return cls(
            allowed=None if allowed is None else _names(allowed),
            disabled=_names(os.environ.get("STKIT_PLUGINS_DISABLE", "")),
            strict=os.environ.get("STKIT_PLUGINS_STRICT", "") not in ("", "0"),
        )

    def excludes(self, candidate: Candidate) -> str | None:
        """The variable that keeps the candidate out, or None."""
        if candidate.name in self.disabled:
            return "STKIT_PLUGINS_DISABLE"
        if self.allowed is not None and not candidate.is_core and candidate.name not in self.allowed:
            return "STKIT_PLUGINS"
        return None


@dataclass(slots=True)
class Found:
    """The candidates of this contract, and those written for another generation of it."""

    candidates: list[Candidate] = field(default_factory=list)
    other_generation: list[Candidate] = field(default_factory=list)


def installed() -> Found:
    """All entry points of plugins: the core's first, then by plugin and distribution name."""
    found = Found()
    for candidate in _scan(metadata.distributions()):
        (found.candidates if candidate.entry.group == GROUP else found.other_generation).append(candidate)
    for part in (found.candidates, found.other_generation):
        part.sort(key=lambda c: (not c.is_core, c.name, normalise(c.distribution)))
    return found


def check_core(requires: Iterable[str], core_version: str) -> None:
    """Compare a plugin's requirement on the core with the core that is running.

    Raises:
        RuntimeError: if another version is needed.
    """
    # packaging takes tens of milliseconds to import: only where a third party asks for a version
    from packaging.requirements import Requirement
    from packaging.version import Version

    for line in requires:
        requirement = Requirement(line)
        if normalise(requirement.name) != CORE or (requirement.marker and not requirement.marker.evaluate()):
            continue
        if not requirement.specifier.contains(Version(core_version), prereleases=True):
            raise RuntimeError(f"it needs {CORE}{requirement.specifier}, this is {CORE} {core_version}")


def normalise(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return name.lower().replace("_", "-").replace(".", "-")


def _names(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(",") if part.strip())


def _scan(distributions: Iterable[metadata.Distribution]) -> Iterator[Candidate]:
    seen: set[str] = set()
    for distribution in distributions:
        entries = [e for e in distribution.entry_points if e.group.startswith(GROUP_PREFIX)]
        if not entries:
            continue
        name = distribution.metadata["Name"] or "unknown"
        # The first of two versions on the path is the one that imports would find.
        if normalise(name) in seen:
            continue
        seen.add(normalise(name))
        requires = tuple(distribution.requires or ())
        for entry in entries:
            yield Candidate(entry, name, distribution.version, requires)
