"""Directives of the page on plugins: every hook, and the rules of the contract, from the code that has them."""

from __future__ import annotations

import inspect
import re

from docutils import nodes
from docutils.statemachine import StringList
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
    """Every hook of ``stkit.plugin.hookspecs``: what it yields, with the example of its docstring."""

    def text(self) -> str:
        """Hook after hook."""
        from stkit.plugin.hookspecs import Hooks

        parts = []
        for name, hook in vars(Hooks).items():
            if name.startswith("stkit_"):
                says, _, rest = (inspect.getdoc(hook) or "").partition("Example::")
                example, _, use = rest.rpartition("\n\n")
                code = inspect.cleandoc("\n" + (example if use.strip().startswith(("In a", "On the")) else rest))
                after = as_markdown(use) if use.strip().startswith(("In a", "On the")) else ""
                parts.append(
                    f"**`{name}`**\n: {as_markdown(says)}\n\n```python\n{code}\n```\n\n{after}\n".replace(
                        "**\n: ", "** – "
                    )
                )
        return "\n".join(parts)


class ContractRules(_Generated):
    """The rules that every cell and every architecture meets."""

    def text(self) -> str:
        """One table for cells, and one for architectures where they say more."""
        from stkit.testing.rules import CELL_RULES, STACK_RULES

        out = []
        for title, rules in (("Every cell", CELL_RULES), ("Every architecture", STACK_RULES)):
            out += [f"| {title} | What it asks for |", "|---|---|"]
            out += [f"| {rule.name} | {as_markdown(rule.says)} |" for rule in rules.values()]
            out.append("")
        return "\n".join(out)


def as_markdown(text: str) -> str:
    """A docstring's paragraph in one line."""
    return re.sub(r"``(.+?)``", r"`\1`", " ".join(text.split()))


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.add_directive("plugin-hooks", PluginHooks)
    app.add_directive("contract-rules", ContractRules)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
