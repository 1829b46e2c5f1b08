"""Who one is here, and the dictionaries."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from typing import Any

import pytest

from hetao.grid.v1 import dictionaries_pb2, dictionaries_pb2_grpc, me_pb2, me_pb2_grpc, types_pb2
from kit.config import DATA
from kit.dictionaries import load
from tests.unit.grid.conftest import GRID, department
from tests.world import World, refused

ACCOUNTS = tomllib.loads((DATA / "demo" / "accounts.toml").read_text("utf-8"))["accounts"]


async def me(world: World, account: str) -> me_pb2.Me:
    answer: me_pb2.GetMeResponse = await world.stub(me_pb2_grpc.MeServiceStub, "grid", account).GetMe(  # type: ignore[misc]
        me_pb2.GetMeRequest()
    )
    return answer.me


async def test_a_worker_is_told_her_grids_and_a_director_both_centres(world: World) -> None:
    worker = await me(world, "grid-worker")
    assert (worker.account, worker.name, worker.language) == ("grid-worker", "云秀兰", "zh")
    assert {one.role for one in worker.grids} == {types_pb2.MEMBER_ROLE_GRID_WORKER}
    assert GRID in {one.grid_code for one in worker.grids}
    assert [one.kind for one in worker.posts] == [types_pb2.POST_KIND_HEAD]
    assert worker.divisions == ["150802013006"]
    assert "grid.reports.create" in worker.permissions
    ends = worker.session_ends_at.ToDatetime(tzinfo=world.clock.now().tzinfo)
    assert timedelta(0) < ends - world.clock.now() <= timedelta(days=1)
    director = await me(world, "centre-director")
    assert [one.department_id for one in director.departments] == [
        department("150802-centre"),
        department("150802013-centre"),
    ]
    assert {one.kind for one in director.posts} == {types_pb2.POST_KIND_DIRECTOR}


@pytest.mark.parametrize("account", [one["account"] for one in ACCOUNTS])
async def test_everybody_may_ask(world: World, account: str) -> None:
    told = await me(world, account)
    assert told.account == account
    assert told.departments[0].name
    assert told.title


async def test_nobody_in_particular_may_not(world: World) -> None:
    stub: Any = world.stub(me_pb2_grpc.MeServiceStub, "grid")
    assert (await refused(stub.GetMe(me_pb2.GetMeRequest()))).reason == "TOKEN_MISSING"


# -- dictionaries -----------------------------------------------------------------------------------------------------


def words(world: World, account: str = "grid-worker") -> Any:
    return world.stub(dictionaries_pb2_grpc.DictionaryServiceStub, "grid", account)


async def test_every_dictionary_is_there_in_both_languages(world: World) -> None:
    listed = (await words(world).ListDictionaries(dictionaries_pb2.ListDictionariesRequest())).dictionaries
    assert [one.name for one in listed] == sorted(path.stem for path in (DATA / "dictionaries").glob("*.toml"))
    for one in listed:
        found = (await words(world).GetDictionary(dictionaries_pb2.GetDictionaryRequest(name=one.name))).dictionary
        assert found.title.zh != found.name, f"{found.name}: data/dictionaries says neither zh nor en of it"
        assert found.entries
        assert all(entry.name.zh and entry.name.en and entry.effective_from for entry in found.entries)


async def test_a_dictionary_says_what_a_code_counts_as(world: World) -> None:
    request = dictionaries_pb2.GetDictionaryRequest(name="outcomes", day="2026-03-02")
    found = (await words(world).GetDictionary(request)).dictionary
    written = next(one for one in found.entries if one.code == "written_agreement")
    assert {one.name: one.value for one in written.attributes}["counts_resolved"] == "true"
    early = dictionaries_pb2.GetDictionaryRequest(name="outcomes", day="2020-01-01")
    assert not (await words(world).GetDictionary(early)).dictionary.entries
    unknown = await refused(words(world).GetDictionary(dictionaries_pb2.GetDictionaryRequest(name="nothing")))
    assert (unknown.code, unknown.fields) == ("NOT_FOUND", ["name"])
    wrong = await refused(words(world).GetDictionary(dictionaries_pb2.GetDictionaryRequest(name="x", day="2026-02-30")))
    assert (wrong.reason, wrong.fields) == ("DATE_INVALID", ["day"])


def test_a_version_ends_where_the_next_begins_and_a_retired_code_stays(tmp_path: Any) -> None:
    entry = '[[entries]]\ncode = "{}"\nzh = "甲"\nen = "a"\nversion = "{}"\neffective_from = {}\n'
    text = 'name = "letters"\nzh = "字母"\nen = "letters"\n' + "".join(
        entry.format(*row) for row in (("b", "2", "2026-03-01"), ("b", "1", "2025-01-01"), ("a", "1", "2025-01-01"))
    )
    (tmp_path / "letters.toml").write_text(text + "effective_until = 2026-06-30\nlevels = ['x', 'y']\n", "utf-8")
    found = load(tmp_path)["letters"]
    assert [(one.code, one.version, str(one.first), str(one.last)) for one in found.entries] == [
        ("b", "1", "2025-01-01", "2026-02-28"),
        ("b", "2", "2026-03-01", "None"),
        ("a", "1", "2025-01-01", "2026-06-30"),
    ]
    assert found.entries[2].more == {"levels": "x,y"}
    (tmp_path / "others.toml").write_text(text, "utf-8")
    with pytest.raises(ValueError, match="calls itself letters"):
        load(tmp_path)
