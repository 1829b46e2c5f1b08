"""What the contracts say about themselves: the comments of the .proto files, which compiled descriptors carry only here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

#: By descriptor.proto: what the numbers of a location's path mean in each kind of thing.
_PARTS = {
    "google.protobuf.FileDescriptorProto": {4: "message_type", 5: "enum_type", 6: "service"},
    "google.protobuf.DescriptorProto": {2: "field", 3: "nested_type", 4: "enum_type"},
    "google.protobuf.EnumDescriptorProto": {2: "value"},
    "google.protobuf.ServiceDescriptorProto": {2: "method"},
}


class Comments:
    """The comment of anything by its full name; "" where there is none. A package's stands at its `package` line."""

    def __init__(self, files: FileDescriptorSet):
        self._found: dict[str, str] = {}
        for file in files.file:
            for name, text in _of_file(file):
                self._found.setdefault(name, text)

    @classmethod
    def load(cls, descriptors: Path) -> Comments:
        return cls(FileDescriptorSet.FromString(descriptors.read_bytes()))

    def of(self, full_name: str) -> str:
        return self._found.get(full_name, "")


def _of_file(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    for location in file.source_code_info.location:
        text = _flat(location.leading_comments or location.trailing_comments)
        if not text:
            continue
        if list(location.path) == [2]:  # the package line
            yield file.package, text
            continue
        names = _names(file, list(location.path))
        if names:
            yield ".".join([file.package, *names]), text


def _names(file: FileDescriptorProto, path: list[int]) -> list[str]:
    """The names on the way to a location; empty for what has none, such as an option."""
    names: list[str] = []
    at: Any = file
    while len(path) >= 2:
        part = _PARTS.get(at.DESCRIPTOR.full_name, {}).get(path[0])
        if part is None:
            return []
        at = getattr(at, part)[path[1]]
        names.append(at.name)
        path = path[2:]
    return [] if path else names


def _flat(comment: str) -> str:
    """Lines joined to paragraphs; an empty line parts them."""
    paragraphs = [
        " ".join(line.strip() for line in part.splitlines() if line.strip()) for part in comment.split("\n\n")
    ]
    return "\n\n".join(p for p in paragraphs if p)
