"""What holds of every contract: whoever adds an RPC or a field meets these rules here first."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from hetao.options.v1 import options_pb2
from kit.config import CHECKOUT
from kit.identity import Roles
from kit.rpc.methods import writes
from services.gateway import contracts, media
from services.gateway.binding import bindings
from services.gateway.comments import Comments
from services.gateway.json_codec import LONGS, check
from services.gateway.schema import reachable, rules_of

METHODS = [method for service in contracts.services() for method in service.methods]
COMMENTS = Comments.load(contracts.DESCRIPTORS)
INCOMING = reachable([method.input_type for method in METHODS])
OUTGOING = reachable([method.output_type for method in METHODS])
OURS = {name: message for name, message in {**INCOMING, **OUTGOING}.items() if name.startswith("hetao.")}

every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name.removeprefix("hetao."))
every_message = pytest.mark.parametrize(
    "message", OURS.values(), ids=lambda message: message.full_name.removeprefix("hetao.")
)


def test_buf_finds_nothing_to_say() -> None:
    done = subprocess.run([Path(sys.executable).parent / "buf", "lint"], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_generated_code_follows_the_contracts() -> None:
    command = [sys.executable, CHECKOUT / "proto" / "generate.py", "--check"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@every_method
def test_an_rpc_has_a_path_a_permission_and_a_comment(method: MethodDescriptor) -> None:
    assert bindings(method), "no google.api.http option"
    access = method.GetOptions().Extensions[options_pb2.access]
    assert bool(access.permission) != access.public
    assert COMMENTS.of(method.full_name)
    assert all(binding.template.startswith("/v1/") for binding in bindings(method))


@every_method
def test_a_permission_belongs_to_its_service(method: MethodDescriptor) -> None:
    permission = method.GetOptions().Extensions[options_pb2.access].permission
    if permission:
        assert re.fullmatch(rf"{contracts.owner(method.containing_service)}\.[a-zA-Z]+\.[a-zA-Z]+", permission)


@every_method
def test_a_write_can_be_repeated_and_a_read_needs_not(method: MethodDescriptor) -> None:
    request_id = method.input_type.fields_by_name.get("request_id")
    if method.GetOptions().Extensions[options_pb2.access].public:
        assert request_id is None, "answers are kept for accounts; a caller without one has nothing to repeat"
    elif writes(method) and all(binding.verb != "GET" for binding in bindings(method)):
        assert request_id is not None, "a write has a request_id"
        assert 32 <= rules_of(request_id).string.max_len <= 128
    else:
        assert request_id is None, "a read has no request_id"


@every_method
def test_a_list_is_paged(method: MethodDescriptor) -> None:
    if not method.name.startswith("List"):
        return
    size = method.input_type.fields_by_name["page_size"]
    assert (rules_of(size).int32.gte, rules_of(size).int32.lte) == (0, 200)
    assert "page_token" in method.input_type.fields_by_name
    assert "next_page_token" in method.output_type.fields_by_name


@every_message
def test_a_field_is_named_in_chinese_and_explained(message: Descriptor) -> None:
    assert COMMENTS.of(message.full_name), f"{message.full_name} has no comment"
    for fd in message.fields:
        assert re.search("[\u4e00-\u9fff]", fd.GetOptions().Extensions[options_pb2.zh]), (
            f"{fd.full_name} has no zh name"
        )
        # an answer's only part is what the RPC's own comment speaks of
        assert COMMENTS.of(fd.full_name) or message.name.endswith("Response"), f"{fd.full_name} has no comment"


@every_message
def test_a_message_holds_no_json_trap(message: Descriptor) -> None:
    check(message)
    for fd in message.fields:
        assert fd.type not in LONGS or fd.name.endswith("_fen"), f"{fd.full_name}: 64 bits are for amounts in fen"
        assert fd.json_name == _camel(fd.name)


@pytest.mark.parametrize(
    "message", [m for n, m in INCOMING.items() if n in OURS], ids=lambda m: m.full_name.removeprefix("hetao.")
)
def test_what_comes_in_has_limits(message: Descriptor) -> None:
    for fd in message.fields:
        rules = rules_of(fd)
        if fd.is_repeated:
            assert rules.repeated.max_items, f"{fd.full_name} has no max_items"
            rules = rules.repeated.items
        if fd.type == FieldDescriptor.TYPE_STRING:
            assert _is_bounded(rules.string), f"{fd.full_name} has no max_len"
        if fd.enum_type is not None:
            assert rules.enum.defined_only or getattr(rules.enum, "in"), f"{fd.full_name} is not defined_only"


@pytest.mark.parametrize(
    "file", [f for f in contracts.files() if f.name.endswith(("events.proto", "notice.proto"))], ids=lambda f: f.name
)
def test_an_event_holds_no_personal_data(file) -> None:  # type: ignore[no-untyped-def]
    for message in reachable(list(file.message_types_by_name.values())).values():
        for fd in message.fields:
            assert not fd.GetOptions().Extensions[options_pb2.personal], f"{fd.full_name} is personal"


def test_paths_are_all_different() -> None:
    paths = [(b.verb, re.sub(r"\{[^}]*\}", "{}", b.template)) for method in METHODS for b in bindings(method)]
    assert len(paths) == len(set(paths))


def test_roles_and_contracts_name_the_same_permissions() -> None:
    roles = Roles.load(CHECKOUT / "data" / "roles.toml")
    known = {m.GetOptions().Extensions[options_pb2.access].permission for m in METHODS} - {""}
    known |= {media.UPLOAD, media.LOOK, media.EVIDENCE}
    possible = known | _named_in_code()
    given = roles.permissions(roles.names)
    useless = {pattern for pattern in given if not any(fnmatchcase(permission, pattern) for permission in possible)}
    assert not useless, "roles name permissions that nobody asks for"
    missing = {permission for permission in known if not any(fnmatchcase(permission, pattern) for pattern in given)}
    assert not missing, "nobody has these permissions"


def _named_in_code() -> set[str]:
    """Whatever may be a permission that a service asks for itself, such as how far a role sees."""
    own = re.compile(rf"({'|'.join(contracts.names())})\.[a-zA-Z]+\.[a-zA-Z]+")
    found = set()
    for path in (CHECKOUT / "services").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and own.fullmatch(node.value):
                found.add(node.value)
    return found


def _camel(name: str) -> str:
    return re.sub("_([a-z0-9])", lambda match: match[1].upper(), name)


def _is_bounded(limits) -> bool:  # type: ignore[no-untyped-def]
    """Whether a string cannot be longer than its rules say."""
    if limits.max_len or limits.len or limits.uuid or limits.const or getattr(limits, "in"):
        return True
    if not (limits.pattern.startswith("^") and limits.pattern.endswith("$")):
        return False
    return not re.search(r"(?<!\\)[*+]|\{\d*,\}", limits.pattern)
