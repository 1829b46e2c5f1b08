"""Orders of other systems: what they are here, told apart by their own numbers, and what their systems learn of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import orjson

from kit.errors import AlreadyExists, InvalidArgument, PermissionDenied
from kit.paging import Page
from kit.unit import Unit
from services.cases.service.chain import Chain
from services.cases.service.newcase import NewCase
from services.cases.store import orders as store
from services.cases.store.orders import Change


@dataclass(frozen=True, slots=True)
class Order:
    """What another system says of an order beside the matter itself. All empty: somebody of ours brings the matter."""

    system: str = ""
    external_id: str = ""
    category: str = ""

    def __bool__(self) -> bool:
        return bool(self.system or self.external_id or self.category)


class Orders:
    def __init__(self, chain: Chain):
        self.chain = chain

    def placed(self, unit: Unit, new: NewCase, order: Order, way: str) -> tuple[NewCase, Order]:
        """The matter and the order as they are to be registered. `way`: what the caller says of the source, or "".

        A system brings its own orders, by its own way. PermissionDenied(ORDER_NOT_OWN) for what people, or another system, say to be its; (SOURCE_NOT_OWN)
        for a way that is not its own.
        """
        caller = unit.principal
        if not caller.outside:
            if order:
                raise PermissionDenied("ORDER_NOT_OWN", field="source_system" if order.system else "external_id")
            return new, order
        if order.system not in ("", caller.account):
            raise PermissionDenied("ORDER_NOT_OWN", field="source_system")
        own = self.chain.words.sources.way(caller.account)
        if way not in ("", own):
            raise PermissionDenied("SOURCE_NOT_OWN", field="source", source=own)
        new = replace(new, source=own)
        if order.category:
            word = self.chain.words.sources.mapped(
                caller.account, order.category, unit.today, field="external_category"
            )
            said = new.classification
            new = replace(
                new,
                kind=new.kind or word.kind,
                classification=replace(said, category=said.category or word.category),
            )
        return new, replace(order, system=caller.account)

    async def claim(self, unit: Unit, case_id: UUID, order: Order, brought: Mapping[str, Any]) -> UUID:
        """The case that the order is: this one, or the one that it became before. AlreadyExists(ORDER_DIFFERS) names what differs from then."""
        content = orjson.dumps(brought, option=orjson.OPT_SORT_KEYS).decode()
        sealed = unit.seal("cases.order", case_id, content)
        if await store.claim(unit, case_id, order.system, order.external_id, sealed):
            return case_id
        first, before = await store.first(unit, order.system, order.external_id)
        then = orjson.loads(unit.open("cases.order", first, before))
        now = orjson.loads(content)
        if differing := sorted(name for name in {*then, *now} if then.get(name) != now.get(name)):
            raise AlreadyExists("ORDER_DIFFERS", field="external_id", differing=", ".join(differing))
        return first

    async def changes(self, unit: Unit, request: Any) -> tuple[Sequence[Change], str, bool]:
        """News of the caller's own orders, the place after them, and whether there are more at once."""
        if not unit.principal.outside:  # whoever else may ask has no orders
            return [], "", False
        page = Page.of(unit, request)
        (after,) = page.after or (0,)
        found = await store.changes(unit, unit.principal.account, after, page.limit)
        rows, token = page.cut(found, key=lambda one: (one.seq,))
        return rows, token or page.place((rows[-1].seq if rows else after,)), bool(token)


def brought(new: NewCase, order: Order) -> Mapping[str, Any]:
    """What an order says, by the names of the request's fields: a repeat says the same."""
    said = new.classification
    return {
        "kind": new.kind,
        "division": new.division,
        "title": new.title,
        "description": new.description,
        "place": new.place,
        "occurred_at": new.occurred_at.isoformat() if new.occurred_at else "",
        "media_ids": list(new.media_ids),
        "parties": [[one.role, one.type, one.name, one.id_number, one.phone] for one in new.parties],
        "classification": [said.category, said.scale, said.risk, said.complexity, said.restricted],
        "external_category": order.category,
    }


def missing_kind(new: NewCase) -> None:
    """InvalidArgument(KIND_MISSING) where neither the request nor the mapping says what kind of matter it is."""
    if not new.kind:
        raise InvalidArgument("KIND_MISSING", field="kind")
