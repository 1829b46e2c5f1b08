"""The figures: a read model made from CaseChanged alone, with sums kept by division and day, so that asking costs the same with a million cases.

A case counts in three divisions: its township (where known), its county, its city. Its cohort is the day of its first acceptance.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date
from operator import attrgetter
from uuid import UUID

import asyncpg

from kit.unit import Unit


@dataclass(frozen=True, slots=True)
class Fact:
    """What the figures need to know of a case, as it last said."""

    case_id: UUID
    epoch: int
    version: int
    kind: str
    category: str
    county: str
    township: str
    accepted_on: date | None
    concluded_on: date | None
    resolved_on: date | None
    reopened: bool
    overdue: bool


_columns = attrgetter(*(field.name for field in fields(Fact)))

#: The facts that are newer, and what they change in the sums: the old facts taken out, the new ones put in. The advisory lock keeps consumers
#: of several partitions from locking the same sums in different orders.
KEEP = """
with said as (
    select case_id, epoch, version, kind, category, county, township, accepted_on, concluded_on, resolved_on, reopened, overdue
    from unnest(
        $1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::date[], $9::date[], $10::date[],
        $11::boolean[], $12::boolean[]
    ) as s (case_id, epoch, version, kind, category, county, township, accepted_on, concluded_on, resolved_on, reopened, overdue)
), old as (
    select f.case_id, f.kind, f.category, f.county, f.township, f.accepted_on, f.concluded_on, f.resolved_on, f.reopened, f.overdue
    from said s join case_fact f on f.case_id = s.case_id
), kept as (
    insert into case_fact as f (
        case_id, epoch, version, kind, category, county, township, accepted_on, concluded_on, resolved_on, reopened, overdue
    )
    select case_id, epoch, version, kind, category, county, township, accepted_on, concluded_on, resolved_on, reopened, overdue from said
    on conflict (case_id) do update set
        epoch = excluded.epoch, version = excluded.version, kind = excluded.kind, category = excluded.category,
        county = excluded.county, township = excluded.township, accepted_on = excluded.accepted_on,
        concluded_on = excluded.concluded_on, resolved_on = excluded.resolved_on, reopened = excluded.reopened,
        overdue = excluded.overdue
    where (f.epoch, f.version) < (excluded.epoch, excluded.version)
    returning case_id
), fact as (
    select 1 as sign, kind, category, county, township, accepted_on, concluded_on, resolved_on, reopened, overdue
    from said join kept using (case_id)
    union all
    select -1, kind, category, county, township, accepted_on, concluded_on, resolved_on, reopened, overdue
    from old join kept using (case_id)
), cell as (
    select place.division, part.day, kind, category, sum(part.accepted) as accepted, sum(part.resolved) as resolved,
        sum(part.concluded) as concluded, sum(part.reopened) as reopened, sum(part.overdue) as overdue,
        sum(part.resolved_that_day) as resolved_that_day, sum(part.concluded_that_day) as concluded_that_day
    from fact
    cross join lateral (values (left(county, 4)), (county), (township)) as place (division)
    cross join lateral (values
        (accepted_on, sign, sign * (resolved_on is not null)::int, sign * (concluded_on is not null)::int,
            sign * reopened::int, sign * overdue::int, 0, 0),
        (resolved_on, 0, 0, 0, 0, 0, sign, 0),
        (concluded_on, 0, 0, 0, 0, 0, 0, sign)
    ) as part (day, accepted, resolved, concluded, reopened, overdue, resolved_that_day, concluded_that_day)
    where place.division <> '' and part.day is not null and accepted_on is not null
    group by place.division, part.day, kind, category
), changed as (
    select division, day, kind, category, accepted, resolved, concluded, reopened, overdue, resolved_that_day, concluded_that_day
    from cell, (select pg_advisory_xact_lock(hashtext('figure'))) as one_at_a_time
    where (accepted, resolved, concluded, reopened, overdue, resolved_that_day, concluded_that_day) <> (0, 0, 0, 0, 0, 0, 0)
)
insert into figure as f (
    division, day, kind, category, accepted, resolved, concluded, reopened, overdue, resolved_that_day, concluded_that_day
)
select division, day, kind, category, accepted, resolved, concluded, reopened, overdue, resolved_that_day, concluded_that_day
from changed order by division, day, kind, category
on conflict (division, day, kind, category) do update set
    accepted = f.accepted + excluded.accepted, resolved = f.resolved + excluded.resolved,
    concluded = f.concluded + excluded.concluded, reopened = f.reopened + excluded.reopened,
    overdue = f.overdue + excluded.overdue, resolved_that_day = f.resolved_that_day + excluded.resolved_that_day,
    concluded_that_day = f.concluded_that_day + excluded.concluded_that_day
"""

SUMS = """
select kind, category, sum(accepted) as accepted, sum(resolved) as resolved, sum(concluded) as concluded, sum(reopened) as reopened,
    sum(overdue) as overdue, sum(resolved_that_day) as resolved_in_period, sum(concluded_that_day) as concluded_in_period
from figure where division = $1 and day between $2 and $3 group by kind, category order by kind, category
"""


def keep(unit: Unit, fact: Fact) -> None:
    """Takes a case's newest word into the sums; older or repeated words change nothing."""
    unit.keep_newest(KEEP, fact.case_id, (fact.epoch, fact.version), _columns(fact))


async def sums(unit: Unit, division: str, first: date, last: date) -> list[asyncpg.Record]:
    """The sums of a division for the days of `first` to `last`, by kind and category."""
    return await unit.fetch(SUMS, division, first, last)
