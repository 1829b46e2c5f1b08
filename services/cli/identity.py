"""`hetao identity`."""

from __future__ import annotations

import asyncio
import sys

import click

from kit.config import DATA, load
from services.cli import out


@click.group()
def identity() -> None:
    """身份 · identity."""


@identity.command()
def explain() -> None:
    """从标准输入读取令牌，说明它成为何人、各项声明如何映射、是否接受。

    Reads a token from standard input and says who it makes somebody, what each claim became, and whether it is accepted. The keys are asked of
    its issuer; the register of outside systems and revoked sessions is not.
    """
    from kit.claims import ClaimMapping
    from kit.clock import Clock
    from kit.explained import explain as explained
    from kit.identity import Roles
    from kit.issuer import DemoIssuer
    from kit.texts import Texts
    from kit.verifier import Verifier

    settings, clock = load(), Clock()
    roles, chosen = Roles.load(DATA / "roles.toml"), settings.identity
    demo = None
    if chosen.issuer is None and settings.profile == "embedded":
        demo = DemoIssuer.running(settings, clock, DATA / "demo" / "accounts.toml")
    verifier = Verifier.of(settings, roles, clock, demo)
    mapping = {chosen.issuer or (demo.name if demo else ""): ClaimMapping.of(chosen, roles)}
    mapping |= {one.issuer: ClaimMapping.of(one, roles, one.account_prefix) for one in chosen.others}
    text = sys.stdin.read(64 * 1024).strip().removeprefix("Bearer ").strip()
    notes, accepted = asyncio.run(explained(verifier, mapping, Texts.load(DATA / "texts"), text))
    for zh, en in notes:
        out.print(zh if zh == en else f"{zh}\n  {en}", markup=False)
    if not accepted:
        raise SystemExit(1)
