"""Somebody is told once for what it is about."""

from uuid import UUID

from hetao.common.v1 import notice_pb2
from kit.notices import To, notice

CASE, INTENTS = UUID(int=7), UUID("4b1d3f0c-7d0b-5c39-9a53-0d8f6c9a7e21")


def told(about: str, **more: bool) -> notice_pb2.NoticeRequested:
    event = notice(
        "cases.task-due",
        intents=INTENTS,
        about=about,
        to=[To(UUID(int=1), "head"), To(account="grid-worker")],
        variables={"code": "150826-260302-000017-5"},
        subject=f"cases/{CASE}",
        division="150826",
        key=CASE,
        **more,
    )
    assert (event.key, event.division) == (CASE, "150826")
    assert isinstance(event.message, notice_pb2.NoticeRequested)
    return event.message


def test_an_intent_has_one_id_however_often_it_is_told_and_in_every_version() -> None:
    assert told("a:1") == told("a:1")
    assert told("a:1").intent_id == "19a626d1-c489-524c-9487-70be837107ac"
    assert told("a:1").intent_id != told("a:2").intent_id


def test_posts_and_accounts_are_told() -> None:
    post, account = told("a").recipients
    assert (post.department_id, post.post, post.account) == (str(UUID(int=1)), "head", "")
    assert (account.department_id, account.post, account.account) == ("", "", "grid-worker")
    assert told("a").urgency == notice_pb2.URGENCY_NORMAL
    assert told("a", urgent=True).urgency == notice_pb2.URGENCY_URGENT
