"""Principals, and the demo issuer."""

from types import SimpleNamespace

import pytest

from kit.clock import VirtualClock
from kit.config import load
from kit.errors import NotFound, StartupError
from kit.identity import Principal
from kit.issuer import DemoIssuer
from kit.verifier import Verifier
from tests.unit.kit.issuers import ROLES, START


@pytest.fixture
def clock():
    return VirtualClock(START)


def test_the_system_may_everything_within_its_root():
    system = Principal.system_of("1508")
    assert system.may("cases.cases.accept")
    assert system.covers("150826108")
    assert not system.covers("1509")
    assert not Principal.anonymous().may("cases.cases.get")
    assert not Principal.anonymous().covers("1508")


@pytest.fixture
def settings(tmp_path):
    return load(data_dir=tmp_path, http={"port": 8080}, identity={"token_minutes": 60})


@pytest.fixture
def accounts(tmp_path):
    path = tmp_path / "accounts.toml"
    path.write_text('[[accounts]]\naccount = "clerk-1"\nroles = ["clerk"]\ndepartment = "d1"\ndivisions = ["150802"]\n')
    return path


async def test_a_demo_account_may_work_in_several_departments_its_own_first(settings, accounts, clock):
    accounts.write_text(accounts.read_text() + 'others = ["d2"]\n')
    demo = DemoIssuer.open(settings, clock, accounts)
    assert (await Verifier.of(settings, ROLES, clock, demo).verify(demo.mint("clerk-1"))).departments == ("d1", "d2")


async def test_the_demo_issuer_makes_tokens_that_are_taken(settings, accounts, clock):
    demo = DemoIssuer.open(settings, clock, accounts)
    checks = Verifier.of(settings, ROLES, clock, demo)
    for issuer in (demo, DemoIssuer.running(settings, clock, accounts), DemoIssuer.open(settings, clock, accounts)):
        principal = await checks.verify(issuer.mint("clerk-1"))
        assert (principal.account, principal.department, principal.divisions) == ("clerk-1", "d1", ("150802",))
    assert (settings.data_dir / "keys" / "issuer.json").stat().st_mode & 0o777 == 0o600
    assert "d" not in demo.public_keys["keys"][0]
    with pytest.raises(NotFound):
        demo.mint("nobody")


def test_a_command_takes_the_address_of_the_running_platform(settings, accounts, clock):
    with pytest.raises(StartupError):
        DemoIssuer.running(settings, clock, accounts)
    DemoIssuer.open(settings, clock, accounts)
    moved = SimpleNamespace(data_dir=settings.data_dir, public_url="http://127.0.0.1:9999", identity=settings.identity)
    assert DemoIssuer.running(moved, clock, accounts).name == "http://127.0.0.1:8080/issuer"


def test_without_an_issuer_there_is_nobody_to_trust(settings, clock):
    with pytest.raises(StartupError):
        Verifier.of(settings, ROLES, clock)


def test_an_issuer_is_trusted_once(clock, tmp_path):
    other = {"issuer": "https://id.example.cn", "account_prefix": "court:"}
    identity = {"issuer": "https://id.example.cn", "others": [other]}
    with pytest.raises(StartupError):
        Verifier.of(load(data_dir=tmp_path, identity=identity), ROLES, clock)
