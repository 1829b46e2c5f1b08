"""docs/reference: the contracts for readers, made from the .proto files' own comments.

python -m services.gateway.reference            writes docs/reference
python -m services.gateway.reference --check    fails when what stands there differs
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor, ServiceDescriptor

from hetao.options.v1 import options_pb2
from kit.config import CHECKOUT
from kit.texts import Texts
from services.gateway import contracts, openapi
from services.gateway.binding import bindings
from services.gateway.comments import Comments
from services.gateway.json_codec import object_of
from services.gateway.problems import reasons
from services.gateway.schema import Schemas, needed

FOLDER: Final = CHECKOUT / "docs" / "reference"
GENERATED: Final = "<!-- Made from proto/ by `make proto`; change it there. -->"


def pages() -> dict[str, str]:
    """File name → content, of everything under docs/reference."""
    comments = Comments.load(contracts.DESCRIPTORS)
    document = openapi.document(contracts.services(), comments)
    made = {"openapi.json": orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n"}
    for package in sorted({file.package for file in contracts.files()}):
        name = package.split(".")[1]
        if name != "options":
            files = [file for file in contracts.files() if file.package == package]
            made[f"{name}.md"] = "\n".join(_package(name, files, comments)) + "\n"
    made["errors.md"] = "\n".join(_errors(Texts.load(CHECKOUT / "data" / "texts"))) + "\n"
    return made


def _package(name: str, files: list[FileDescriptor], comments: Comments) -> Iterator[str]:
    yield from (f"# {name}", "", GENERATED, "")
    if about := comments.of(files[0].package):
        yield from (about, "")
    schemas = Schemas(comments, incoming=[], outgoing=[])
    told: set[str] = set()
    for file in files:
        for service in file.services_by_name.values():
            yield from _service(service, comments, schemas, told)
    everything = [(message, file.name.endswith("/events.proto")) for file in files for message in _messages(file)]
    for title, is_event in (("Messages", False), ("Events", True)):
        shown = [
            message for message, of_events in everything if of_events == is_event and message.full_name not in told
        ]
        if shown:
            yield from (f"## {title}", "")
        for message in shown:
            yield from (f"### {message.name}", "", *_about(comments.of(message.full_name)))
            yield from _fields(message.fields, comments, schemas)
    enums = [enum for file in files for enum in file.enum_types_by_name.values()]
    if enums:
        yield from ("## Enums", "")
    for enum in enums:
        yield from _enum(enum, comments)


def _service(service: ServiceDescriptor, comments: Comments, schemas: Schemas, told: set[str]) -> Iterator[str]:
    yield from (f"## {service.name}", "", *_about(comments.of(service.full_name)))
    for method in service.methods:
        access = method.GetOptions().Extensions[options_pb2.access]
        yield from (f"### {method.name}", "", *_about(comments.of(method.full_name)))
        for binding in bindings(method):
            yield f"`{binding.verb} {binding.template}`  "
        shared = f", shared for up to {access.shared_seconds} s" if access.shared_seconds else ""
        yield "public" if access.public else f"permission `{access.permission}`{shared}"
        yield ""
        told |= {method.input_type.full_name, method.output_type.full_name}
        yield from _fields(method.input_type.fields, comments, schemas)
        answered = bindings(method)[0].response_body if bindings(method) else ""
        fields = [fd for fd in method.output_type.fields if answered in ("", fd.name)]
        yield from ("Answers:", "", *_fields(fields, comments, schemas))


def _fields(fields: Iterable[FieldDescriptor], comments: Comments, schemas: Schemas) -> Iterator[str]:
    rows = list(fields)
    if not rows:
        yield from ("nothing", "")
        return
    yield from ("| field | 中文 | type | limits | |", "|---|---|---|---|---|")
    for fd in rows:
        options = fd.GetOptions().Extensions
        personal = " (personal)" if options[options_pb2.personal] else ""
        limits = _limits(schemas.field(fd, incoming=True)) if object_of(fd) is None else ""
        wanted = ", ".join(text for text in ("required" if needed(fd) else "", limits) if text)
        text = comments.of(fd.full_name).replace("\n\n", " ") + personal
        yield f"| `{fd.name}` | {options[options_pb2.zh]} | {_type(fd)} | {_cell(wanted)} | {_cell(text)} |"
    yield ""


def _enum(enum: EnumDescriptor, comments: Comments) -> Iterator[str]:
    yield from (f"### {enum.name}", "", *_about(comments.of(enum.full_name)), "| value | |", "|---|---|")
    for value in enum.values:
        yield f"| `{value.name}` | {_cell(comments.of(f'{enum.full_name}.{value.name}'))} |"
    yield ""


def _errors(texts: Texts) -> Iterator[str]:
    yield from ("# Errors", "", "<!-- Made from data/texts by `make proto`; change it there. -->", "")
    yield "Every error names a reason. The sentences are for people, Chinese first; braces stand for values that come along."
    yield from ("", "| reason | 中文 | English |", "|---|---|---|")
    for reason, (zh, en) in reasons(texts):
        yield f"| `{reason}` | {_cell(zh)} | {_cell(en)} |"


def _messages(file: FileDescriptor) -> Iterator[Descriptor]:
    waiting = list(file.message_types_by_name.values())
    while waiting:
        message = waiting.pop(0)
        yield message
        waiting = [*message.nested_types, *waiting]


def _about(comment: str) -> list[str]:
    return [comment, ""] if comment else []


def _type(fd: FieldDescriptor) -> str:
    kind = fd.message_type or fd.enum_type
    name = _SCALARS[fd.type] if kind is None else kind.name
    if fd.is_repeated:
        return f"repeated {name}"
    return f"optional {name}" if fd.has_presence and fd.message_type is None else name


_SCALARS: Final = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_") and isinstance(number, int)
}


def _limits(schema: dict[str, Any]) -> str:
    """The limits of a JSON Schema in a few signs."""
    if "anyOf" in schema:
        return f"empty or {_limits(schema['anyOf'][1])}"
    told = []
    if schema.get("format") == "uuid":
        told.append("UUID")
    for low, high, unit in (
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
        ("minimum", "maximum", ""),
    ):
        least, most = schema.get(low), schema.get(high)
        if unit == "" and most in (2**31 - 1, 2**32 - 1):
            least = most = None
        if least is not None and most is not None:
            told.append(f"{least:g}–{most:g}{unit}")
        elif most is not None:
            told.append(f"≤ {most:g}{unit}")
        elif least is not None:
            told.append(f"≥ {least:g}{unit}")
    if "pattern" in schema and schema.get("format") != "int64":
        told.append(f"`{schema['pattern']}`")
    if schema.get("type") == "array" and "$ref" not in schema["items"] and (inner := _limits(schema["items"])):
        told.append(f"each {inner}")
    return ", ".join(told)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def differing() -> list[str]:
    """Names under docs/reference that are not as they should be."""
    made = pages()
    present = {path.name for path in FOLDER.glob("*") if path.suffix in (".md", ".json")} - {"README.md"}
    wrong = [name for name, text in made.items() if not _same(FOLDER / name, text)]
    return sorted({*wrong, *(present - made.keys())})


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


def main() -> None:
    if "--check" in sys.argv:
        if wrong := differing():
            raise SystemExit("docs/reference does not follow proto/ (run `make proto`): " + ", ".join(wrong))
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in differing():
        (FOLDER / name).unlink(missing_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
