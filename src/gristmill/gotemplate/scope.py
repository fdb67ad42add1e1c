"""Variables of a template while its program is written, and field accesses that are known already."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field

from gristmill.gotemplate.emitter import Value
from gristmill.gotemplate.nodes import Action, Block, Call, Chain, Command, Leave, Node, Operand, Pipe, Text


@dataclass(slots=True)
class Slot:
    """One declared variable."""

    name: str
    """With its dollar sign."""
    value: Value
    """What reads it."""
    mutable: bool
    """Whether anything may assign it: then `value.code` is its own Python variable and `value.boxed` its flag."""
    maybe: bool = False
    """Declared behind `and` or `or`, so perhaps not at all: its variable is `UNSET` then."""


@dataclass(slots=True)
class Scope:
    """Variables and known fields; both end where the block ends that they were found in."""

    assigned: frozenset[str]
    """Names that some `=` of the template assigns."""
    slots: list[Slot] = field(default_factory=list[Slot])
    _known: list[dict[tuple[str, str, bool], Value]] = field(
        default_factory=lambda: list[dict[tuple[str, str, bool], Value]](({},))
    )

    @contextmanager
    def block(self) -> Generator[None]:
        """A block: variables declared in it end with it."""
        size = len(self.slots)
        yield
        del self.slots[size:]

    @contextmanager
    def branch(self) -> Generator[None]:
        """Code that may not run: what it finds out is not known behind it."""
        self._known.append({})
        yield
        self._known.pop()

    def find(self, name: str) -> list[Slot]:
        """The slots that a name may mean, innermost first; all but the last may be unset."""
        found: list[Slot] = []
        for slot in reversed(self.slots):
            if slot.name == name:
                found.append(slot)
                if not slot.maybe:
                    break
        return found

    def known(self, code: str, name: str, three: bool) -> Value | None:
        """The value of a field that was read before on every way here."""
        for level in reversed(self._known):
            value = level.get((code, name, three))
            if value is not None:
                return value
        return None

    def learn(self, code: str, name: str, three: bool, value: Value) -> None:
        """Remember the value of a field."""
        self._known[-1][code, name, three] = value


def assigned_names(nodes: Iterable[Node]) -> frozenset[str]:
    """Names that some `=` in these nodes assigns."""
    return frozenset(name for pipe in pipes(nodes) if pipe.assigns for name in (item.name for item in pipe.names))


def pipes(nodes: Iterable[Node]) -> Generator[Pipe]:
    """Every pipeline in these nodes, also those in parentheses."""
    stack: list[Node | Operand | Command | Pipe] = [*nodes]
    while stack:
        node = stack.pop()
        match node:
            case Pipe():
                yield node
                stack += node.commands
            case Command():
                stack += node.args
            case Chain():
                stack.append(node.node)
            case Action():
                stack.append(node.pipe)
            case Call():
                stack += [node.pipe] if node.pipe else []
            case Block():
                stack += (node.pipe, *node.body, *(node.other or ()))
            case Text() | Leave() | _:
                pass
