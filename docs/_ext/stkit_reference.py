"""Writes the reference of recipes and commands from the code, into ``docs/generated/``, before Sphinx reads it."""

from __future__ import annotations

from pathlib import Path

from reference_text import cli_page, recipe_page
from sphinx.application import Sphinx


def write(app: Sphinx) -> None:
    """Write the pages that changed."""
    folder = Path(app.srcdir) / "generated"
    folder.mkdir(exist_ok=True)
    for name, lines in (("recipe", recipe_page()), ("cli", cli_page())):
        text = "\n".join(lines) + "\n"
        path = folder / f"{name}.md"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
