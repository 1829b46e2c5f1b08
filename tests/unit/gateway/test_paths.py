"""The path templates, held against the cases that google/api/http.proto documents."""

import timeit

import pytest

from services.gateway.paths import BadPath, MethodNotAllowed, NoSuchPath, Paths, Template


def paths(*routes: str) -> Paths[str]:
    known: Paths[str] = Paths()
    for route in routes:
        method, template = route.split(" ")
        known.add(method, template, route)
    return known


@pytest.mark.parametrize(
    ("template", "segments", "verb", "variables"),
    [
        ("/v1/messages", ("v1", "messages"), "", []),
        ("/v1/messages/{message_id}", ("v1", "messages", "*"), "", [("message_id", 2, 3)]),
        ("/v1/messages/{message_id=*}", ("v1", "messages", "*"), "", [("message_id", 2, 3)]),
        ("/v1/{name=messages/*}", ("v1", "messages", "*"), "", [("name", 1, 3)]),
        ("/v1/{name=files/**}", ("v1", "files", "**"), "", [("name", 1, None)]),
        (
            "/v1/messages/{message_id}/{sub.subfield}",
            ("v1", "messages", "*", "*"),
            "",
            [("message_id", 2, 3), ("sub.subfield", 3, 4)],
        ),
        ("/v1/{a=x/*}/{b=y/*}:undo", ("v1", "x", "*", "y", "*"), "undo", [("a", 1, 3), ("b", 3, 5)]),
        ("/v1/caseProgress:lookup", ("v1", "caseProgress"), "lookup", []),
        ("/v1/*/parts/**", ("v1", "*", "parts", "**"), "", []),
    ],
)
def test_templates_are_read_as_the_grammar_says(template, segments, verb, variables):
    parsed = Template.parse(template)
    assert parsed.segments == segments
    assert parsed.verb == verb
    assert [(v.field, v.start, v.stop) for v in parsed.variables] == variables


NOT_OF_THE_GRAMMAR = """
/ v1/cases /v1//cases /v1/{} /v1/{a /v1/a} /v1/{a=} /v1/{a={b}} /v1/**/x /v1/{a=**}/x /v1/a*b /v1/{a}/{a} /v1/{1a}
/v1/{a..b} /v1/x?y
"""


@pytest.mark.parametrize("template", ["", *NOT_OF_THE_GRAMMAR.split()])
def test_what_is_not_of_the_grammar_is_refused(template):
    with pytest.raises(ValueError, match=r"template|segment|variable|last|twice"):
        Template.parse(template)


def test_the_documented_mappings():
    known = paths(
        "GET /v1/messages/{message_id}",
        "GET /v1/users/{user_id}/messages/{message_id}",
        "PATCH /v1/messages/{message_id}",
    )
    assert known.match("GET", "/v1/messages/123456") == ("GET /v1/messages/{message_id}", {"message_id": "123456"})
    assert known.match("PATCH", "/v1/messages/123456")[0] == "PATCH /v1/messages/{message_id}"
    assert known.match("GET", "/v1/users/me/messages/123456")[1] == {"user_id": "me", "message_id": "123456"}


def test_a_variable_of_several_segments_keeps_their_text():
    known = paths("GET /v1/{name=messages/*}", "GET /v1/{name=files/**}", "GET /v1/{name=files/**}:download")
    assert known.match("GET", "/v1/messages/7")[1] == {"name": "messages/7"}
    assert known.match("GET", "/v1/files/a/b/c")[1] == {"name": "files/a/b/c"}
    assert known.match("GET", "/v1/files")[1] == {"name": "files"}
    assert known.match("GET", "/v1/files/a/b:download")[1] == {"name": "files/a/b"}


def test_escapes_are_decoded_and_a_slash_only_in_a_single_segment():
    known = paths("GET /v1/cases/{case_id}", "GET /v1/{name=files/**}")
    assert known.match("GET", "/v1/cases/%E9%BB%84%20a%2Fb")[1] == {"case_id": "黄 a/b"}
    assert known.match("GET", "/v1/files/%E9%BB%84/a%2Fb%2fc")[1] == {"name": "files/黄/a%2Fb%2fc"}
    assert known.match("GET", "/v1/c%61ses/7")[1] == {"case_id": "7"}


@pytest.mark.parametrize("path", ["/v1/cases/%FF", "/v1/cases/%E9%BB", "/v1/cases/%zz", "/v1/cases/%", "/v1/cases/%4"])
def test_what_is_no_text_is_refused(path):
    with pytest.raises(BadPath):
        paths("GET /v1/cases/{case_id}").match("GET", path)


def test_a_variable_never_swallows_a_verb():
    known = paths("POST /v1/cases/{c}/tasks/{t}:return", "POST /v1/cases/{c}/tasks/{t}", "GET /v1/cases/{c}")
    assert known.match("POST", "/v1/cases/1/tasks/2:return") == (
        "POST /v1/cases/{c}/tasks/{t}:return",
        {"c": "1", "t": "2"},
    )
    assert known.match("POST", "/v1/cases/1/tasks/2") == ("POST /v1/cases/{c}/tasks/{t}", {"c": "1", "t": "2"})
    with pytest.raises(NoSuchPath):
        known.match("POST", "/v1/cases/1/tasks/2:burn")
    assert known.match("POST", "/v1/cases/1/tasks/2%3Areturn")[1] == {"c": "1", "t": "2:return"}
    assert known.match("POST", "/v1/cases/a:b/tasks/2")[1] == {"c": "a:b", "t": "2"}


def test_a_literal_is_preferred_and_the_way_back_is_found():
    known = paths("GET /v1/{kind}/all", "GET /v1/cases/{id}", "GET /v1/cases/mine", "POST /v1/cases/mine")
    assert known.match("GET", "/v1/cases/mine")[0] == "GET /v1/cases/mine"
    assert known.match("GET", "/v1/cases/all") == ("GET /v1/cases/{id}", {"id": "all"})
    assert known.match("GET", "/v1/grids/all") == ("GET /v1/{kind}/all", {"kind": "grids"})


def test_the_method_decides_between_a_literal_and_a_variable():
    known = paths("GET /v1/cases/{id}", "POST /v1/cases/import")
    assert known.match("GET", "/v1/cases/import") == ("GET /v1/cases/{id}", {"id": "import"})


def test_a_known_path_under_another_method_names_the_methods():
    known = paths("GET /v1/cases/{id}", "PATCH /v1/cases/{id}", "POST /v1/cases/import")
    with pytest.raises(MethodNotAllowed) as refused:
        known.match("DELETE", "/v1/cases/import")
    assert refused.value.allowed == {"GET", "PATCH", "POST"}
    assert known.methods("/v1/cases/1") == {"GET", "PATCH"}
    assert known.methods("/v1/nothing") == frozenset()


@pytest.mark.parametrize(
    "path", ["/v1/cases/", "/v1/cases", "/v1//1", "/v1/cases/1/", "/", "", "/v1/cases/1/x", "/V1/cases/1"]
)
def test_an_empty_or_missing_segment_matches_nothing(path):
    with pytest.raises(NoSuchPath):
        paths("GET /v1/cases/{id}").match("GET", path)


def test_two_templates_that_mean_the_same_are_refused():
    known = paths("GET /v1/cases/{id}")
    with pytest.raises(ValueError, match="means the same"):
        known.add("GET", "/v1/cases/{case_id=*}", "again")


def test_matching_stays_cheap():
    known = paths(*(f"GET /v1/things{n}/{{id}}/parts/{{part}}:go" for n in range(200)))
    once = min(timeit.repeat(lambda: known.match("GET", "/v1/things150/17/parts/4:go"), number=500, repeat=5)) / 500
    assert once < 50e-6
