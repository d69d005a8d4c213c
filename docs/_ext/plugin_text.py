"""What the page on plugins takes from the code, as Markdown. Needs no Sphinx."""

from __future__ import annotations

import inspect
import re
import textwrap


def hooks() -> str:
    """What each hook yields, with the example of its docstring, as Markdown."""
    from stkit.plugin.hookspecs import Hooks

    out = []
    for name, hook in vars(Hooks).items():
        if not name.startswith("stkit_"):
            continue
        says, _, rest = (inspect.getdoc(hook) or "").partition("Example::\n")
        example = [line for line in rest.splitlines() if not line or line.startswith("    ")]
        use = [line for line in rest.splitlines() if line and not line.startswith("    ")]
        out += [f"**`{name}`** – {as_markdown(says)}", "", "```python"]
        out += [textwrap.dedent("\n".join(example)).strip(), "```", "", as_markdown(" ".join(use)), ""]
    return "\n".join(out)


def rules() -> str:
    """The contract's rules as Markdown tables."""
    from stkit.testing.rules import CELL_RULES, STACK_RULES

    out = []
    for title, group in (("Every cell", CELL_RULES), ("Every architecture", STACK_RULES)):
        out += [f"| {title} | what it asks for |", "|---|---|"]
        out += [f"| {rule.name} | {as_markdown(rule.says)} |" for rule in group.values()]
        out.append("")
    return "\n".join(out)


def as_markdown(text: str) -> str:
    """A docstring's paragraph in one line."""
    return re.sub(r"``(.+?)``", r"`\1`", " ".join(text.split()))
