"""What notify hears."""

from __future__ import annotations

from uuid import UUID

from hetao.common.v1 import notice_pb2
from hetao.grid.v1 import events_pb2 as grid
from hetao.grid.v1 import types_pb2 as grid_types
from kit.errors import InvalidArgument
from kit.events import Handler, hears, projects
from kit.proto import moment, text_of
from kit.unit import Unit
from services.notify.model import NORMAL, URGENT
from services.notify.service import Notify, PartyAddress, Recipient
from services.notify.store import messages as store
from services.notify.store.messages import Heard

#: What a notice may call a post.
POSTS = {text_of(grid_types.PostKind, number) for number in grid_types.PostKind.values() if number}


def handlers(service: Notify) -> list[Handler]:
    @hears(notice_pb2.NoticeRequested)
    async def tell(unit: Unit, event: notice_pb2.NoticeRequested) -> None:
        heard = Heard(
            id=_id(event.intent_id, "intent_id"),
            template=event.template,
            variables={variable.name: variable.value for variable in event.variables},
            subject=event.subject,
            division=event.division,
            urgency=URGENT if event.urgency == notice_pb2.URGENCY_URGENT else NORMAL,
            expires_at=moment(event.expires_at) if event.HasField("expires_at") else None,
            requested_at=unit.envelope.time if unit.envelope else unit.now,
            restricted=event.restricted,
        )
        await service.tell(unit, heard, [_recipient(recipient) for recipient in event.recipients])

    return [tell, keep_department, keep_post, keep_staff]


@projects(grid.DepartmentChanged)
async def keep_department(unit: Unit, event: grid.DepartmentChanged) -> None:
    parent = UUID(event.parent_id) if event.parent_id else None
    row = (UUID(event.department_id), event.epoch, event.version, event.division, parent, event.active)
    await store.keep_department(unit, row)


@projects(grid.PostChanged)
async def keep_post(unit: Unit, event: grid.PostChanged) -> None:
    kind = text_of(grid_types.PostKind, event.kind)
    duties = [[duty.from_date, duty.until_date, duty.account] for duty in event.duties]
    key = (UUID(event.post_id), event.epoch, event.version, UUID(event.department_id))
    people = sorted({event.holder, *(duty.account for duty in event.duties)} - {""})
    await store.keep_post(unit, (*key, kind, event.holder, duties, people, event.active))


@projects(grid.StaffChanged)
async def keep_staff(unit: Unit, event: grid.StaffChanged) -> None:
    absences = [[absence.from_date, absence.until_date, absence.substitute] for absence in event.absences]
    key = (UUID(event.staff_id), event.epoch, event.version, event.account)
    await store.keep_staff(unit, (*key, UUID(event.department_id), absences, event.active))


def _recipient(recipient: notice_pb2.Recipient) -> Recipient:
    """A post of a department, an account, or a party of a case; anything else tells nobody and is refused."""
    if recipient.department_id and recipient.post in POSTS:
        return Recipient(_id(recipient.department_id, "recipients.department_id"), recipient.post, "")
    if recipient.account and not recipient.department_id:
        return Recipient(None, "", recipient.account)
    if recipient.HasField("party") and not recipient.department_id:
        return Recipient(None, "", "", _party(recipient.party))
    raise InvalidArgument("RECIPIENT_INVALID", field="recipients")


def _party(party: notice_pb2.PartyAddress) -> PartyAddress:
    case_id, party_id, centre = (
        _id(getattr(party, name), f"recipients.party.{name}") for name in ("case_id", "party_id", "centre_id")
    )
    return PartyAddress(case_id, party_id, party.role, centre)


def _id(text: str, field: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidArgument("RECIPIENT_INVALID", field=field) from None
