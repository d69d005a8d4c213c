"""A plugin's package to start from: the one in ``template/`` under other names. Imports no torch.

The template is a working package, the one that the guide to writing a plugin walks through. Its names are replaced, and
nothing else.
"""

from __future__ import annotations

import keyword
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from stkit.errors import UsageError
from stkit.plugin.discovery import installed
from stkit.plugin.manager import BUILTIN, KINDS, plugins

TEMPLATE = Path(__file__).parent / "template"
FILES = {
    "pyproject.toml": "the package: its name, its entry point, what it needs",
    "README.md": "how to install, test and run it, and what to change first",
    "stkit_convgru/__init__.py": "makes the folder a package",
    "stkit_convgru/plugin.py": "what the plugin brings, said as data",
    "stkit_convgru/config.py": "what a recipe can say about the cell",
    "stkit_convgru/cell.py": "the equations: change these first",
    "stkit_convgru/convgru-sst.yaml": "a recipe to run at once",
    "stkit_convgru/py.typed": "lets type checkers read the annotations",
    "tests/test_contract.py": "what stkit relies on, rule by rule",
    "tests/test_equations.py": "the equations once more, in NumPy",
    "tests/test_recipe.py": "the recipe and the architecture",
    ".github/workflows/test.yml": "every check at each push",
    ".gitignore": "what git leaves alone",
}
"""Every file of the template and what it is for. Said one by one: caches beside them are no part of it."""

_LONGEST = 23
"""Characters of a name, with which no line of the template grows longer than its formatter lets it."""
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_PLACEHOLDER = re.compile(r"stkit-convgru|convgru-sst|convgru|conv_gru|ConvGru")


@dataclass(frozen=True, slots=True)
class Names:
    """What the parts of a new package are called. Made by :func:`names_for`, which checks them."""

    plugin: str
    """Of the plugin, and of its architecture: ``my_idea``."""
    cell: str
    """Of the cell, as recipes write it: ``my_cell``."""

    @property
    def distribution(self) -> str:
        """What pip calls it: ``stkit-my-idea``."""
        return f"stkit-{self.plugin.replace('_', '-')}"

    @property
    def package(self) -> str:
        """What Python imports: ``stkit_my_idea``."""
        return f"stkit_{self.plugin}"

    @property
    def recipe(self) -> str:
        """The recipe that comes with it: ``my-idea-sst``."""
        return f"{self.plugin.replace('_', '-')}-sst"

    @property
    def classes(self) -> str:
        """How its classes begin: ``My``, of ``MyCell`` and ``MyConfig``."""
        return "".join(part.capitalize() for part in self.cell.removesuffix("_cell").split("_"))

    def put_into(self, text: str) -> str:
        """A text of the template, or the path of a file, with these names in it."""
        by = {
            "stkit-convgru": self.distribution,
            "convgru-sst": self.recipe,
            "convgru": self.plugin,
            "conv_gru": self.cell,
            "ConvGru": self.classes,
        }
        return _PLACEHOLDER.sub(lambda found: by[found[0]], text)


def names_for(plugin: str, cell: str | None = None) -> Names:
    """Check what the author wants to call the plugin.

    Args:
        plugin: letters, digits, ``-`` and ``_``; ``stkit-`` before it and capitals are dropped.
        cell: name of its cell; None: that of the plugin.

    Raises:
        UsageError: if one of them is no name, or something that is installed has it.
    """
    lower = plugin.lower()
    name = _identifier("plugin", plugin, lower[6:] if lower.startswith(("stkit-", "stkit_")) else lower)
    names = Names(name, _identifier("cell", name, name) if cell is None else _identifier("cell", cell, cell.lower()))
    _require_free(names)
    return names


def render(names: Names) -> dict[str, str]:
    """The text of every file of the package, by its path in the package's folder."""
    texts = {path: (TEMPLATE / path).read_text(encoding="utf-8") for path in FILES}
    return {names.put_into(path): names.put_into(text) for path, text in texts.items()}


def described(names: Names) -> dict[str, str]:
    """What each file of the package is for, by its path in the package's folder."""
    return {names.put_into(path): about for path, about in FILES.items()}


def in_the_way(folder: Path, files: Mapping[str, str], *, force: bool) -> frozenset[str]:
    """Which of the files are there already.

    Args:
        folder: where the package shall be.
        files: the package's files by their path.
        force: a folder that is not empty will do.

    Raises:
        UsageError: if the folder is not empty, or is no folder.
    """
    try:
        if any(folder.iterdir()) and not force:
            raise UsageError(
                f"{folder} is there already and is not empty; choose another folder with --out, "
                "or let --force write into it (what it replaces is listed)"
            )
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise _cannot(folder, error) from None
    return frozenset(path for path in files if os.path.lexists(folder / path))


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write a package's files; those of the same path are replaced.

    Raises:
        UsageError: if one cannot be written.
    """
    for name, text in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not written through a link: its target is not the package's.
            path.unlink(missing_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except OSError as error:
            raise _cannot(path, error) from None


def _identifier(what: str, given: str, text: str) -> str:
    name = text.replace("-", "_")
    if not given.strip():
        raise UsageError(f"a {what} needs a name, such as my-idea")
    if not _NAME.fullmatch(name):
        slug = _nearest(text)
        hint = f"; did you mean {slug!r}?" if slug else ""
        raise UsageError(
            f"{given!r} is no name for a {what}: letters a to z, digits, and single - or _ between them, "
            f"a letter first{hint}"
        )
    if len(name) > _LONGEST:
        raise UsageError(f"{given!r} is too long for a {what}: {len(name)} characters, at most {_LONGEST}")
    # In the class of a word and in a recipe: Python has None and True, YAML null and true.
    if keyword.iskeyword(name) or keyword.iskeyword(name.capitalize()) or name == "null":
        raise UsageError(f"{given!r} is no name for a {what}: Python or YAML reads the word as its own")
    if what == "cell" and name in ("cell", "cell_cell"):
        raise UsageError(f"{given!r} is no name for a cell, stkit's own base class has it; choose another with --cell")
    return name


def _nearest(text: str) -> str:
    """The name that is left when what cannot be in one is dropped; empty if nothing is."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_LONGEST].strip("-")
    return slug if _NAME.fullmatch(slug.replace("-", "_")) else ""


def _require_free(names: Names) -> None:
    if names.plugin == BUILTIN:
        raise UsageError(f"the plugin {names.plugin!r} is stkit itself; choose another name")
    found = installed()
    for candidate in (*found.candidates, *found.other_generation):
        if candidate.name == names.plugin:
            raise UsageError(f"the plugin {names.plugin!r} is installed ({candidate.label}); choose another name")
    try:
        version = metadata.version(names.distribution)
    except metadata.PackageNotFoundError:
        pass
    else:
        label = f"{names.distribution} {version}"
        raise UsageError(f"the distribution {label} is installed; choose another name than {names.plugin!r}")
    for kind, name, other in (
        ("cells", names.cell, "choose another with --cell"),
        ("stacks", names.plugin, "choose another name for the plugin"),
        ("recipes", names.recipe, "choose another name for the plugin"),
    ):
        for spec in plugins().specs(kind):
            if spec.name == name:
                raise UsageError(f"the {KINDS[kind].singular} {name!r} is that of {spec.distribution}; {other}")


def _cannot(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path} cannot be written: {error.strerror or error}")
