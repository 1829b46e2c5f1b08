"""From a URL's path to what serves it: the templates of ``google/api/http.proto``.

    Template  = "/" Segments [ Verb ] ;
    Segments  = Segment { "/" Segment } ;
    Segment   = "*" | "**" | LITERAL | Variable ;
    Variable  = "{" FieldPath [ "=" Segments ] "}" ;
    FieldPath = IDENT { "." IDENT } ;
    Verb      = ":" LITERAL ;

A raw colon in the last segment is always the verb's: ``/v1/cases/7/tasks/9:return`` never reads as a task named
``9:return``. A client that means the character writes ``%3A``, as the grammar asks of it for every character outside
``[-_.~0-9a-zA-Z]``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import unquote

T = TypeVar("T")

_IDENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SLASH = re.compile(r"(%2[Ff])")


class NoSuchPath(LookupError):
    """No template has this path, whatever the method."""


class MethodNotAllowed(LookupError):
    """The path is known under other methods: ``allowed`` (for the Allow header)."""

    def __init__(self, allowed: frozenset[str]):
        super().__init__(", ".join(sorted(allowed)))
        self.allowed = allowed


class BadPath(ValueError):
    """The path is no text: a broken percent escape, or bytes that are not UTF-8."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A field bound to the segments ``start`` to ``stop`` (None: all that follow)."""

    field: str
    start: int
    stop: int | None

    @property
    def single(self) -> bool:
        return self.stop == self.start + 1


@dataclass(frozen=True, slots=True)
class Template:
    """``segments`` are literals, ``*`` or ``**``; the variables point into them."""

    text: str
    segments: tuple[str, ...]
    verb: str
    variables: tuple[Variable, ...]

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Raises ValueError where the text is not of the grammar above."""
        path, verb = _split_verb(text)
        if not path.startswith("/") or path == "/":
            raise ValueError(f"{text}: a template starts with / and has a segment")
        segments: list[str] = []
        variables: list[Variable] = []
        for part in _parts(path[1:]):
            if part.startswith("{"):
                name, equals, inner = part[1:-1].partition("=")
                if not part.endswith("}") or not _IDENT.fullmatch(name) or "{" in inner or (equals and not inner):
                    raise ValueError(f"{text}: {part} is no variable")
                pieces = inner.split("/") if equals else ["*"]
                stop = None if pieces[-1] == "**" else len(segments) + len(pieces)
                variables.append(Variable(name, len(segments), stop))
                segments.extend(pieces)
            else:
                segments.append(part)
        for index, segment in enumerate(segments):
            if (
                not segment
                or any(mark in segment for mark in "{}?#")
                or ("*" in segment and segment not in ("*", "**"))
            ):
                raise ValueError(f"{text}: {segment!r} is no segment")
            if segment == "**" and index != len(segments) - 1:
                raise ValueError(f"{text}: ** stands last")
        names = [variable.field for variable in variables]
        if len(names) != len(set(names)):
            raise ValueError(f"{text}: a field is bound twice")
        return cls(text, tuple(segments), verb, tuple(variables))


def _split_verb(path: str) -> tuple[str, str]:
    colon = path.rfind(":")
    if colon < 0 or colon < path.rfind("/") or colon < path.rfind("}"):
        return path, ""
    return path[:colon], path[colon + 1 :]


def _parts(path: str) -> Iterator[str]:
    """Split at the slashes that are not inside a variable."""
    start = depth = 0
    for index, character in enumerate(path):
        depth += (character == "{") - (character == "}")
        if character == "/" and depth == 0:
            yield path[start:index]
            start = index + 1
    yield path[start:]


@dataclass(slots=True)
class _Node(Generic[T]):
    """One place in the tree of segments. ``ends``, ``rest``: verb → method → what ends here, or takes what follows."""

    literals: "dict[str, _Node[T]]" = field(default_factory=dict)
    any: "_Node[T] | None" = None
    ends: dict[str, dict[str, tuple[T, Template]]] = field(default_factory=dict)
    rest: dict[str, dict[str, tuple[T, Template]]] = field(default_factory=dict)


class Paths(Generic[T]):
    """Templates and what they stand for. A literal is tried before ``*``, that before ``**``; the method must fit."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, method: str, template: str, target: T) -> Template:
        """Raises ValueError for a template that is wrong or means the same as an earlier one."""
        parsed = Template.parse(template)
        node = self._root
        deep = parsed.segments[-1] == "**"
        for segment in parsed.segments[: -1 if deep else None]:
            if segment == "*":
                node.any = node.any or _Node()
                node = node.any
            else:
                node = node.literals.setdefault(unquote(segment), _Node())
        methods = (node.rest if deep else node.ends).setdefault(parsed.verb, {})
        if method in methods:
            raise ValueError(f"{method} {template} means the same as {method} {methods[method][1].text}")
        methods[method] = target, parsed
        return parsed

    def match(self, method: str, raw_path: str) -> tuple[T, dict[str, str]]:
        """What a path means, and the values of its variables, decoded.

        ``raw_path`` is as the client sent it, percent escapes included and without the query. Raises NoSuchPath,
        MethodNotAllowed or BadPath.
        """
        path, verb = raw_path, ""
        colon = raw_path.rfind(":")
        if colon > raw_path.rfind("/"):
            path, verb = raw_path[:colon], raw_path[colon + 1 :]
        raw = path.split("/")
        keys = raw
        if "%" in raw_path:
            if _BROKEN_ESCAPE.search(raw_path):
                raise BadPath(raw_path)
            keys = [unquote(segment) for segment in raw]
        allowed: set[str] = set()
        found = _walk(self._root, keys, 1, verb, method, allowed)
        if found is None:
            raise MethodNotAllowed(frozenset(allowed)) if allowed else NoSuchPath(raw_path)
        target, template = found
        if not template.variables:
            return target, {}
        plain = keys is raw
        values = {}
        for variable in template.variables:
            # +1: the text before the leading slash is raw[0]
            stop = None if variable.stop is None else variable.stop + 1
            text = raw[variable.start + 1] if variable.single else "/".join(raw[variable.start + 1 : stop])
            values[variable.field] = text if plain else _decode(text, keep_slash=not variable.single)
        return target, values

    def methods(self, raw_path: str) -> frozenset[str]:
        """Every method the path is known under; empty when it is not known."""
        try:
            self.match("", raw_path)
        except MethodNotAllowed as error:
            return error.allowed
        except LookupError:
            pass
        return frozenset()


def _walk(
    node: _Node[T], keys: list[str], index: int, verb: str, method: str, allowed: set[str]
) -> tuple[T, Template] | None:
    if index == len(keys):
        methods = node.ends.get(verb)
        if methods is not None:
            if method in methods:
                return methods[method]
            allowed.update(methods)
    else:
        key = keys[index]
        child = node.literals.get(key)
        if child is not None:
            found = _walk(child, keys, index + 1, verb, method, allowed)
            if found is not None:
                return found
        if node.any is not None and key:
            found = _walk(node.any, keys, index + 1, verb, method, allowed)
            if found is not None:
                return found
    methods = node.rest.get(verb)
    if methods is not None:
        if method in methods:
            return methods[method]
        allowed.update(methods)
    return None


def _decode(text: str, keep_slash: bool) -> str:
    """Percent escapes to text; in a value of several segments ``%2F`` stays, or it would read as a border."""
    try:
        if keep_slash:
            return "".join(
                piece if index % 2 else unquote(piece, errors="strict")
                for index, piece in enumerate(_SLASH.split(text))
            )
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise BadPath(text) from error
