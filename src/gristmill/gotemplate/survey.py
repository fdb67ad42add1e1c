"""What a parsed template tells before its program is written: what calls what, what is how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from gristmill.gotemplate.characters import is_surrogate
from gristmill.gotemplate.nodes import Action, Block, Call, Function, Leave, Node, String, Tree
from gristmill.gotemplate.scope import pipes

MANY = 100
_CUTTERS = frozenset({"slice", "b64dec"})
"""Functions that answer pieces of characters."""


def size(nodes: Sequence[Node]) -> int:
    """How many steps these nodes are when each runs once."""
    count = 1
    stack = [*nodes]
    while stack:
        node = stack.pop()
        count += 1
        if isinstance(node, Block):
            stack += (*node.body, *(node.other or ()))
    return count + sum(len(command.args) for pipe in pipes(nodes) for command in pipe.commands)


def prints(tree: Tree) -> int:
    """How many values a row's text has at least room for; a loop or a call counts for many."""
    count = 0
    for definition in tree.definitions.values():
        stack = [*definition.body]
        while stack:
            node = stack.pop()
            if isinstance(node, Action):
                count += 1
            elif isinstance(node, Call):
                count += MANY
            elif isinstance(node, Block):
                count += MANY if node.word == "range" else 0
                stack += (*node.body, *(node.other or ()))
    return count


def leaves(nodes: Sequence[Node]) -> bool:
    """Whether a `break` stands in these nodes that no loop in them takes."""
    stack = [*nodes]
    while stack:
        node = stack.pop()
        if isinstance(node, Leave) and node.word == "break":
            return True
        if isinstance(node, Block):
            stack += (
                *(node.body if node.word != "range" else ()),
                *(node.other if node.other and node.word != "range" else ()),
            )
    return False


def calls(nodes: Sequence[Node]) -> set[str]:
    """Names of the templates that these nodes call."""
    found: set[str] = set()
    stack = [*nodes]
    while stack:
        node = stack.pop()
        if isinstance(node, Call):
            found.add(node.name)
        elif isinstance(node, Block):
            stack += (*node.body, *(node.other or ()))
    return found


def call_graph(tree: Tree) -> dict[str, set[str]]:
    """The templates that each template calls, for all that the main one leads to."""
    graph: dict[str, set[str]] = {}
    stack = [tree.name]
    while stack:
        name = stack.pop()
        if name not in graph:
            graph[name] = {called for called in calls(tree.definitions[name].body) if called in tree.definitions}
            stack += graph[name]
    return graph


def endless(graph: Mapping[str, AbstractSet[str]]) -> frozenset[str]:
    """Templates that lead to a circle of calls, and so may call one another without end."""
    left = {name: set(called) for name, called in graph.items()}
    callers: dict[str, list[str]] = {name: [] for name in graph}
    for name, called in graph.items():
        for other in called:
            callers[other].append(name)
    ended = [name for name, called in left.items() if not called]
    while ended:
        name = ended.pop()
        for caller in callers[name]:
            left[caller].discard(name)
            if not left[caller]:
                ended.append(caller)
    return frozenset(name for name, called in left.items() if called)


def has_bytes(tree: Tree) -> bool:
    r"""Whether the template can make pieces of characters: by `slice`, or by escapes such as `"\xff"`."""
    return any(
        (isinstance(arg, Function) and arg.name in _CUTTERS)
        or (isinstance(arg, String) and any(map(is_surrogate, arg.value)))
        for definition in tree.definitions.values()
        for pipe in pipes(definition.body)
        for command in pipe.commands
        for arg in command.args
    )
