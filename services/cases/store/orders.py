"""Orders of other systems, and the order in which they changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from kit.unit import Unit
from services.cases.model import CaseFile
from services.cases.store.cases import CASES

#: A repeat waits here for the first to commit, and then finds it.
CLAIM = """
insert into external_order (id, source_system, external_id, content, seq, changed_at) values ($1, $2, $3, $4, 0, $5)
on conflict (source_system, external_id) where external_id <> '' do nothing
returning id
"""

#: Whoever changes an order of a system takes the system's next number and holds its row until the commit: so numbers follow commits, and a reader
#: that has seen one has seen all before it.
CHANGED = """
with next as (
    insert into order_feed as f (source_system, seq) values ($2, 1) on conflict (source_system) do update set seq = f.seq + 1
    returning seq
)
update external_order set seq = next.seq, changed_at = $3 from next where id = $1
"""


@dataclass(frozen=True, slots=True)
class Change:
    """A case as it is now, and when the system that brought it had news of it last. `seq`: the place of that among the system's news."""

    case: CaseFile
    seq: int
    changed_at: datetime


async def claim(unit: Unit, case_id: UUID, system: str, external_id: str, content: bytes) -> bool:
    """Whether the order is new, and is that of this case from now on."""
    return await unit.fetchval(CLAIM, case_id, system, external_id, content, unit.now) is not None


async def first(unit: Unit, system: str, external_id: str) -> tuple[UUID, bytes]:
    """The case that an order became, and what was brought then, sealed."""
    row = await unit.fetchrow(
        "select id, content from external_order where source_system = $1 and external_id = $2 and external_id <> ''",
        system,
        external_id,
    )
    assert row is not None
    return row["id"], row["content"]


async def changed(unit: Unit, case_id: UUID, system: str) -> None:
    """There is news of an order for the system that brought it."""
    await unit.execute(CHANGED, case_id, system, unit.now)


async def changes(unit: Unit, system: str, after: int, limit: int) -> list[Change]:
    """A system's own orders whose news come after a place, the oldest first."""
    rows: list[Any] = await unit.peek(
        f"select o.seq, o.changed_at, {CASES.columns} from ("
        "select id as order_id, seq, changed_at from external_order where source_system = $1 and seq > $2 order by seq limit $3"
        ") as o join case_file on case_file.id = o.order_id order by o.seq limit $3",
        system,
        after,
        limit,
    )
    return [Change(CaseFile(*tuple(row)[2:]), row[0], row[1]) for row in rows]
