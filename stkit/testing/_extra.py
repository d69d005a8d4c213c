"""One message where the libraries of the test extra are missing."""

from __future__ import annotations

import importlib.util

MISSING = [name for name in ("hypothesis", "pytest") if importlib.util.find_spec(name) is None]
if MISSING:
    raise ImportError(
        f"stkit.testing needs {' and '.join(MISSING)}, which the test extra brings: pip install 'stkit-torch[test]'"
    )
