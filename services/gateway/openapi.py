"""The OpenAPI 3.1 document, made from the contracts: their comments, names in Chinese, limits, permissions and HTTP rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor

from hetao.options.v1 import options_pb2
from kit.rpc.methods import writes
from services.gateway import contracts, live, media, stream
from services.gateway.binding import PDF, Binding, Parameter, bindings
from services.gateway.comments import Comments
from services.gateway.json_codec import camel
from services.gateway.problems import TITLES
from services.gateway.schema import Schema, Schemas, needed, rules_of

DESCRIPTION = """河套基层治理平台的 REST 接口。字段说明：title 为中文名，description 为英文说明。

The REST interface of Hetao. Every path is an RPC of the same name; both say the same.

- 金额以分为单位，写作字符串 · amounts are in fen, written as strings.
- 时间为 RFC 3339 · times are RFC 3339; days are YYYY-MM-DD in Asia/Shanghai.
- 列表按 pageSize 与 pageToken 翻页 · lists are paged by pageSize and pageToken.
- 写操作可重复：带同一 Idempotency-Key（或 requestId）得到同一答复 · repeat a write with the same key to repeat its answer.
- 带 If-Match 时，内容已变更则答 412 · with If-Match, what has changed meanwhile answers 412.
- 错误为 RFC 9457 问题详情，中英文俱全 · errors are RFC 9457 problem details, in both languages."""

PROBLEM: Schema = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "properties": {
        "type": {"type": "string", "description": "Where the reason is explained."},
        "title": {"type": "string", "title": "标题"},
        "titleEn": {"type": "string", "title": "英文标题"},
        "status": {"type": "integer", "title": "状态码"},
        "detail": {"type": "string", "title": "说明"},
        "detailEn": {"type": "string", "title": "英文说明"},
        "reason": {"type": "string", "title": "原因代码", "description": "For programs, such as ETAG_STALE."},
        "code": {"type": "string", "title": "gRPC 状态", "description": "The gRPC code, such as FAILED_PRECONDITION."},
        "traceId": {"type": "string", "title": "追踪编号"},
        "errors": {
            "type": "array",
            "title": "字段错误",
            "items": {
                "type": "object",
                "properties": {
                    "field": {
                        "type": "string",
                        "title": "字段",
                        "description": "Its path, such as parties[1].idNumber.",
                    },
                    "label": {"type": "string", "title": "字段中文名"},
                    "labelEn": {"type": "string", "title": "字段英文名"},
                    "reason": {"type": "string", "title": "原因代码"},
                    "message": {"type": "string", "title": "说明"},
                    "messageEn": {"type": "string", "title": "英文说明"},
                },
                "required": ["field", "label", "labelEn", "reason", "message", "messageEn"],
            },
        },
    },
    "required": ["type", "title", "titleEn", "status", "detail", "detailEn", "reason", "code", "traceId", "errors"],
}

#: A header's values are visible ASCII without a quotation mark.
_TAG = '^"[!#-~]*"$'
_KEY = "^[!#-~]([ -!#-~]*[!#-~])?$"


def document(services: Iterable[ServiceDescriptor], comments: Comments) -> dict[str, Any]:
    """The whole document. Deterministic: the order is that of the contracts."""
    every = list(services)
    served = [(s, nth, b) for s in every for method in s.methods for nth, b in enumerate(bindings(method))]
    schemas = Schemas(
        comments,
        incoming=[binding.input for _, _, binding in served],
        outgoing=[*(binding.output for _, _, binding in served), *(kind.descriptor for kind in live.kinds().values())],
    )
    paths: dict[str, dict[str, Any]] = {}
    for service, nth, binding in served:
        name = f"{service.name}_{binding.method.name}" + (f"_{nth + 1}" if nth else "")
        operation = {"operationId": name, **_operation(service, binding, schemas, comments)}
        paths.setdefault(_path(binding), {})[binding.verb.lower()] = operation
    _link(paths, schemas)
    paths.update(media.PATHS)
    paths.update(stream.paths())
    events = stream.schemas(lambda message: schemas.message(message, incoming=False))
    components = {"Problem": PROBLEM, **media.SCHEMAS, **events, **schemas.components}
    return {
        "openapi": "3.1.0",
        "info": {"title": "河套 Hetao", "version": "1", "description": DESCRIPTION, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [
            *(
                {"name": s.name, "description": comments.of(s.full_name)}
                for s in every
                if any(o is s for o, _, _ in served)
            ),
            media.TAG,
            stream.TAG,
        ],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(components.items())),
            "responses": {str(status): _problem(status) for status in sorted(TITLES)},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _link(paths: dict[str, dict[str, Any]], schemas: Schemas) -> None:
    """Says of what a call creates which other calls take its id: those whose only variable it is."""
    takers: dict[str, list[str]] = {}
    for path, verbs in paths.items():
        if path.count("{") == 1:
            variable = path[path.index("{") + 1 : path.index("}")]
            takers.setdefault(variable, []).extend(operation["operationId"] for operation in verbs.values())
    for verbs in paths.values():
        for operation in verbs.values():
            if "_Create" not in operation["operationId"]:
                continue
            answer = operation["responses"]["200"]
            found = schemas.ids(answer["content"]["application/json"]["schema"])
            links = {
                taker: {"operationId": taker, "parameters": {name: f"$response.body#/{pointer}"}}
                for name, pointer in found.items()
                for taker in takers.get(name, [])
            }
            if links:
                answer["links"] = links


def _path(binding: Binding) -> str:
    """The template with its variables in JSON names."""
    path = binding.template
    for parameter in binding.path.values():
        variable = "{" + ".".join(parameter.steps) + "}"
        if variable not in path:
            raise ValueError(f"{binding.template}: OpenAPI has no variables of several segments")
        path = path.replace(variable, f"{{{parameter.name}}}")
    return path


def _operation(service: ServiceDescriptor, binding: Binding, schemas: Schemas, comments: Comments) -> dict[str, Any]:
    method = binding.method
    access = method.GetOptions().Extensions[options_pb2.access]
    comment = comments.of(method.full_name)
    operation: dict[str, Any] = {
        "tags": [service.name],
        "summary": comment.split(". ")[0].split("\n")[0].rstrip("."),
        "description": comment,
        "x-grpc": f"{service.full_name}/{method.name}",
    }
    if access.public:
        operation["security"] = []
    else:
        operation["x-permission"] = access.permission
    if parameters := [*_parameters(binding, schemas), *_headers(binding)]:
        operation["parameters"] = parameters
    if binding.takes_body:
        operation["requestBody"] = _request_body(binding, schemas)
    operation["responses"] = _responses(binding, schemas)
    return operation


def _parameters(binding: Binding, schemas: Schemas) -> Iterator[dict[str, Any]]:
    for parameter in binding.path.values():
        schema = _parameter_schema(parameter, schemas)
        if schema.get("type") == "string":  # an empty segment is another path
            schema["minLength"] = max(1, schema.get("minLength", 1))
        if contracts.owner(binding.method.containing_service) == contracts.OPERATIONS and parameter.name == "service":
            schema["enum"] = list(contracts.names())
        yield _parameter(parameter, "path", schema, required=True)
    for parameter in binding.query.values():
        required, schema = needed(parameter.fd) and len(parameter.steps) == 1, _parameter_schema(parameter, schemas)
        if binding.mask and parameter.name == "updateMask":
            required, schema["pattern"] = True, _mask_pattern(binding)
        yield _parameter(parameter, "query", schema, required=required)


def _parameter_schema(parameter: Parameter, schemas: Schemas) -> Schema:
    return dict(schemas.field(parameter.fd, incoming=True))


def _parameter(parameter: Parameter, place: str, schema: Schema, *, required: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"name": parameter.name, "in": place}
    if required:
        told["required"] = True
    if description := schema.pop("description", ""):
        told["description"] = description
    return {**told, "schema": schema}


def _headers(binding: Binding) -> Iterator[dict[str, Any]]:
    def header(name: str, description: str, schema: Schema) -> dict[str, Any]:
        return {"name": name, "in": "header", "description": description, "schema": {"type": "string", **schema}}

    if binding.has_request_id:
        fd = binding.input.fields_by_name["request_id"]
        limit = rules_of(fd).string.max_len
        text = "The same as requestId: repeat it to repeat the answer, not the effect."
        yield header("Idempotency-Key", text, {"pattern": _KEY, "maxLength": limit} if limit else {"pattern": _KEY})
    if binding.has_etag:
        yield header("If-Match", "The ETag of what the caller was shown; 412 if it has changed.", {"pattern": _TAG})
    if binding.verb == "GET" and binding.answers_etag:
        yield header("If-None-Match", "The ETag that the caller has; 304 if it is still right.", {})


def _request_body(binding: Binding, schemas: Schemas) -> dict[str, Any]:
    if binding.body == "*":
        without = frozenset(".".join(p.steps) for p in binding.path.values())
        schema = schemas.message(binding.input, incoming=True, without=without)
        required = any(needed(fd) for fd in binding.input.fields if fd.name not in without)
        if binding.mask:
            schemas.of(schema)["properties"]["updateMask"]["pattern"] = _mask_pattern(binding)
    else:
        fd = binding.input.fields_by_name[binding.body]
        within = (".".join(p.steps[1:]) for p in binding.path.values() if p.steps[0] == binding.body)
        schema = schemas.field(fd, incoming=True, without=frozenset(within))
        required = needed(fd)
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def _mask_pattern(binding: Binding) -> str:
    """Names of fields that may be changed, separated by commas."""
    names = "|".join(re.escape(camel(name)) for name in sorted(binding.mask))
    return f"^({names})(,({names}))*$"


def _responses(binding: Binding, schemas: Schemas) -> dict[str, Any]:
    if binding.response_body:
        schema = schemas.field(binding.output.fields_by_name[binding.response_body], incoming=False)
    else:
        schema = schemas.message(binding.output, incoming=False)
    media_type = PDF if binding.answers_document else "application/json"
    ok: dict[str, Any] = {"description": "OK", "content": {media_type: {"schema": schema}}}
    if binding.answers_etag:
        text = f"Changes with the answer, which may be up to {binding.shared_seconds} seconds old."
        tag = text if binding.shared_seconds else "The version of what is answered."
        ok["headers"] = {"ETag": {"description": tag, "schema": {"type": "string"}}}
    refusals = [400, 401, 403, 404, 429, 503, 504]
    if writes(binding.method):
        refusals.append(409)
    if binding.has_etag:
        refusals.append(412)
    if binding.takes_body:
        refusals += [413, 415]
    responses: dict[str, Any] = {"200": ok}
    if binding.verb == "GET" and binding.answers_etag:
        responses["304"] = {"description": "Not modified"}
    responses.update({str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(refusals)})
    return responses


def _problem(status: int) -> dict[str, Any]:
    zh, en = TITLES[status]
    told: dict[str, Any] = {
        "description": f"{zh} · {en}",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in (429, 503):
        told["headers"] = {
            "Retry-After": {
                "description": "Seconds to wait, or the date until which to wait.",
                "schema": {"type": "string"},
            }
        }
    return told
