"""The pages of the documentation, and what stands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "recipes" / "README.md",
    *sorted((ROOT / "plugins").glob("*/README.md")),
    ROOT / "stkit" / "plugin" / "template" / "README.md",
    *sorted(path for path in DOCS.rglob("*.md") if not {"_build", "generated", "records"} & set(path.parts)),
]
_BLOCK = re.compile(r"^(?P<fence>`{3,}|:{3,})(?P<info>[^\n]*)\n(?P<body>.*?)^(?P=fence)\s*$", re.MULTILINE | re.DOTALL)
_SHELL = ("sh", "bash", "console")


class Block(NamedTuple):
    """A fenced block."""

    page: Path
    info: str
    body: str
    line: int


class Command(NamedTuple):
    """A call of ``stkit`` that a page shows."""

    page: Path
    line: int
    arguments: tuple[str, ...]

    @property
    def label(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Every fenced block of a page."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        yield Block(page, found["info"].strip(), found["body"], text.count("\n", 0, found.start()) + 2)


def python_blocks(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.info == "python"]


def commands() -> Iterator[Command]:
    """Every line of a shell block, indented block or code span that calls ``stkit``."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        shell = [(block.line, block.body) for block in blocks(page) if block.info in _SHELL]
        outside = _BLOCK.sub(lambda found: "\n" * found[0].count("\n"), text)
        lines = [(at + i, line) for at, body in shell for i, line in enumerate(body.replace("\\\n", "  ").splitlines())]
        for i, line in enumerate(outside.splitlines(), 1):
            if line.startswith("    stkit "):
                lines.append((i, line))
        spans = [
            (outside.count("\n", 0, found.start()) + 1, " ".join(found[1].split()))
            for found in re.finditer(r"(?<!`)`(stkit [^`]+)`(?!`)", outside)
        ]
        for at, line in [*lines, *spans]:
            arguments = _arguments(line)
            if arguments:
                yield Command(page, at, arguments)


def _arguments(line: str) -> tuple[str, ...]:
    """What follows ``stkit`` (or ``-m stkit``) in a shell line."""
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    if words[:1] == ["stkit"]:
        words = words[1:]
    elif words[:1] in (["torchrun"], ["accelerate"]) and "stkit" in words:
        words = words[words.index("stkit") + 1 :]
    else:
        return ()
    for i, word in enumerate(words):
        if word in ("|", ">", "&&", ";"):
            return tuple(words[:i])
    return tuple(words)
