"""What ``run.json`` says about where and with what a run was made. Imports no torch."""

from __future__ import annotations

import os
import platform
import shlex
import socket
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stkit.recipe import LoadedRecipe

_PACKAGES = ("stkit-torch", "torch", "accelerate", "timm", "numpy", "xarray", "safetensors", "pydantic", "pluggy")


def new_record(loaded: LoadedRecipe) -> dict[str, Any]:
    """The first state of ``run.json``."""
    return {
        "name": loaded.name,
        "summary": loaded.recipe.summary,
        "recipe_hash": loaded.hash,
        "seed": loaded.recipe.seed,
        "command": command(),
        "started": now(),
        "finished": None,
        "outcome": "running",
        "reason": None,
        "step": 0,
        "steps": loaded.recipe.train.steps,
        "best_step": None,
        "best_loss": None,
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": versions(),
        "plugins": plugin_versions(),
        "git": git_commit(Path.cwd()),
        "resumed": [],
    }


def now() -> str:
    """The time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def command() -> str:
    """The command line as the user would type it again."""
    arguments = os.environ.get("STKIT_COMMAND")  # set for processes that stkit started itself
    return arguments or shlex.join(
        ["stkit" if Path(sys.argv[0]).stem in ("stkit", "__main__") else sys.argv[0], *sys.argv[1:]]
    )


def versions() -> dict[str, str]:
    """Versions of the packages that numbers depend on."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def plugin_versions() -> dict[str, str]:
    """Each loaded plugin with the distribution it came from."""
    from stkit.plugin.manager import plugins

    return {plugin.name: plugin.distribution for plugin in plugins().loaded}


def git_commit(folder: Path) -> dict[str, Any] | None:
    """Commit and cleanliness of the git checkout that ``folder`` is in; None outside one."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=5, check=True)
    return done.stdout.strip()
