"""Departments, posts, staff, absences and the duty roster."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from uuid import UUID

from kit.errors import NotFound
from kit.table import Table
from kit.unit import Unit
from services.grid.model.directory import Department, Duty, Holding, Leave, Post, Staff
from services.grid.store.scope import after, within

DEPARTMENTS = Table("department", Department, visible=lambda unit, row: within(unit, row.division))
POSTS = Table("post", Post, visible=lambda unit, row: within(unit, row.division))
HOLDINGS = Table("holding", Holding)
DUTIES = Table("duty", Duty)
STAFF = Table("staff", Staff, visible=lambda unit, row: within(unit, row.division))
LEAVES = Table("leave", Leave)


async def claim(unit: Unit, what: str) -> None:
    """Makes everybody else who claims the same wait for our commit: nothing is created twice under one natural key."""
    await unit.execute("select pg_advisory_xact_lock(hashtextextended($1, 0))", what)


# -- departments ------------------------------------------------------------------------------------------------------


async def department_by_code(unit: Unit, code: str) -> Department | None:
    """Whoever asks: work is routed across divisions."""
    row = await unit.fetchrow(f"select {DEPARTMENTS.columns} from department where code = $1", code)
    return None if row is None else DEPARTMENTS.load(unit, row)


async def department_by_id(unit: Unit, department_id: UUID) -> Department | None:
    """Whoever asks: work is routed across divisions."""
    row = await unit.fetchrow(f"select {DEPARTMENTS.columns} from department where id = $1", department_id)
    return None if row is None else DEPARTMENTS.load(unit, row)


async def departments_named(unit: Unit, ids: Sequence[str]) -> Sequence[Department]:
    """Those of a token's departments that are ours: another issuer may name them as it likes."""
    return await DEPARTMENTS.list(unit, "id::text = any($1) order by id", list(ids))


async def departments(unit: Unit, division: str, kind: str, after_code: str, limit: int) -> Sequence[Department]:
    return await DEPARTMENTS.list(
        unit,
        "code >= $1 and code < $2 and code > $3 and ($4 = '' or kind = $4) order by code limit $5",
        division,
        after(division),
        after_code,
        kind,
        limit,
    )


async def missing_departments(unit: Unit, codes: Sequence[str]) -> set[str]:
    rows = await unit.fetch(
        "select code from unnest($1::text[]) as c (code) where not exists (select from department d where d.code = c.code)",
        codes,
    )
    return {row["code"] for row in rows}


# -- posts ------------------------------------------------------------------------------------------------------------


async def posts_of(unit: Unit, department_id: UUID, kind: str, after_id: UUID, limit: int) -> Sequence[Post]:
    where = "department_id = $1 and id > $2 and ($3 = '' or kind = $3) order by id limit $4"
    return await POSTS.list(unit, where, department_id, after_id, kind, limit)


async def posts_in(unit: Unit, division: str, kind: str, after_key: tuple[str, UUID], limit: int) -> Sequence[Post]:
    return await POSTS.list(
        unit,
        "division >= $1 and division < $2 and (division, id) > ($3, $4) and ($5 = '' or kind = $5) "
        "order by division, id limit $6",
        division,
        after(division),
        *after_key,
        kind,
        limit,
    )


async def posts_held(unit: Unit, account: str) -> Sequence[Post]:
    return await POSTS.list(unit, "holder = $1 and holder <> '' order by id limit 100", account)


async def posts_on_duty(unit: Unit, account: str, departments: Sequence[UUID], today: date) -> Sequence[Post]:
    """Posts of these departments in which the account is on duty today."""
    where = (
        "active and id in (select post_id from duty where department_id = any($2) and account = $1 and from_date <= $3 and until_date >= $3) "
        "order by id limit 100"
    )
    return await POSTS.list(unit, where, account, list(departments), today)


async def present_holding(unit: Unit, post_id: UUID) -> Holding | None:
    rows = await HOLDINGS.list(unit, "post_id = $1 order by from_date desc, id desc limit 1", post_id)
    return rows[0] if rows and rows[0].until_date is None else None


async def holdings(unit: Unit, post_id: UUID, before: tuple[date, UUID], limit: int) -> Sequence[Holding]:
    where = "post_id = $1 and (from_date, id) < ($2, $3) order by from_date desc, id desc limit $4"
    return await HOLDINGS.list(unit, where, post_id, *before, limit)


async def coming_duties(unit: Unit, post_id: UUID, today: date) -> Sequence[Duty]:
    return await DUTIES.list(unit, "post_id = $1 and until_date >= $2 order by from_date, id limit 400", post_id, today)


async def duties_of(unit: Unit, post_ids: Sequence[UUID], today: date) -> Sequence[Duty]:
    """Entries of these posts that are not over."""
    where = "post_id = any($1) and until_date >= $2 order by from_date, id"
    return await DUTIES.list(unit, where, list(post_ids), today)


async def duty(unit: Unit, post_id: UUID, duty_id: UUID) -> Duty:
    found = await DUTIES.find(unit, "id = $1 and post_id = $2", duty_id, post_id)
    if found is None:
        raise NotFound("NOT_FOUND", resource="duty")
    return found


async def forget_duty(unit: Unit, duty_id: UUID) -> None:
    await unit.execute("delete from duty where id = $1", duty_id)


async def duties(
    unit: Unit,
    department_id: UUID,
    first: date,
    last: date,
    longest: timedelta,
    after_key: tuple[date, UUID],
    limit: int,
) -> Sequence[Duty]:
    """Entries that touch the days first to last. `longest`: what they may span beyond their first day, which bounds the look back."""
    return await DUTIES.list(
        unit,
        "department_id = $1 and from_date >= $2 and from_date <= $3 and until_date >= $4 "
        "and (from_date, id) > ($5, $6) order by from_date, id limit $7",
        department_id,
        max(first, date.min + longest) - longest,
        last,
        first,
        *after_key,
        limit,
    )


# -- staff ------------------------------------------------------------------------------------------------------------


async def staff(unit: Unit, account: str) -> Staff:
    found = await STAFF.find(unit, "account = $1", account)
    if found is None:
        raise NotFound("NOT_FOUND", resource="staff")
    return found


async def any_staff(unit: Unit, account: str) -> Staff | None:
    """Whoever asks."""
    row = await unit.fetchrow(f"select {STAFF.columns} from staff where account = $1", account)
    return None if row is None else STAFF.load(unit, row)


async def staff_of(unit: Unit, department_id: UUID, after_account: str, limit: int) -> Sequence[Staff]:
    where = "department_id = $1 and account > $2 order by account limit $3"
    return await STAFF.list(unit, where, department_id, after_account, limit)


async def staff_in(unit: Unit, division: str, after_key: tuple[str, str], limit: int) -> Sequence[Staff]:
    return await STAFF.list(
        unit,
        "division >= $1 and division < $2 and (division, account) > ($3, $4) order by division, account limit $5",
        division,
        after(division),
        *after_key,
        limit,
    )


async def titles(unit: Unit, accounts: Sequence[str]) -> dict[str, tuple[str, str]]:
    """What people are called at work, in Chinese and English, by account."""
    rows = await unit.fetch("select account, title, title_en from staff where account = any($1)", accounts)
    return {row["account"]: (row["title"], row["title_en"]) for row in rows}


async def leave(unit: Unit, account: str, leave_id: UUID) -> Leave:
    found = await LEAVES.find(unit, "id = $1 and account = $2", leave_id, account)
    if found is None:
        raise NotFound("NOT_FOUND", resource="leave")
    return found


async def coming_leaves(unit: Unit, account: str, today: date) -> Sequence[Leave]:
    """Absences that are not over."""
    where = "account = $1 and until_date >= $2 and until_date >= from_date order by from_date, id"
    return await LEAVES.list(unit, where, account, today)


async def leaves_of(unit: Unit, accounts: Sequence[str], today: date) -> Sequence[Leave]:
    """Absences of these accounts that are not over."""
    where = "account = any($1) and until_date >= $2 and until_date >= from_date order by from_date, id"
    return await LEAVES.list(unit, where, list(accounts), today)


async def leaves(unit: Unit, account: str, before: tuple[date, UUID], limit: int) -> Sequence[Leave]:
    where = "account = $1 and (from_date, id) < ($2, $3) order by from_date desc, id desc limit $4"
    return await LEAVES.list(unit, where, account, *before, limit)
