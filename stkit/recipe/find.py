"""From what the user writes to the texts it stands for: files, names, runs, compositions. Imports no torch."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from stkit.errors import AmbiguousComponent, UnknownComponent, suggest
from stkit.plugin.manager import plugins
from stkit.recipe.problem import refusal
from stkit.recipe.shipped_files import recipe_path
from stkit.recipe.tree import Mark

RESOLVED = "recipe.yaml"
"""The resolved recipe in a run directory."""


@dataclass(frozen=True, slots=True)
class Text:
    """One recipe text that was found."""

    label: str
    name: str
    text: str
    directory: Path
    """Where the files that it extends are looked for."""
    identity: str
    """The same for one text however it was named."""


def find(ref: str, directory: Path | None = None, mark: Mark | None = None) -> tuple[Text, ...]:
    """The texts that ``ref`` stands for, lowest layer first.

    Looked for in this order: a file of exactly that name, a run directory, a shipped or plugin recipe, a file of that
    name with ``.yaml``, what a plugin can resolve, and last a composition ``a+b`` of such names.

    Args:
        ref: what the user wrote.
        directory: where relative paths start; None: the working directory.
        mark: where it was written, for messages.

    Raises:
        RecipeError: if there is no such recipe, or it cannot be read.
    """
    base = Path() if directory is None else directory
    found = _one(ref, base, mark)
    if found:
        return (found,)
    parts = _stem(ref).split("+")
    if len(parts) == 1 or not all(parts):
        raise refusal(_missing(ref, base), mark=mark)
    out = []
    for part in parts:
        text = _one(part, base, mark)
        if text is None:
            raise refusal(f"{_missing(part, base)} (as a part of {ref!r})", mark=mark)
        out.append(text)
    return tuple(out)


def safe_name(name: str) -> str:
    """A name that any file system takes."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.")[:80] or "recipe"


def display(path: Path) -> str:
    """A path as short as it can be opened from the working directory."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _one(ref: str, base: Path, mark: Mark | None) -> Text | None:
    if not ref.strip() or "\0" in ref:
        return None
    path = base / _expanded(ref)
    if _is(path, "file"):
        return _read(path, _stem(path.name), mark)
    if _is(path, "directory") and _is(path / RESOLVED, "file"):
        return _read(path / RESOLVED, _run_name(path), mark)
    try:
        spec = plugins().resolve("recipes", _stem(ref))
    except AmbiguousComponent as error:
        raise refusal(str(error), mark=mark) from None
    except UnknownComponent:
        pass
    else:
        return _read(recipe_path(spec), spec.name, mark)
    for suffix in (".yaml", ".yml"):
        beside = base / f"{ref}{suffix}"
        if _is(beside, "file"):
            return _read(beside, _stem(beside.name), mark)
    resolved = plugins().resolve_recipe(ref)
    if resolved:
        text, plugin = resolved
        return Text(f"{ref} (by plugin {plugin})", _stem(ref), text, base, f"{plugin}:{ref}")
    return None


def _expanded(ref: str) -> Path:
    try:
        return Path(ref).expanduser()
    except RuntimeError:  # `~nobody`
        return Path(ref)


def _is(path: Path, what: str) -> bool:
    try:
        return path.is_file() if what == "file" else path.is_dir()
    except (OSError, ValueError):  # a name too long, a folder that may not be read
        return False


def _read(path: Path, name: str, mark: Mark | None) -> Text:
    label = display(path)
    try:
        return Text(label, name, path.read_text(encoding="utf-8-sig"), path.parent, str(path.resolve()))
    except UnicodeDecodeError as error:
        raise refusal(f"{label} is no text in UTF-8 (byte {error.start})", mark=mark) from None
    except OSError as error:
        raise refusal(f"{label} cannot be read: {error.strerror or error}", mark=mark) from None


def _run_name(run: Path) -> str:
    try:
        name = json.loads((run / "run.json").read_text(encoding="utf-8"))["name"]
    except (OSError, ValueError, KeyError, TypeError):
        name = None
    return name if isinstance(name, str) and name else run.resolve().parent.name


def _stem(ref: str) -> str:
    return re.sub(r"\.ya?ml$", "", ref)


def _missing(ref: str, base: Path) -> str:
    path = base / ref.replace("\0", "")
    if ref.strip() and "\0" not in ref and _is(path, "directory"):
        return f"the directory {ref!r} is no run: it has no {RESOLVED}"
    looks_like_path = "/" in ref or "\\" in ref or ref != _stem(ref)
    names = {*plugins().names("recipes"), *_files_beside(path, ref)}
    what = f"there is no file {ref!r}" if looks_like_path else f"no recipe is called {ref!r}"
    hint = suggest(ref, names) or suggest(_stem(ref), names)
    if looks_like_path and not hint.startswith("did"):
        hint = suggest(_stem(Path(ref.replace("\0", "")).name), names)
    return f"{what}; {hint}" if hint else what


def _files_beside(path: Path, ref: str) -> list[str]:
    folder, prefix = path.parent, ref.rpartition("/")
    try:
        return [f"{prefix[0]}{prefix[1]}{file.name}" for file in sorted(folder.glob("*.y*ml"))][:200]
    except (OSError, ValueError):
        return []
