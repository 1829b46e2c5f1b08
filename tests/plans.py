"""Holds every statement that a test makes to an index: whatever a table grows to, nothing of it is read through.

The plan that counts is the generic one, as a prepared statement has it. Sequential scans are made so dear that the planner takes one only where no
index serves; an index that is read from end to end, without a condition, is the same thing by another name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import orjson

from kit.unit import Unit

#: Tables that stay small whatever happens: reference data, one row per process or per installation, a person's own settings.
SMALL = {
    "assignment", "centre", "coverage", "division", "department", "duty", "endpoint", "installation", "lease", "leave", "member",
    "partition", "position", "post", "rebuild", "reference", "staff", "triangle", "grid", "dictionary", "county_polygon",
}  # fmt: skip

_checked: set[tuple[str, str]] = set()


@contextmanager
def recorded(into: set[tuple[str, str]]) -> Iterator[None]:
    """Notes (service, statement) of every unit of work."""
    names = ("fetch", "fetchrow", "fetchval", "execute", "executemany")
    originals = {name: getattr(Unit, name) for name in names}

    def noting(name: str) -> Any:
        async def method(self: Unit, sql: str, *args: Any) -> Any:
            into.add((self.runtime.name, sql))
            return await originals[name](self, sql, *args)

        return method

    for name in names:
        setattr(Unit, name, noting(name))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(Unit, name, original)


async def check(statements: set[tuple[str, str]], connect: Any) -> list[str]:
    """What is wrong with the plans of the statements that were not looked at before; `connect(service)` gives a connection."""
    wrong: list[str] = []
    for service in sorted({service for service, _ in statements - _checked}):
        connection = await connect(service)
        try:
            await connection.execute(
                "set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set enable_bitmapscan = on"
            )
            for owner, sql in sorted(statements - _checked):
                if owner == service and re.match(r"\s*(select|insert|update|delete|with)\b", sql, re.IGNORECASE):
                    wrong += [
                        f"{service}: {problem}\n    {' '.join(sql.split())}"
                        for problem in await _problems(connection, sql)
                    ]
                _checked.add((owner, sql))
        finally:
            await connection.close()
    return wrong


async def _problems(connection: asyncpg.Connection, sql: str) -> list[str]:
    await connection.execute(f"prepare looked_at as {sql}")
    try:
        count = await connection.fetchval(
            "select cardinality(parameter_types) from pg_prepared_statements where name = 'looked_at'"
        )
        arguments = f"({', '.join(['null'] * count)})" if count else ""
        plan = await connection.fetchval(f"explain (format json, costs off) execute looked_at{arguments}")
    finally:
        await connection.execute("deallocate looked_at")
    parsed = plan if isinstance(plan, list) else orjson.loads(plan)
    return [problem for node in _nodes(parsed[0]["Plan"]) for problem in _problem(node)]


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _problem(node: dict[str, Any]) -> Iterator[str]:
    table = node.get("Relation Name", "")
    if table in SMALL or not table:
        return
    kind = node["Node Type"]
    if kind == "Seq Scan":
        yield f"no index serves {table}"
    elif kind in ("Index Scan", "Index Only Scan") and "Index Cond" not in node and "Filter" in node:
        yield f"reads {table} through by {node.get('Index Name')}"
