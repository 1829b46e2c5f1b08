"""The OpenAPI document of a contract that has every kind of limit."""

import jsonschema_rs
import pytest

from kit.rpc.pipeline import validate
from services.gateway import openapi
from services.gateway.json_codec import decoder


@pytest.fixture(scope="session")
def document(limits):
    pb, comments = limits
    return openapi.document([pb.DESCRIPTOR.services_by_name["LimitsService"]], comments)


@pytest.fixture(scope="session")
def put(document):
    return document["paths"]["/v1/shelves/{shelfId}/things:put"]["post"]


GOOD = {
    "name": "pot",
    "place": {"lat": 40.5, "height": 3},
    "colour": "COLOUR_BLUE",
    "tags": ["a"],
    "size": "small",
    "sold": True,
}
UUID = "0192f0c5-aaaa-7bbb-8ccc-0123456789ab"


def test_an_operation_says_what_its_rpc_is(put):
    assert put["operationId"] == "LimitsService_PutThing"
    assert put["summary"] == "Puts a thing"
    assert put["description"] == "Puts a thing. It says nothing else."
    assert put["x-permission"] == "limits.things.put"
    assert put["x-grpc"] == "limits.v1.LimitsService/PutThing"
    assert put["requestBody"]["required"]


def test_parameters_of_path_and_headers(put):
    told = {(p["in"], p["name"]): p for p in put["parameters"]}
    assert told.keys() == {("path", "shelfId"), ("header", "Idempotency-Key"), ("header", "If-Match")}
    assert told["path", "shelfId"]["schema"] == {"type": "string", "format": "uuid", "minLength": 1}
    assert told["header", "Idempotency-Key"]["schema"]["maxLength"] == 64


def test_the_body_is_the_request_without_what_the_path_says(document, put):
    assert put["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/PutThingRequest"
    }
    schema = document["components"]["schemas"]["PutThingRequest"]
    assert "shelfId" not in schema["properties"]
    assert schema["required"] == ["name", "place", "colour", "tags", "size", "sold"]
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert properties["name"] == {
        "title": "名称",
        "description": "Its name.",
        "x-personal": True,
        "type": "string",
        "minLength": 1,
        "maxLength": 20,
        "pattern": "^[a-z]+$",
    }
    assert properties["colour"] == {"type": "string", "enum": ["COLOUR_YELLOW", "COLOUR_BLUE"]}
    assert properties["other"] == {"$ref": "#/components/schemas/Colour"}
    assert properties["tags"]["items"] == {"type": "string", "maxLength": 9}
    assert (properties["tags"]["minItems"], properties["tags"]["maxItems"], properties["tags"]["uniqueItems"]) == (
        1,
        3,
        True,
    )
    assert properties["madeAt"] == {"type": "string", "format": "date-time"}
    assert properties["priceFen"]["type"] == "string"
    assert document["components"]["schemas"]["Colour"]["description"].endswith("- `COLOUR_BLUE`: Like the water.")


def test_what_goes_out_always_has_what_has_no_presence(document):
    schemas = document["components"]["schemas"]
    assert schemas["Thing"]["required"] == ["name", "priceFen", "etag"]
    assert "additionalProperties" not in schemas["Thing"]
    assert schemas["Place"]["properties"]["height"]["maximum"] == 2**31 - 1
    assert schemas["PlaceInput"]["properties"]["height"] == {
        "description": "How high.",
        "type": "integer",
        "minimum": 1,
        "maximum": 9,
    }


def test_answers_that_may_come(document, put):
    assert list(put["responses"]) == [
        "200",
        "400",
        "401",
        "403",
        "404",
        "409",
        "412",
        "413",
        "415",
        "429",
        "503",
        "504",
    ]
    assert "ETag" in put["responses"]["200"]["headers"]
    find = document["paths"]["/v1/things"]["get"]
    assert find["security"] == []
    assert list(find["responses"]) == ["200", "400", "401", "403", "404", "429", "503", "504"]
    assert [p["name"] for p in find["parameters"]] == ["colours", "near.lat", "near.height", "pageSize"]


CHANGES = [
    {},
    {"name": ""}, {"name": "a" * 21}, {"name": "A"}, {"name": None},
    {"place": None}, {"place": {}}, {"place": {"lat": 91, "height": 3}}, {"place": {"lat": 90, "height": 0}},
    {"place": {"lat": -90, "height": 10}}, {"place": {"height": 9}},
    {"colour": None}, {"colour": "COLOUR_UNSPECIFIED"}, {"colour": "COLOUR_RED"}, {"other": "COLOUR_UNSPECIFIED"}, {"other": "x"},
    {"tags": None}, {"tags": []}, {"tags": ["a", "b", "c", "d"]}, {"tags": ["a", "a"]}, {"tags": ["a" * 10]}, {"tags": [""]},
    {"makerId": ""}, {"makerId": "x"}, {"makerId": UUID},
    {"size": None}, {"size": ""}, {"size": "large"}, {"size": "huge"},
    {"priceFen": "12"}, {"priceFen": 12}, {"priceFen": "1.5"},
    {"requestId": "r" * 64}, {"requestId": "r" * 65}, {"etag": ""},
    {"person": "a"}, {"person": "a", "company": "b"}, {"person": "", "company": ""},
    {"rank": 1}, {"rank": 0}, {"rank": 1.0}, {"rank": 1.5},
    {"sold": False}, {"sold": None}, {"sold": 1}, {"unknown": 1}, {"shelfId": UUID},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_the_schema_takes_what_the_server_takes(limits, document, change):
    """None takes a field out."""
    pb, _ = limits
    body = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    schema = {"$ref": "#/components/schemas/PutThingRequest", "components": document["components"]}
    by_schema = jsonschema_rs.validator_for(schema, validate_formats=True).is_valid(body)

    request, flaws = pb.PutThingRequest(), []
    decoder(request.DESCRIPTOR, frozenset({"shelf_id"})).read(body, request, "", flaws)
    by_server = not flaws
    if by_server:
        request.shelf_id = UUID
        try:
            validate(request)
        except Exception:
            by_server = False
    assert by_schema == by_server
