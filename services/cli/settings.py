"""`hetao config`, `hetao token`."""

from __future__ import annotations

import click

from kit.config import Settings, describe, load
from kit.errors import NotFound, StartupError
from services.cli import table


@click.command()
@click.option("--changed", is_flag=True, help="只列出非缺省的设置 · only what is not the default")
def config(changed: bool) -> None:
    """每项设置：变量、值、来源、说明；密钥不显示。

    Every setting: variable, value, source, meaning. Secrets are masked.
    """
    settings = [s for s in describe(load()) if not changed or s.source != "default"]
    table(
        ("变量 · variable", "值 · value", "来源 · source", "说明 · meaning"),
        [(s.variable, s.value, s.source, f"{s.zh} · {s.en}") for s in settings],
    )


@click.command()
@click.argument("account")
def token(account: str) -> None:
    """打印演示账号 ACCOUNT 的访问令牌，例如 grid-worker、dispatcher-2。

    Prints an access token of the demo account ACCOUNT.
    """
    click.echo(demo_token(load(), account))


def demo_token(settings: Settings, account: str) -> str:
    """Raises `StartupError` where there is no demo issuer or no such account."""
    from kit.clock import Clock
    from kit.config import DATA
    from kit.issuer import DemoIssuer

    if settings.profile == "production" or settings.identity.issuer is not None:
        raise StartupError(
            "演示账号只在内嵌模式中可用，令牌由 HETAO_IDENTITY__ISSUER 签发",
            "demo accounts exist in embedded mode alone; tokens come from HETAO_IDENTITY__ISSUER",
        )
    issuer = DemoIssuer.running(settings, Clock(), DATA / "demo" / "accounts.toml")
    try:
        return issuer.mint(account)
    except NotFound:
        known = ", ".join(entry["account"] for entry in issuer.accounts)
        raise StartupError(
            f"没有演示账号 {account}；现有：{known}", f"there is no demo account {account}; there are: {known}"
        ) from None
