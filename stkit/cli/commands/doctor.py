"""``stkit doctor``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import rich_click as click

from stkit.cli.output import json_option, print_json, print_table

_PACKAGES = ("torch", "accelerate", "timm", "numpy", "xarray", "h5netcdf", "matplotlib", "pydantic", "pluggy")
_MARKS = {"ok": "ok", "note": "note", "problem": "PROBLEM"}


class Finding(NamedTuple):
    """One line of the examination."""

    name: str
    state: str
    """``ok``, ``note`` or ``problem``."""
    message: str


@click.command()
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Check this installation: versions, threads, GPUs, packaged data, plugins, and the plugins' own checks.

    Ends with exit code 1 if there is a problem.

    \b
    Examples:
        stkit doctor
        stkit doctor --json > doctor.json     # to put into a bug report
    """
    findings = [finding for examine in EXAMINATIONS for finding in _guarded(examine)]
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        print_table(["what", "", "found"], [[f.name, _MARKS[f.state], f.message] for f in findings])
    if any(finding.state == "problem" for finding in findings):
        ctx.exit(1)


def _guarded(examine: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return examine()
    except Exception as error:  # an examination that breaks is a finding, and the others go on
        name = examine.__name__.strip("_").replace("_", " ")
        return [Finding(name, "problem", f"{type(error).__name__}: {error}")]


def _versions() -> list[Finding]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = [
        Finding("stkit", "ok", version("stkit-torch")),
        Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}"),
    ]
    for package in _PACKAGES:
        try:
            found.append(Finding(package, "ok", version(package)))
        except PackageNotFoundError:
            found.append(Finding(package, "problem", "is not installed; `pip install stkit-torch` brings it"))
    return found


def _devices() -> list[Finding]:
    import os

    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = [Finding("processor", "ok", f"{cores} cores, torch uses {torch.get_num_threads()} threads")]
    from stkit.cells.compiled.compiler import NoCompiler, library

    compiled = library()
    if isinstance(compiled, NoCompiler):
        found.append(Finding("compiled", "note", f"nothing, training on the processor is slower: {compiled}"))
    else:
        unit = " and its matrix unit" if compiled.matrix_unit else ""
        found.append(Finding("compiled", "ok", f"arithmetic of cells, for this processor{unit}"))
    count = torch.cuda.device_count()
    for place in range(count):
        device = torch.cuda.get_device_properties(place)
        found.append(Finding(f"GPU {place}", "ok", f"{device.name}, {device.total_memory / 2**30:.0f} GB"))
    if not count:
        metal = torch.backends.mps.is_available()
        found.append(
            Finding("GPU", "ok" if metal else "note", "Apple Metal" if metal else "none: trains on the processor")
        )
    return found


def _working_directory() -> list[Finding]:
    import shutil
    import tempfile
    from pathlib import Path

    here = Path.cwd()
    try:
        with tempfile.TemporaryFile(dir=here):
            free = shutil.disk_usage(here).free / 2**30
    except OSError as error:
        return [Finding("working directory", "problem", f"{here} cannot be written: {error.strerror}")]
    return [Finding("working directory", "ok" if free > 1 else "note", f"{here}, {free:.1f} GB free")]


def _plugins() -> list[Finding]:
    from stkit.plugin.manager import KINDS, plugins

    manager = plugins()
    for kind in KINDS:
        manager.specs(kind)  # a hook that raises is found by asking it
    found = [Finding(f"plugin {f.plugin}", "problem", f"{f.distribution}: {f.reason}") for f in manager.failures]
    found += [Finding(f"plugin {c.name}", "note", f"kept out by {by}") for c, by in manager.excluded]
    return [Finding("plugins", "ok", ", ".join(plugin.name for plugin in manager.loaded)), *found]


def _recipes() -> list[Finding]:
    from stkit.plugin.manager import plugins

    names = plugins().names("recipes")
    if not names:
        return [Finding("recipes", "problem", "no shipped recipe was found: the installation is incomplete")]
    return [Finding("recipes", "ok", f"{len(names)} shipped")]


def _checks() -> list[Finding]:
    from stkit.plugin.manager import plugins
    from stkit.plugin.specs import import_string

    found = []
    for spec in plugins().specs("checks"):
        try:
            problem: Any = import_string(spec.target)()
        except Exception as error:  # a plugin's code
            problem = f"the check itself failed: {type(error).__name__}: {error}"
        state = "problem" if problem else "ok"
        found.append(Finding(spec.qualified_name, state, str(problem) if problem else spec.summary or "ok"))
    return found


EXAMINATIONS: tuple[Callable[[], list[Finding]], ...] = (
    _versions,
    _devices,
    _working_directory,
    _plugins,
    _recipes,
    _checks,
)
