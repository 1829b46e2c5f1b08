"""`hetao migrate`, `hetao audit`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext
from pathlib import Path

import click

from kit.config import load
from kit.errors import StartupError
from services.cli import complain, err, out


@click.command()
def migrate() -> None:
    """建立缺少的角色和模式，应用新的迁移；平台运行时也可执行。

    Makes missing roles and schemas and applies new migrations; also beside a running platform.
    """
    from kit.database import Database
    from kit.migrate import migrate as apply
    from kit.migrate import schemas
    from services.registry import MODULES

    async def work() -> int:
        async with Database.open(load(), attach=True) as database:
            await database.prepare(schemas(database.settings, MODULES))
            return await apply(database, MODULES, lambda schema, name: err.print(f"  {schema}: {name}"))

    count = asyncio.run(work())
    out.print(f"已应用 {count} 个迁移 · {count} migrations applied")


@click.group()
def audit() -> None:
    """审计 · the audit."""


@audit.command()
@click.option("--service", "services", multiple=True, help="只导出这些服务 · these services alone")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="文件，缺省为标准输出 · a file")
def export(services: tuple[str, ...], output: Path | None) -> None:
    """把已封块的审计导出为 JSON 行。

    Exports the sealed audit as JSON lines. Keep the heads that it prints: they prove later that nothing was cut off.
    """
    from kit.audit import export as export_chain
    from kit.audit import verify as verify_file
    from kit.database import Database
    from kit.module import POSTGRES
    from services.registry import MODULES

    known = [m.name for m in MODULES if POSTGRES in m.engines]
    for service in services:
        if service not in known:
            raise StartupError(f"没有服务 {service}", f"there is no service {service}")

    async def work() -> None:
        with output.open("wb") if output else nullcontext(sys.stdout.buffer) as file:
            async with Database.open(load(), attach=True) as database:
                for service in services or known:
                    connection = await database.connect(service)
                    try:
                        async for line in export_chain(connection, service):
                            file.write(line)
                    finally:
                        await connection.close()

    asyncio.run(work())
    if output:
        for head in verify_file(output).heads:
            out.print(str(head), markup=False)


@audit.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--head", "heads", multiple=True, help="以前导出时得到的链头 · a head from an earlier export")
def verify(file: Path, heads: tuple[str, ...]) -> None:
    """离线核验导出的审计：任何一行被改动、删除或换序都会被发现。

    Checks an exported audit, offline: any row changed, removed or reordered is found. Exit status 1 if so.
    """
    from kit.audit import Head
    from kit.audit import verify as verify_file

    try:
        kept = [Head.parse(head) for head in heads]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--head") from error
    report = verify_file(file, kept)
    for finding in report.findings:
        complain(f"{finding.where}：{finding.zh}", f"{finding.where}: {finding.en}")
    if report.more:
        complain(f"另有 {report.more} 处问题", f"{report.more} more findings")
    summary = (report.blocks, report.rows, report.unsealed)
    out.print("{} 个区块，{} 行，另有 {} 行尚未封块".format(*summary))
    out.print("{} blocks, {} rows, {} not sealed yet".format(*summary))
    for head in report.heads:
        out.print(str(head), markup=False)
    if not report.sound:
        raise SystemExit(1)
    out.print("完好 · sound")
