"""`hetao keys`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kit.config import load
from kit.errors import StartupError
from services.cli import err, out, table

if TYPE_CHECKING:
    from kit.sealing import Suite


@click.group()
def keys() -> None:
    """密钥 · the keys that seal personal data."""


@keys.command("list")
def list_() -> None:
    """列出密钥的编号、套件与时间，当前密钥在前；密钥本身不显示 · lists the keys, the current one first, without showing them."""
    from kit.sealing import Keys

    found = Keys.load(load().key_file).listed
    rows = [
        (str(number), suite, created, "" if nth else "当前 · current")
        for nth, (number, suite, created) in enumerate(found)
    ]
    table(("编号 · number", "套件 · suite", "时间 · made", ""), rows)


@keys.command()
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--suite", type=click.Choice(["aes", "sm"]), default="aes", help="套件 · ciphers")
def create(path: Path, suite: Suite) -> None:
    """在 PATH 生成密钥文件；生产模式由 HETAO_KEYS__FILE 指明，各进程共用同一份。

    Makes a key file at PATH. In production HETAO_KEYS__FILE names it, and every process has the same one.
    """
    from kit.clock import Clock
    from kit.sealing import Keys

    if path.exists():
        raise StartupError(
            f"{path} 已存在，不覆盖密钥文件", f"{path} is there already, and key files are not overwritten"
        )
    Keys.open_or_create(path, Clock().now(), data_exists=False, suite=suite)
    out.print(f"已生成 {path}；请立即备份，丢失后已存的个人信息无法解开", markup=False)
    out.print(f"{path} is made: back it up now; without it nobody opens what it has sealed", markup=False)


@keys.command()
@click.option("--suite", type=click.Choice(["aes", "sm"]), help="套件，缺省不变 · ciphers; the same if unset")
def rotate(suite: Suite | None) -> None:
    """在密钥文件中增加一把新密钥，此后用它加密；旧密钥保留。

    Adds a key to the key file, with which everything is sealed from now on. The old ones stay, for what they have sealed.
    """
    from kit.clock import Clock
    from kit.sealing import Keys

    settings = load()
    number, made, _ = Keys.rotate(settings.key_file, Clock().now(), suite=suite).listed[0]
    out.print(
        f"新密钥 {number}（{made}）已写入 {settings.key_file}；请备份该文件，重启各进程，再运行 hetao keys reencrypt",
        markup=False,
    )
    out.print(
        f"key {number} ({made}) is in {settings.key_file}: back the file up, restart every process, then hetao keys reencrypt",
        markup=False,
    )


@keys.command()
def reencrypt() -> None:
    """用当前密钥重新加密全部已存的值；平台可同时运行，中断后再次运行即可。

    Seals all stored values anew under the current key. The platform may run meanwhile; after an interruption run it again.
    """
    from kit.database import Database
    from kit.reseal import reseal, waiting
    from kit.sealing import Keys, SealError
    from services.registry import MODULES

    settings = load()
    ring = Keys.load(settings.key_file)

    async def work() -> tuple[int, int]:
        done = left = 0
        async with Database.open(settings, attach=True) as database:
            for module in MODULES:
                if not module.sealed:
                    continue
                connection = await database.connect(module.name, application_name=f"hetao reencrypt {module.name}")
                try:
                    kept = await connection.fetchval("select keyring from installation")
                    if kept != ring.fingerprint:
                        raise StartupError(
                            f"密钥文件 {settings.key_file} 与服务 {module.name} 的数据不符",
                            f"the key file {settings.key_file} is not the one that the data of {module.name} were sealed with",
                        )
                    done += await reseal(connection, ring, module.sealed)
                    left += await waiting(connection, ring, module.sealed)
                except SealError as error:
                    raise StartupError(
                        f"{module.name} 中有无法解开的值（{error}）：密钥文件中缺少其密钥，或数据已被改动",
                        f"a value of {module.name} cannot be opened ({error}): its key is not in the key file, or it was changed",
                    ) from None
                finally:
                    await connection.close()
                err.print(f"  {module.name}", markup=False)
        return done, left

    done, left = asyncio.run(work())
    out.print(f"已重新加密 {done} 个值 · {done} values sealed anew")
    if left:
        out.print(
            f"尚有 {left} 个：仍有进程在用旧密钥，请重启后再次运行 · {left} are left: a process still seals with the old key; restart it and run this again"
        )
        raise SystemExit(1)
