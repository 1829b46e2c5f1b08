"""Tokens that the platform signs itself, while its keyring changes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from kit.clock import VirtualClock
from kit.config import load
from kit.errors import Unauthenticated
from kit.own_tokens import SERVICE_PERMISSIONS, SERVICES, SYSTEMS, OwnIssuer, ServiceToken
from kit.register import Register, System
from kit.sealing import Keys
from kit.verifier import Verifier
from tests.unit.kit.issuers import ROLES, START, Issuer

HOTLINE = System("system-12345", ("hotline",), ("1508",), None, True)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


def verifier(clock: VirtualClock, keys: Keys, register: Register | None = None) -> Verifier:
    return Verifier.of(load(), ROLES, clock, Issuer(), keys=keys, register=register)


async def test_a_process_may_ask_the_register_and_no_more(clock: VirtualClock) -> None:
    keys = Keys.passing()
    mine = ServiceToken("cases", keys, clock, "hetao")
    principal = await verifier(clock, keys).verify(mine())
    assert (principal.account, principal.permissions) == ("service:cases", SERVICE_PERMISSIONS)
    assert (principal.roles, principal.divisions, principal.system) == ((), (), False)
    first = mine()
    clock.move(timedelta(seconds=61))
    assert mine() != first, "it is made anew long before it ends"
    clock.move(timedelta(minutes=2))
    with pytest.raises(Unauthenticated):
        await verifier(clock, keys).verify(first)


async def test_neither_kind_passes_for_the_other(clock: VirtualClock) -> None:
    keys, register = Keys.passing(), Register()
    register.change([HOTLINE], [], whole=False, now=0)
    checks = verifier(clock, keys, register)
    system = OwnIssuer(SYSTEMS, keys, clock, "hetao").mint("system-12345", 10, roles=["admin"], divisions=["15"])
    principal = await checks.verify(system)
    assert (principal.account, principal.roles, principal.divisions) == ("system-12345", ("hotline",), ("1508",))
    forged = OwnIssuer(SYSTEMS, keys, clock, "hetao")
    forged.name = SERVICES
    with pytest.raises(Unauthenticated) as refused:
        await checks.verify(forged.mint("service:cases", 10))
    assert refused.value.params["why"] == "signature"
    with pytest.raises(Unauthenticated) as refused:
        await checks.verify(OwnIssuer(SYSTEMS, keys, clock, "hetao").mint("system-other", 10))
    assert refused.value.reason == "SYSTEM_UNKNOWN"


async def test_processes_with_and_without_the_new_key_believe_one_another(clock: VirtualClock, tmp_path: Path) -> None:
    path = tmp_path / "keyring.json"
    rings = [Keys.open_or_create(path, START, data_exists=False), *(Keys.rotate(path, START) for _ in range(3))]
    for older, newer in ((0, 1), (1, 2), (2, 3)):
        for signs, checks in ((older, newer), (newer, older)):
            token = ServiceToken("cases", rings[signs], clock, "hetao")()
            assert (await verifier(clock, rings[checks]).verify(token)).account == "service:cases"
    with pytest.raises(Unauthenticated):  # three changes ago
        await verifier(clock, rings[3]).verify(ServiceToken("cases", rings[0], clock, "hetao")())
