"""Directives of the page on plugins: every hook, and the rules of the contract, from the code that has them."""

from __future__ import annotations

from docutils import nodes
from docutils.statemachine import StringList
from plugin_text import hooks, rules
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class _Generated(SphinxDirective):
    """Markdown that is made from the code."""

    def text(self) -> str:
        """What stands in place of the directive."""
        raise AssertionError("each directive writes its own")

    def run(self) -> list[nodes.Node]:
        """Called by docutils."""
        lines = self.text().splitlines()
        box = nodes.Element()
        box.document = self.state.document
        self.state.nested_parse(StringList(lines, source=self.get_location()), self.content_offset, box)
        return list(box.children)


class PluginHooks(_Generated):
    """Every hook of ``stkit.plugin.hookspecs``."""

    def text(self) -> str:
        """Hook after hook."""
        return hooks()


class ContractRules(_Generated):
    """The rules that every cell and every architecture meets."""

    def text(self) -> str:
        """A table for each."""
        return rules()


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.add_directive("plugin-hooks", PluginHooks)
    app.add_directive("contract-rules", ContractRules)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
