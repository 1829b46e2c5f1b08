"""The parties of a case: how they are kept, told apart by their PINs, and found again in other cases."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from uuid import UUID

import orjson

from kit.errors import InvalidArgument
from kit.identifiers import is_credit_code, is_resident_id
from kit.sealing import canonical
from kit.unit import Unit
from services.cases.model import Party, check_room
from services.cases.service.chain import Chain
from services.cases.service.finding import add_keys, phone_form
from services.cases.service.newcase import NewParty


class Parties:
    def __init__(self, chain: Chain):
        self.chain = chain

    def rows(
        self, unit: Unit, case_id: UUID, new: Sequence[NewParty], present: Sequence[Party]
    ) -> tuple[list[Party], list[str]]:
        """Rows and PINs. Each PIN differs from the others of the case, since it tells the parties apart."""
        check_room(len(present), len(new), self.chain.words.parameters(unit.today).most_parties)
        taken = {party.pin for party in present}
        numbers = {self.given(unit, party).id_number for party in present} - {""}
        parties: list[Party] = []
        pins: list[str] = []
        for one in new:
            identity = self._checked(one)
            if identity["id_number"] and identity["id_number"] in numbers:
                raise InvalidArgument("PARTY_TWICE", field=f"{one.field}.id_number")
            numbers |= {identity["id_number"]} - {""}
            pin, digest = self._pin(unit, case_id, taken)
            taken.add(digest)
            party_id = unit.new_id(len(present) + len(parties))
            sealed = unit.seal("cases.party", party_id, orjson.dumps(identity).decode())
            add_keys(unit, case_id, party_id, identity)
            parties.append(Party(party_id, case_id, one.role, one.type, sealed, digest))
            pins.append(pin)
        return parties, pins

    def _checked(self, one: NewParty) -> dict[str, str]:
        """Name, number and telephone in the form that is kept; InvalidArgument where they are wrong."""
        number = one.id_number.upper()
        if number and not (is_resident_id(number) if one.type == "natural_person" else is_credit_code(number)):
            raise InvalidArgument("ID_NUMBER_INVALID", field=f"{one.field}.id_number")
        phone = phone_form(one.phone, f"{one.field}.phone")
        return {"name": one.name.strip(), "id_number": number, "phone": phone}

    def given(self, unit: Unit, party: Party) -> NewParty:
        identity = orjson.loads(unit.open("cases.party", party.id, party.identity))
        return NewParty(party.role, party.type, identity["name"], identity["id_number"], identity["phone"], "")

    def _pin(self, unit: Unit, case_id: UUID, taken: set[bytes]) -> tuple[str, bytes]:
        while True:
            pin = f"{secrets.randbelow(1_000_000):06d}"
            digest = unit.index("cases.pin", pin_text(case_id, pin))
            if digest not in taken:
                return pin, digest

    def pairs(self, unit: Unit, parties: Sequence[NewParty]) -> list[Sequence[bytes]]:
        """Blind indexes of every two parties, the same whichever comes first: by their names, and by their numbers where both have one. Each under every
        key of the keyring, the current one first."""
        keys: list[Sequence[bytes]] = []
        for n, one in enumerate(parties):
            for other in parties[n + 1 :]:
                keys.append(_pair(unit, one.name, other.name))
                if one.id_number and other.id_number:
                    keys.append(_pair(unit, one.id_number, other.id_number))
        return keys


def _pair(unit: Unit, one: str, other: str) -> Sequence[bytes]:
    first, second = sorted((canonical(one), canonical(other)))
    return unit.runtime.keys.indexes("cases.pair", f"{len(first)}x{first}x{second}")


def pin_text(case_id: UUID, pin: str) -> str:
    """What a PIN's keyed hash is made of; it is bound to its case.

    A million possible PINs are tried in a moment whatever one hash costs, so a slow hash would protect nobody and make the look-up an easy
    target. What protects them: the key, which does not lie in the database, and the look-up's lock after a few tries.
    """
    return f"{case_id}x{pin}"
