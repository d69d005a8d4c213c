"""Files inside installed packages, named ``package:path/inside``. Imports no package to find them, and no torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def find_resource(resource: str) -> Path | None:
    """The file, or None where the package has none.

    Raises:
        ImportError, ValueError: if the package cannot be looked for.
    """
    package, _, inside = resource.partition(":")
    found = find_spec(package)
    folders = (found.submodule_search_locations or ()) if found else ()
    return next((path for folder in folders if (path := Path(folder) / inside).is_file()), None)
