"""The plugin host: loads manifests, isolates the broken ones, finds components by name. Imports no torch.

A plugin that fails is skipped with one warning that names it, its distribution and the reason, and the others work.
Two providers of one name both live as ``plugin/name``; only the use of the short name is an error.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pluggy

from stkit.errors import AmbiguousComponent, PluginError, UnknownComponent, nearest, suggest
from stkit.plugin import specs as kinds
from stkit.plugin.discovery import CORE, GROUP, Candidate, Found, Selection, check_core, installed
from stkit.plugin.hookspecs import PROJECT, Hooks

log = logging.getLogger(__name__)

BUILTIN = "stkit"
"""The plugin name of the core's own components."""
_BUILTIN_MODULE = "stkit.builtin"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class Kind(NamedTuple):
    """A kind of component."""

    singular: str
    spec: type


KINDS: dict[str, Kind] = {
    "cells": Kind("cell", kinds.CellSpec),
    "stacks": Kind("architecture", kinds.StackSpec),
    "modules": Kind("module", kinds.ModuleSpec),
    "losses": Kind("loss", kinds.LossSpec),
    "metrics": Kind("metric", kinds.MetricSpec),
    "baselines": Kind("baseline", kinds.BaselineSpec),
    "datasets": Kind("dataset", kinds.DatasetSpec),
    "callbacks": Kind("callback", kinds.CallbackSpec),
    "exporters": Kind("exporter", kinds.ExporterSpec),
    "recipes": Kind("recipe", kinds.RecipeSpec),
    "commands": Kind("command", kinds.CommandSpec),
    "checks": Kind("check", kinds.CheckSpec),
}
"""What a plugin can bring; each kind has its hook ``stkit_<kind>``."""

_WHILE = {
    "contract": "its generation was checked",
    "name": "its name was checked",
    "version": "its requirements were checked",
    "import": "being imported",
    "hooks": "its hooks were checked",
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A plugin that works."""

    name: str
    distribution: str
    hooks: tuple[str, ...]
    builtin: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """A plugin, or one hook of it, that was skipped."""

    plugin: str
    distribution: str
    stage: str
    """``contract``, ``name``, ``version``, ``import``, ``hooks``, or the name of the hook that failed."""
    error: BaseException

    @property
    def reason(self) -> str:
        """The error in one line."""
        text = str(self.error).strip()
        return f"{type(self.error).__name__}: {text}" if text else type(self.error).__name__

    def __str__(self) -> str:
        doing = _WHILE.get(self.stage, f"its hook {self.stage} was asked")
        return f"plugin {self.plugin!r} ({self.distribution}) was skipped while {doing}: {self.reason}"


class PluginManager:
    """The installed plugins.

    Args:
        found: what is installed; None: read it from the environment's metadata.
        selection: which of it is wanted; None: as the environment variables say.
        core_version: the core's version, against which plugins' requirements are held; None: the installed one.
        builtin: register the core's own components.
    """

    def __init__(
        self,
        found: Found | None = None,
        *,
        selection: Selection | None = None,
        core_version: str | None = None,
        builtin: bool = True,
    ) -> None:
        self.selection = Selection.from_environment() if selection is None else selection
        self.core_version = importlib.metadata.version(CORE) if core_version is None else core_version
        self.failures: list[Failure] = []
        self.excluded: list[tuple[Candidate, str]] = []
        """Plugins that are installed and kept out, with the environment variable that does it."""
        self._pluggy = pluggy.PluginManager(PROJECT)
        self._pluggy.add_hookspecs(Hooks)
        self._labels: dict[str, str] = {}
        self._core: set[str] = set()
        self._specs: dict[str, tuple[Any, ...]] = {}
        if builtin:
            self._add(BUILTIN, f"{CORE} {self.core_version}", lambda: importlib.import_module(_BUILTIN_MODULE), True)
        self._discover(installed() if found is None else found)

    @property
    def loaded(self) -> tuple[Loaded, ...]:
        """The plugins that work, built-in ones first."""
        out = []
        for name, plugin in self._pluggy.list_name_plugin():
            hooks = tuple(sorted(caller.name for caller in self._pluggy.get_hookcallers(plugin) or ()))
            out.append(Loaded(name, self._labels[name], hooks, name in self._core))
        return tuple(sorted(out, key=lambda p: (not p.builtin, p.name)))

    def specs(self, kind: str) -> tuple[Any, ...]:
        """Every component of a kind (a key of :data:`KINDS`): built-in ones first, then by qualified name."""
        if kind not in self._specs:
            found: list[Any] = []
            for implementation in self._implementations(f"stkit_{kind}"):
                try:
                    found += self._collect(kind, implementation)
                except (Exception, SystemExit) as error:
                    self._fail(implementation.plugin_name, f"stkit_{kind}", error)
            found.sort(key=lambda spec: (spec.plugin not in self._core, spec.qualified_name))
            self._specs[kind] = tuple(found)
        return self._specs[kind]

    def resolve(self, kind: str, name: str, *, slot: str | None = None) -> Any:
        """Find a component: ``mim`` where one plugin has it, ``plugin/mim`` always.

        Args:
            kind: a key of :data:`KINDS`.
            name: short or qualified name.
            slot: for modules, the slot it must fit.

        Raises:
            UnknownComponent: no plugin has it, or it fits another slot.
            AmbiguousComponent: several plugins have it.
        """
        everything = self.specs(kind)
        fitting = [spec for spec in everything if slot is None or spec.slot == slot]
        hits = [spec for spec in fitting if spec.qualified_name == name]
        hits = hits or [spec for spec in fitting if spec.name == name]
        if len(hits) == 1:
            return hits[0]
        label = KINDS[kind].singular + (f" for the slot {slot!r}" if slot else "")
        if hits:
            choices = "\n".join(f"  {spec.qualified_name:<28} from {spec.distribution}" for spec in hits)
            raise AmbiguousComponent(f"more than one plugin provides the {label} {name!r}; write one of\n{choices}")
        elsewhere = sorted(
            {spec.slot for spec in everything if name in (spec.name, spec.qualified_name)} if slot else ()
        )
        if elsewhere:
            fits = " and ".join(map(repr, elsewhere))
            raise UnknownComponent(
                f"the module {name!r} fits the slot {fits}, not {slot!r}; {suggest('', self.names(kind, slot=slot))}"
            )
        near = suggest(name, self.names(kind, slot=slot)) or f"no {label} is installed"
        raise UnknownComponent(f"no {label} is called {name!r}; {near}{self._note(name)}")

    def names(self, kind: str, *, slot: str | None = None) -> tuple[str, ...]:
        """What a user may write: short names where they are unambiguous, qualified names where they are not."""
        counts: dict[str, int] = {}
        fitting = [spec for spec in self.specs(kind) if slot is None or spec.slot == slot]
        for spec in fitting:
            counts[spec.name] = counts.get(spec.name, 0) + 1
        return tuple(spec.name if counts[spec.name] == 1 else spec.qualified_name for spec in fitting)

    def resolve_recipe(self, ref: str) -> tuple[str, str] | None:
        """The text of a recipe that only a plugin can find, with the plugin's name; None if none has it."""
        for implementation in self._implementations("stkit_resolve_recipe"):
            try:
                text = _call(implementation, {"ref": ref})
                if text is None:
                    continue
                if not isinstance(text, str):
                    raise TypeError(f"it must return text or None, it returned {type(text).__name__}")
            except (Exception, SystemExit) as error:
                self._fail(implementation.plugin_name, "stkit_resolve_recipe", error)
                continue
            return text, implementation.plugin_name
        return None

    def _discover(self, found: Found) -> None:
        for candidate in found.other_generation:
            if not self.selection.excludes(candidate):
                written_for, reads = candidate.entry.group, GROUP
                error = RuntimeError(f"it was written for {written_for!r}, this stkit reads {reads!r}")
                self._fail(candidate.name, "contract", error, candidate.label)
        taken: dict[str, Candidate] = {}
        for candidate in found.candidates:
            variable = self.selection.excludes(candidate)
            if variable:
                self.excluded.append((candidate, variable))
                continue
            first = taken.setdefault(candidate.name, candidate)
            if first is not candidate or candidate.name == BUILTIN:
                # One module that two distributions announce (a plugin alone and within the core) is no conflict.
                if candidate.name == BUILTIN or first.entry.value != candidate.entry.value:
                    owner = f"{CORE} {self.core_version}" if candidate.name == BUILTIN else first.label
                    self._fail(
                        candidate.name, "name", ValueError(f"the name is already taken by {owner}"), candidate.label
                    )
                continue
            if not candidate.is_core:
                try:
                    check_core(candidate.requires, self.core_version)
                except Exception as error:
                    self._fail(candidate.name, "version", error, candidate.label)
                    continue
            self._add(candidate.name, candidate.label, candidate.entry.load, candidate.is_core)
        for name in sorted((self.selection.allowed or frozenset()) - taken.keys()):
            log.warning("STKIT_PLUGINS names the plugin %r, which is not installed", name)

    def _add(self, name: str, label: str, load: Callable[[], Any], core: bool) -> None:
        try:
            plugin = load()
        except (Exception, SystemExit) as error:  # whatever third-party code raises at import
            self._fail(name, "import", error, label)
            return
        try:
            self._pluggy.register(plugin, name=name)
            problem = self._hook_problem(plugin)
            if problem:
                self._pluggy.unregister(plugin)
                raise pluggy.PluginValidationError(plugin, problem)
        except Exception as error:
            self._fail(name, "hooks", error, label)
            return
        self._labels[name] = label
        if core:
            self._core.add(name)

    def _hook_problem(self, plugin: object) -> str | None:
        unknown, wrapping = [], []
        for caller in self._pluggy.get_hookcallers(plugin) or ():
            mine = [i for i in caller.get_hookimpls() if i.plugin is plugin]
            if not caller.has_spec() and not all(i.optionalhook for i in mine):
                unknown.append(caller.name)
            if any(i.hookwrapper or i.wrapper for i in mine):
                wrapping.append(caller.name)
        if unknown:
            near = nearest(unknown[0].removeprefix("stkit_"), KINDS)
            hint = f"did you mean 'stkit_{near[0]}'?" if near else "it may need a newer stkit"
            return f"there is no hook {' or '.join(map(repr, sorted(unknown)))}; {hint}"
        if wrapping:
            return f"{' and '.join(map(repr, sorted(wrapping)))} is a wrapper; a hook of stkit cannot be wrapped"
        return None

    def _implementations(self, hook: str) -> list[pluggy.HookImpl]:
        # Asked one by one, because a pluggy call stops at the first that raises. Core first, then by name.
        found = getattr(self._pluggy.hook, hook).get_hookimpls()
        return sorted(found, key=lambda i: (i.plugin_name not in self._core, i.plugin_name))

    def _collect(self, kind: str, implementation: pluggy.HookImpl) -> list[Any]:
        expected = KINDS[kind].spec
        found: list[Any] = []
        seen: set[tuple[str, str]] = set()
        yielded: Any
        for yielded in _call(implementation, {}) or ():
            if not isinstance(yielded, expected):
                raise TypeError(f"expected {expected.__name__}, received {type(yielded).__name__}")
            spec: Any = yielded
            if not _NAME.fullmatch(spec.name):
                raise ValueError(f"{spec.name!r} is no name: letters, digits and . _ + - only")
            key = (getattr(spec, "slot", ""), spec.name)
            if key in seen:
                raise ValueError(f"the {KINDS[kind].singular} {spec.name!r} is yielded twice")
            seen.add(key)
            plugin = implementation.plugin_name
            found.append(replace(spec, plugin=plugin, distribution=self._labels[plugin]))
        return found

    def _fail(self, plugin: str, stage: str, error: BaseException, label: str | None = None) -> None:
        failure = Failure(plugin, self._labels.get(plugin, "unknown") if label is None else label, stage, error)
        if self.selection.strict:
            raise PluginError(str(failure)) from error
        self.failures.append(failure)
        log.warning("%s", failure)

    def _note(self, name: str) -> str:
        if not self.failures:
            return ""
        owner = name.partition("/")[0]
        named = [f for f in self.failures if f.plugin == owner or name.startswith(f.plugin)]
        if named:
            return f"\n  note: {named[0]}"
        count = len(self.failures)
        skipped = "a plugin was skipped" if count == 1 else f"{count} plugins were skipped"
        return f"\n  note: {skipped}, see `stkit plugins`"


def _call(implementation: pluggy.HookImpl, arguments: dict[str, Any]) -> Any:
    return implementation.function(*(arguments[name] for name in implementation.argnames))


@functools.cache
def plugins() -> PluginManager:
    """The process's plugins, discovered on first use."""
    return PluginManager()
