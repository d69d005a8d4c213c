"""Several texts into one tree: ``extends``, layers, overrides, and the architecture underneath. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, NamedTuple

from stkit.errors import RecipeError, UsageError, suggest
from stkit.plugin.manager import plugins
from stkit.recipe.find import Text, find, safe_name
from stkit.recipe.override import override_tree
from stkit.recipe.problem import Problem, refusal, refuse
from stkit.recipe.tree import Mark, Node, Path, Source, merge, node_from
from stkit.recipe.yaml import parse

EXTENDS = "extends"


class Layer(NamedTuple):
    """One text of a recipe, read."""

    source: Source
    tree: Node


class Composed(NamedTuple):
    """All layers as one tree."""

    name: str
    layers: tuple[Layer, ...]
    tree: Node
    problems: tuple[Problem, ...]
    """What went wrong that does not hinder the check of the rest."""


def compose(ref: str, overrides: Sequence[str] = ()) -> Composed:
    """Find, read and merge everything that ``ref`` and the overrides say.

    Raises:
        RecipeError: if a text or an override cannot be read.
    """
    texts = find(ref)
    layers: list[Layer] = []
    problems: list[Problem] = []
    for text in texts:
        layers += _layers_of(text, (), problems)
    try:
        above = override_tree(overrides)
    except RecipeError as error:
        problems += error.problems
    refuse(problems)
    return assemble(safe_name("+".join(text.name for text in texts)), layers, above)


def assemble(name: str, layers: Iterable[Layer], above: Node | None = None) -> Composed:
    """Merge layers, lowest first, and put the architecture that ``model.name`` names under them."""
    layers = tuple(layers)
    trees = [_with_widths(tree) for tree in [layer.tree for layer in layers] + ([] if above is None else [above])]
    empty = Node({}, trees[0].mark if trees else Mark(Source("recipe", is_file=False)))
    problems: list[Problem] = []
    tree = _over_architecture(reduce(merge, trees, empty), trees, problems)
    problems += _with_nul(tree, ())
    return Composed(name, layers, _with_layer_components(tree), tuple(problems))


def _with_nul(node: Node, path: Path) -> Iterator[Problem]:
    """Keys and texts that YAML can write (``"\\0"``) and no file, variable or name can have."""
    children: Iterable[tuple[str | int, Node]] = ()
    if isinstance(node.value, dict):
        children = node.value.items()
    elif isinstance(node.value, list):
        children = enumerate(node.value)
    elif isinstance(node.value, str) and "\0" in node.value:
        yield Problem(f"{node.value[:40]!r} has a NUL byte, which no name, path or text can have", path, node.mark)
    for key, child in children:
        if isinstance(key, str) and "\0" in key:
            yield Problem(f"the key {key[:40]!r} has a NUL byte", path, child.key or child.mark)
        else:
            yield from _with_nul(child, (*path, key))


def _layers_of(text: Text, above: tuple[Text, ...], problems: list[Problem]) -> list[Layer]:
    """The text and, below it, what it extends."""
    source = Source(text.label, text.text)
    try:
        tree = parse(source)
    except RecipeError as error:
        problems += error.problems
        return []
    if not isinstance(tree.value, dict):
        problems.append(Problem("a recipe is a mapping (`key: value`)", mark=tree.mark))
        return []
    children = dict(tree.value)
    extends = children.pop(EXTENDS, None)
    own = Layer(source, Node(children, tree.mark))
    if extends is None:
        return [own]
    refs = extends.value if isinstance(extends.value, list) else [extends]
    out: list[Layer] = []
    chain = (*above, text)
    for ref in refs:
        if not isinstance(ref.value, str):
            problems.append(Problem("expected the name of a recipe, or a list of names", (EXTENDS,), ref.mark))
            continue
        try:
            for parent in find(ref.value, text.directory, ref.mark):
                if parent.identity in [link.identity for link in chain]:
                    raise refusal(f"a cycle: {_told(chain, parent)}", (EXTENDS,), ref.mark)
                out += _layers_of(parent, chain, problems)
        except RecipeError as error:
            problems += [replace(p, path=p.path or (EXTENDS,)) for p in error.problems]
    return [*out, own]


def _told(chain: Sequence[Text], last: Text) -> str:
    start = next(place for place, link in enumerate(chain) if link.identity == last.identity)
    return " extends ".join(link.label for link in (*chain[start:], last))


def _with_widths(tree: Node) -> Node:
    """Bare numbers in ``model.layers`` as layers of that width."""
    model = _get(tree, "model")
    layers = _get(model, "layers")
    if model is None or layers is None:
        return tree
    if isinstance(layers.value, list):
        value: Any = [_layer(item) for item in layers.value]
    elif isinstance(layers.value, dict):
        value = type(layers.value)({key: _layer(item) for key, item in layers.value.items()})
    else:
        return tree
    return _put(tree, "model", _put(model, "layers", replace(layers, value=value)))


def _layer(item: Node) -> Node:
    number = isinstance(item.value, int | float) and not isinstance(item.value, bool)
    return Node({"width": Node(item.value, item.mark, item.mark)}, item.mark, item.key) if number else item


def _over_architecture(merged: Node, trees: Sequence[Node], problems: list[Problem]) -> Node:
    """The trees, merged, over the architecture that they name.

    It goes right under the tree that names it: what that tree says of a component without naming it is about the
    architecture's, and is not kept where a higher tree names another one.
    """
    start = _architecture(merged, problems)
    if start is None:
        return merged
    named, current = 0, None
    for place, tree in enumerate(trees):
        model = _get(tree, "model")
        name = _get(model, "name") if model is None or not isinstance(model.value, str) else model
        if name is not None and name.value != current:
            named, current = place, name.value
    below, *others = trees[: named + 1]
    tree = reduce(merge, trees[named + 1 :], merge(start, reduce(merge, others, below)))
    model, chosen = _get(tree, "model"), _get(_get(start, "model"), "variant")
    assert model is not None
    assert chosen is not None
    said = _get(_get(merged, "model"), "variant") or _get(_get(merged, "model"), "name") or model
    return _put(tree, "model", _put(model, "variant", Node(chosen.value, said.mark, said.key)))


def _architecture(tree: Node, problems: list[Problem]) -> Node | None:
    """The architecture that ``model.name`` names, in its variant, as a tree; None where there is none."""
    model = _get(tree, "model")
    if model is not None and isinstance(model.value, str):
        model = Node({"name": Node(model.value, model.mark, model.mark)}, model.mark, model.key)
    name, variant = _get(model, "name"), _get(model, "variant")
    if model is None or name is None or not isinstance(name.value, str):
        if variant is not None and variant.value is not None and (name is None or name.value is None):
            problems.append(
                Problem("a variant is of an architecture: say model.name too", ("model", "variant"), variant.mark)
            )
        return None
    try:
        spec = plugins().resolve("stacks", name.value)
    except UsageError as error:
        problems.append(Problem(str(error), ("model", "name"), name.mark))
        return None
    chosen = spec.default_variant if variant is None or variant.value is None else variant.value
    if not isinstance(chosen, str) or chosen not in spec.variants:
        hint = suggest(str(chosen), spec.variants)
        message = f"the architecture {spec.name!r} has no variant {chosen!r}; {hint}"
        problems.append(Problem(message, ("model", "variant"), (variant or name).mark))
        return None
    mark = Mark(Source(f"architecture {spec.name!r}, variant {chosen!r}", is_file=False))
    return _with_widths(node_from({"model": {**spec.variants[chosen], "name": name.value, "variant": chosen}}, mark))


def _with_layer_components(tree: Node) -> Node:
    """In each layer, a ``cell``, ``transition`` or attention that names no other component starts from the model's."""
    model = _get(tree, "model")
    layers = _get(model, "layers")
    if model is None or layers is None or not isinstance(layers.value, list):
        return tree
    out = []
    for layer in layers.value:
        for part in ("cell", "transition"):
            whole, own = _get(model, part), _get(layer, part)
            if whole is not None and own is not None and whole.value is not None:
                layer = _put(layer, part, merge(whole, own))
        out.append(_with_layer_attention(layer, _get(model, "attention")))
    return _put(tree, "model", _put(model, "layers", replace(layers, value=out)))


def _with_layer_attention(layer: Node, whole: Node | None) -> Node:
    own = _get(layer, "attention")
    if own is None or not isinstance(own.value, dict):
        return layer
    places = dict(own.value)
    for place, module in own.value.items():
        below = _get(whole, place)
        if below is not None and below.value is not None:
            if isinstance(below.value, dict):  # in which layers it stands is not for one of them to say
                below = replace(below, value={key: value for key, value in below.value.items() if key != "layers"})
            places[place] = merge(below, module)
    return _put(layer, "attention", replace(own, value=places))


def _get(node: Node | None, key: str) -> Node | None:
    return node.value.get(key) if node is not None and isinstance(node.value, dict) else None


def _put(node: Node, key: str, child: Node) -> Node:
    return replace(node, value={**node.value, key: child})
