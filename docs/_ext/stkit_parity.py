"""Directive of the page on parity: the record that a plugin carries, as a table."""

from __future__ import annotations

from docutils import nodes
from docutils.statemachine import StringList
from parity_text import parity_table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class ParityTable(SphinxDirective):
    """The table of the plugin that the argument names."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Called by docutils."""
        box = nodes.Element()
        box.document = self.state.document
        lines = StringList(list(parity_table(self.arguments[0])), source=self.get_location())
        self.state.nested_parse(lines, self.content_offset, box)
        return list(box.children)


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.add_directive("parity", ParityTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
