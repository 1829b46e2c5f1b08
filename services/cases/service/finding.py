"""What parties are known and found by: their numbers in the form that is kept, and blind indexes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

import orjson

from kit.errors import InvalidArgument
from kit.identifiers import is_credit_code, is_phone, is_resident_id
from kit.sealing import canonical
from kit.unit import Unit
from services.cases.model import Party
from services.cases.store import cases as store

#: Purpose of the blind indexes of telephones and numbers. The two never look alike, so one purpose does for both.
PARTY_INDEX = "cases.party.search"

#: Parties that are given their keys at a time.
FILLED_AT_ONCE = 500

#: The timer that gives them, one for the service.
FILL, NOBODY = "cases.partyKeys", UUID(int=0)


def phone_form(phone: str, field: str) -> str:
    """A telephone in the form that is kept. InvalidArgument(PHONE_INVALID)."""
    form = canonical(phone)
    if form and not is_phone(form):
        raise InvalidArgument("PHONE_INVALID", field=field)
    return form


def number_form(number: str, field: str) -> str:
    """The same of an identity number or a credit code, whichever it is. InvalidArgument(ID_NUMBER_INVALID)."""
    form = number.upper()
    if form and not (is_resident_id(form) or is_credit_code(form)):
        raise InvalidArgument("ID_NUMBER_INVALID", field=field)
    return form


def party_keys(unit: Unit, identity: Mapping[str, str]) -> Sequence[bytes]:
    """What a party is found by, under the current key."""
    return [unit.index(PARTY_INDEX, value) for value in (identity["phone"], identity["id_number"]) if value]


def add_keys(unit: Unit, case_id: UUID, party_id: UUID, identity: Mapping[str, str]) -> None:
    store.add_party_keys(unit, [(key, case_id, party_id) for key in party_keys(unit, identity)])


async def expect_keys(unit: Unit) -> None:
    """At a start: parties that were registered before there were keys, or by a process that knew of none, are given theirs soon."""
    if await store.parties_without_keys(unit, 1):
        unit.schedule(FILL, NOBODY, at=unit.now)


async def fill_keys(unit: Unit) -> None:
    """Gives the next such parties their keys. Done again it changes nothing, and it goes on where it was."""
    parties = await store.parties_without_keys(unit, FILLED_AT_ONCE)
    for party in parties:
        add_keys(unit, party.case_id, party.id, _identity(unit, party))
    if parties:
        await store.keys_filled_to(unit, parties[-1].id)
    if len(parties) == FILLED_AT_ONCE:
        unit.schedule(FILL, NOBODY, at=unit.now)


def _identity(unit: Unit, party: Party) -> Mapping[str, str]:
    identity: dict[str, str] = orjson.loads(unit.open("cases.party", party.id, party.identity))
    return identity
