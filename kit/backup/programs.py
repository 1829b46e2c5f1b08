"""PostgreSQL's own programs, run as a service's role: pg_dump and pg_restore."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from uuid import UUID

from kit.database import Database
from kit.errors import StartupError
from kit.postgres_programs import Programs, find_programs


def programs_for(database: Database, server: int, least: str = "") -> Programs:
    """Those that understand a server of this major version, its own if they are here; `least`: the version that wrote the dump."""
    wanted = max(server, int(least.split(".")[0]) if least else 0)
    found = [one for one in find_programs(database.settings.database.binaries) if (one.folder / "pg_dump").exists()]
    fitting = sorted((one for one in found if one.major >= wanted), key=lambda one: one.major)
    if not fitting:
        raise StartupError(
            f"需要 PostgreSQL {wanted} 或更高版本的 pg_dump 与 pg_restore：请安装 postgresql-client",
            f"pg_dump and pg_restore of PostgreSQL {wanted} or later are needed: install postgresql-client",
        )
    return fitting[0]


async def dump(programs: Programs, database: Database, schema: str, snapshot: str, file: Path) -> None:
    """A schema as of an exported snapshot, in pg_dump's own format, which is compressed."""
    options = ["--format=custom", f"--schema={schema}", f"--snapshot={snapshot}", f"--file={file}", "--no-privileges"]
    await _run(programs.folder / "pg_dump", database.address(schema), options)


async def load(programs: Programs, database: Database, schema: str, file: Path) -> None:
    """All of it or nothing. What it makes belongs to the role that this deployment has for the service."""
    options = [
        "--single-transaction",
        "--exit-on-error",
        "--no-owner",
        "--no-privileges",
        f"--schema={schema}",
        str(file),
    ]
    await _run(programs.folder / "pg_restore", database.address(schema), options)


async def _run(program: Path, address: dict[str, Any], options: list[str]) -> None:
    url, environment = reachable(address)
    running = await asyncio.create_subprocess_exec(
        program,
        f"--dbname={url}",
        "--no-password",
        *options,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PGAPPNAME": f"hetao {program.name}", **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await running.communicate()
    except BaseException:
        running.kill()
        await running.wait()
        raise
    if running.returncode:
        lines = said.decode(errors="replace").strip().splitlines() or ["?"]
        raise StartupError(f"{program.name} 失败：{lines[0]}", f"{program.name} failed: {lines[0]}")


def reachable(address: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Arguments of `asyncpg.connect` as libpq's programs take them: an address without a password, which others could see, and the
    password in the environment."""
    parts = urlsplit(address["dsn"])
    user = address.get("user") or unquote(parts.username or "")
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{quote(user, safe='')}@{host}" if user else host
    password = address.get("password") or unquote(parts.password or "")
    url = urlunsplit(parts._replace(scheme="postgresql", netloc=netloc))
    return url, {"PGPASSWORD": password} if password else {}


async def event_ids_in(programs: Programs, file: Path, schema: str) -> set[UUID]:
    """The events that wait in the outbox of a dump."""
    options = ["--data-only", f"--schema={schema}", "--table=outbox", "--file=-", str(file)]
    running = await asyncio.create_subprocess_exec(
        programs.folder / "pg_restore",
        *options,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=8 * 1024 * 1024,  # a row is a line, and holds an event
    )
    assert running.stdout is not None
    found, column = set[UUID](), -1
    try:
        async for line in running.stdout:
            if line.startswith(b"COPY "):
                columns = line[line.index(b"(") + 1 : line.index(b")")].decode().split(", ")
                column = columns.index("event_id")
            elif line.startswith(b"\\."):
                column = -1
            elif column >= 0:
                found.add(UUID(line.split(b"\t")[column].decode()))
        await running.wait()
    except BaseException:
        running.kill()
        await running.wait()
        raise
    if running.returncode:
        raise StartupError(f"无法读取备份中的 {schema}", f"cannot read {schema} in the backup")
    return found
