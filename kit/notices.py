"""How a service says that somebody should be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from hetao.common.v1 import notice_pb2
from kit.events import Event


@dataclass(frozen=True, slots=True)
class To:
    """A recipient: a post of a department, or an account."""

    department_id: UUID | str | None = None
    post: str = ""
    account: str = ""


def notice(
    template: str,
    *,
    intents: UUID,
    about: str,
    to: Sequence[To],
    variables: Mapping[str, str],
    subject: str,
    division: str,
    key: UUID,
    urgent: bool = False,
) -> Event:
    """The event that somebody should be told, once for `about`: the same intent has the same id however often it is told.

    intents     the service's own namespace of intent ids
    variables   what the template needs: codes, dates and numbers, never names of persons
    subject     the resource's name, which the link is made of ("cases/0190…")
    key         the aggregate whose events it keeps its place among
    """
    message = notice_pb2.NoticeRequested(
        intent_id=str(uuid5(intents, f"{template}:{about}")),
        template=template,
        recipients=[
            notice_pb2.Recipient(department_id=str(one.department_id or ""), post=one.post, account=one.account)
            for one in to
        ],
        variables=[notice_pb2.Variable(name=name, value=value) for name, value in variables.items()],
        urgency=notice_pb2.URGENCY_URGENT if urgent else notice_pb2.URGENCY_NORMAL,
        subject=subject,
        division=division,
    )
    return Event(key, message, division)
