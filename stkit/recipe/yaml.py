"""YAML 1.2 to nodes with places, and plain values back to YAML. Imports no torch.

``1e-4`` is a number, ``on`` and ``2006-04-01`` are text, a duplicate key is an error, and keys are words.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.representer import RoundTripRepresenter

from stkit.recipe.problem import Problem, refusal, refuse
from stkit.recipe.tree import Mark, Node, Source

_MAX_DEPTH = 40
_MAX_NODES = 20_000


@lru_cache(maxsize=256)  # where all recipes are read, most extend the same few
def parse(source: Source) -> Node:
    """Read a source; an empty one is an empty mapping. What it gives is not to be changed.

    Raises:
        RecipeError: where it is no YAML; a key is duplicate or no word; or it nests or repeats without end.
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(io.StringIO(source.text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        text = " ".join(part for part in (error.context, error.problem) if part) or "this is no YAML"
        raise refusal(text, mark=Mark(source, mark.line, mark.column) if mark else Mark(source)) from None
    except YAMLError as error:
        raise refusal(f"this is no YAML: {_first_line(error)}", mark=Mark(source)) from None
    except (RecursionError, ValueError, AttributeError, IndexError, TypeError, AssertionError) as error:
        # ruamel's scanner meets some malformed input with errors of its own inner workings.
        raise refusal(f"this is no YAML: {type(error).__name__}: {_first_line(error)}", mark=Mark(source)) from None
    if root is None:
        return Node({}, Mark(source))
    problems: list[Problem] = []
    node = _Builder(source, problems).build(root, None, 0)
    refuse(problems)
    return node


def dump(value: Any) -> str:
    """Plain values as YAML, in their order; short lists of scalars on one line."""
    yaml = YAML(typ="rt", pure=True)
    yaml.Representer = _Representer
    yaml.width = 110
    out = io.StringIO()
    yaml.dump(_styled(value), out)
    return out.getvalue()


class _Builder:
    def __init__(self, source: Source, problems: list[Problem]) -> None:
        self.source = source
        self.problems = problems
        self.count = 0

    def build(self, node: Any, key: Mark | None, depth: int) -> Node:
        self.count += 1
        mark = self._mark(node)
        if depth > _MAX_DEPTH or self.count > _MAX_NODES:
            what = "nests too deep" if depth > _MAX_DEPTH else "is too large: anchors repeat without end"
            raise refusal(f"this recipe {what}", mark=mark)
        if isinstance(node, MappingNode):
            return Node(self._mapping(node, depth), mark, key)
        if isinstance(node, SequenceNode):
            return Node([self.build(item, None, depth + 1) for item in node.value], mark, key)
        return Node(self._scalar(node, mark), mark, key)

    def _mapping(self, node: MappingNode, depth: int) -> dict[str, Node]:
        out: dict[str, Node] = {}
        for key_node, value_node in node.value:
            at = self._mark(key_node)
            if not isinstance(key_node, ScalarNode) or _tag(key_node) not in ("str", "timestamp"):
                shown = repr(key_node.value) if isinstance(key_node, ScalarNode) else "a collection"
                self.problems.append(Problem(f"a key is a word, received {shown}", mark=at))
                continue
            key = str(key_node.value)
            if key in out:
                first = out[key].key
                line = first.line + 1 if first else 1
                self.problems.append(Problem(f"duplicate key {key!r}; it is written in line {line} already", mark=at))
                continue
            out[key] = self.build(value_node, at, depth + 1)
        return out

    def _scalar(self, node: Any, mark: Mark) -> Any:
        text = str(node.value)
        tag = _tag(node)
        try:
            if tag == "null":
                return None
            if tag == "bool":
                return _BOOL[text.lower()]
            if tag == "int":
                return _integer(text)
            if tag == "float":
                return _float(text)
        except (ValueError, KeyError):
            self.problems.append(Problem(f"{text[:40]!r} cannot be read as {tag}", mark=mark))
            return None
        if tag not in ("str", "timestamp"):
            self.problems.append(Problem(f"the tag {tag!r} is not supported", mark=mark))
        try:
            # JSON writes characters beyond the basic plane as two escapes; YAML takes them for two characters.
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self.problems.append(Problem("half a character (a lone surrogate) is no text", mark=mark))
            return ""

    def _mark(self, node: Any) -> Mark:
        start, end = node.start_mark, node.end_mark
        length = end.column - start.column if end.line == start.line else 1
        return Mark(self.source, start.line, start.column, max(1, length))


class _Representer(RoundTripRepresenter):
    """Says ``null`` where ruamel leaves the value empty."""


_Representer.add_representer(type(None), lambda r, _: r.represent_scalar("tag:yaml.org,2002:null", "null"))

_BOOL = {"true": True, "false": False}


def _tag(node: Any) -> str:
    return str(node.tag).removeprefix("tag:yaml.org,2002:")


def _integer(text: str) -> int:
    lowered = text.replace("_", "").lower()
    for prefix, base in (("0o", 8), ("0x", 16)):
        if lowered.lstrip("+-").startswith(prefix):
            return int(lowered.replace(prefix, "", 1), base)
    return int(lowered)


def _float(text: str) -> float:
    lowered = text.replace("_", "").lower()
    sign = -1.0 if lowered.startswith("-") else 1.0
    if lowered.lstrip("+-") == ".inf":
        return sign * float("inf")
    return float("nan") if lowered == ".nan" else float(lowered)


def _styled(value: Any) -> Any:
    from ruamel.yaml.comments import CommentedSeq
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    if isinstance(value, dict):
        return {key: _styled(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        items = CommentedSeq(_styled(child) for child in value)
        if not any(isinstance(child, dict | list) for child in items):
            items.fa.set_flow_style()
        return items
    if isinstance(value, str) and not value.isprintable():
        # Left to itself ruamel writes some line separators as they are, and YAML reads them as blanks.
        return DoubleQuotedScalarString(value)
    return value


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["unreadable"])[0]
