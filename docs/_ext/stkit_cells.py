"""Directives of the pages on cells: variants, and what a cell keeps, carries and takes, from the installed plugins."""

from __future__ import annotations

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class _Table(SphinxDirective):
    required_arguments = 1

    def rows(self, name: str) -> list[str]:
        """The lines of the table."""
        raise AssertionError("each directive writes its own")

    def run(self) -> list[nodes.Node]:
        """Called by docutils."""
        box = nodes.Element()
        box.document = self.state.document
        lines = StringList(self.rows(self.arguments[0]), source=self.get_location())
        self.state.nested_parse(lines, self.content_offset, box)
        return list(box.children)


class Variants(_Table):
    """The variants of an architecture, as ``stkit info`` tells them."""

    def rows(self, name: str) -> list[str]:
        """One line for each variant."""
        from stkit.plugin.manager import plugins

        spec = plugins().resolve("stacks", name)
        lines = [f"| variant of `{name}` | how it differs |", "|---|---|"]
        for variant in spec.variants:
            default = " (default)" if variant == spec.default_variant else ""
            lines.append(f"| `{variant}`{default} | {spec.differences.get(variant, '')} |")
        return lines


class Keeps(_Table):
    """State, registers and slots of a cell."""

    def rows(self, name: str) -> list[str]:
        """One line for each."""
        from stkit.cli.describe import describe_all

        (entry,) = describe_all(name, "cells", count=False)

        def shown(names: list[str]) -> str:
            return ", ".join(f"`{one}`" for one in names) or "none"

        return [
            f"| `{name}` | |",
            "|---|---|",
            f"| state that stays | {shown(entry['states'])} |",
            f"| registers it carries | {shown(entry['carries'])} |",
            f"| slots | {shown(entry['slots'])} |",
        ]


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.add_directive("variants", Variants)
    app.add_directive("keeps", Keeps)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
