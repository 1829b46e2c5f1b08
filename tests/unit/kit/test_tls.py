"""TLS between processes, with real certificates: who is let in, what is refused at start, what a change of the files does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from kit.errors import StartupError
from kit.rpc.client import LOOK_EVERY, ServiceChannel
from kit.rpc.server import Server
from kit.rpc.tls import Certificates, read
from kit.sections import Grpc, Tls
from tests.certificates import Authority
from tests.waiting import until

CHECK = "/grpc.health.v1.Health/Check"


@asynccontextmanager
async def serving(tls: Tls) -> AsyncIterator[str]:
    """The address of a server that says of itself that it serves."""
    server = Server(lambda path, payload: None, [], Grpc(port=0, tls=tls), Certificates.of(tls))
    await server.start()
    await server.ready(True)
    try:
        yield server.address
    finally:
        await server.stop(0)


@asynccontextmanager
async def asking(address: str, tls: Tls) -> AsyncIterator[Callable[[], Any]]:
    """A function that asks the server once; UNAVAILABLE where the two do not trust one another."""
    channel = ServiceChannel(Grpc(tls=tls), "shelf", address, Certificates.of(tls))

    async def ask() -> str:
        try:
            # The empty request asks of the server as a whole; the answer is SERVING.
            answer = await channel.unary_unary(CHECK, bytes, bytes)(b"", timeout=10.0)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name} {error.details()}"
        return "ok" if answer == b"\x08\x01" else repr(answer)

    try:
        yield ask
    finally:
        await channel.close()


async def said(server: Tls, client: Tls) -> str:
    async with serving(server) as address, asking(address, client) as ask:
        return str(await ask())


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


async def test_both_ends_show_a_certificate(ours: Authority) -> None:
    assert await said(ours.tls("server"), ours.tls("client", "client.hetao")) == "ok"


async def test_a_client_without_a_certificate_is_let_in_only_where_none_is_required(ours: Authority) -> None:
    assert (await said(ours.tls("server"), Tls(ca=ours.ca))).startswith("UNAVAILABLE")
    assert await said(ours.tls("server", client="none"), Tls(ca=ours.ca)) == "ok"


async def test_an_end_of_a_foreign_authority_is_refused(ours: Authority, tmp_path: Path) -> None:
    foreign = Authority(tmp_path / "foreign")
    client = foreign.tls("client").model_copy(update={"ca": ours.ca})
    assert (await said(ours.tls("server"), client)).startswith("UNAVAILABLE")
    server = foreign.tls("server").model_copy(update={"ca": ours.ca})
    assert "CERTIFICATE_VERIFY_FAILED" in await said(server, ours.tls("client"))


async def test_a_server_must_bear_the_name_by_which_it_is_called(ours: Authority) -> None:
    assert (await said(ours.tls("server", "other.hetao"), ours.tls("client"))).startswith("UNAVAILABLE")
    client = ours.tls("client", names={"shelf": "other.hetao"})
    assert await said(ours.tls("server", "other.hetao"), client) == "ok"


async def test_neither_end_talks_without_tls_to_one_with_it(ours: Authority) -> None:
    assert (await said(ours.tls("server"), Tls())).startswith("UNAVAILABLE")
    assert (await said(Tls(), ours.tls("client"))).startswith("UNAVAILABLE")


async def test_an_expired_certificate_is_refused_by_the_other_end(
    ours: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, client = ours.tls("server"), ours.tls("client")
    with monkeypatch.context() as blind:  # an end that has not noticed
        blind.setattr("kit.rpc.tls._check_dates", lambda *_: None)
        assert (await said(ours.tls("server", expired=True), client)).startswith("UNAVAILABLE")
        ours.certify("server")
        assert (await said(server, ours.tls("client", expired=True))).startswith("UNAVAILABLE")


async def test_new_certificates_are_in_use_without_a_restart(ours: Authority, tmp_path: Path) -> None:
    """The authority itself is changed, so what is used before and after cannot be mistaken for one another."""
    server, client = ours.tls("server"), ours.tls("client")
    async with serving(server) as address, asking(address, client) as ask:
        assert await ask() == "ok"
        _renew(Authority(tmp_path / "next"), ours.ca, "server", "client")
        async with asking(address, ours.tls("late")) as late:  # certified by the authority that is no more
            assert (await late()).startswith("UNAVAILABLE")
        async with asking(address, client) as fresh:  # read by the server at the handshake
            assert await fresh() == "ok"
        # The one that was there before goes on, and has connected anew by the time that it has looked.
        await until(lambda: _is(ask, "ok"), "it is answered", seconds=10 * LOOK_EVERY)
    async with serving(server) as address, asking(address, client) as ask:
        assert await ask() == "ok"


async def test_a_client_connects_with_its_new_certificate(ours: Authority, tmp_path: Path) -> None:
    client = ours.tls("client")
    async with serving(ours.tls("server")) as address, asking(address, client) as ask:
        assert await ask() == "ok"
        foreign = Authority(tmp_path / "foreign")
        certificate, key = foreign.certify("client")
        assert client.certificate
        assert client.key
        certificate.replace(client.certificate)
        key.replace(client.key)
        await until(lambda: _is(ask, "UNAVAILABLE"), "the new one is shown and refused", seconds=10 * LOOK_EVERY)
        ours.certify("client")
        await until(lambda: _is(ask, "ok"), "the newest is shown", seconds=10 * LOOK_EVERY)


async def _is(ask: Callable[[], Any], wanted: str) -> bool:
    return str(await ask()).startswith(wanted)


def _renew(authority: Authority, old_ca: Path, *ends: str) -> None:
    """The files of ends, written over by those of another authority."""
    for end in ends:
        certificate, key = authority.certify(end)
        key.replace(old_ca.parent / key.name)
        certificate.replace(old_ca.parent / certificate.name)
    authority.ca.replace(old_ca)


def test_files_that_do_not_fit_yet_leave_the_old_ones_in_use(ours: Authority, tmp_path: Path) -> None:
    tls = ours.tls("server")
    certificates = Certificates(tls)
    before = certificates.current()
    assert certificates.current() is before
    certificate, key = Authority(tmp_path / "next").certify("server")
    assert tls.certificate
    assert tls.key
    certificate.replace(tls.certificate)  # and its key is still the old one
    assert certificates.current() is before
    key.replace(tls.key)
    assert certificates.current() == read(tls) != before
    tls.key.unlink()
    assert certificates.current().key is not None


@pytest.mark.parametrize(
    ("spoil", "setting", "what"),
    [
        (lambda a: {"ca": a.ca.with_name("none.pem")}, "CA", "cannot be read"),
        (lambda a: {"certificate": a.ca.with_name("none.pem")}, "CERTIFICATE", "cannot be read"),
        (lambda a: {"key": a.ca.with_name("none.pem")}, "KEY", "cannot be read"),
        (lambda a: {"key": a.certify("other")[1]}, "KEY", "is not the key of"),
        (lambda a: {"key": a.ca}, "KEY", "no private key"),
        (lambda a: {"certificate": a.certify("other")[1]}, "CERTIFICATE", "no certificate"),
        (lambda a: {"key": None}, "KEY", "is not set, though HETAO_GRPC__TLS__CERTIFICATE is"),
        (lambda a: {"certificate": None}, "CERTIFICATE", "is not set, though HETAO_GRPC__TLS__KEY is"),
        (lambda a: {"ca": None}, "CA", "is not set, though HETAO_GRPC__TLS__CERTIFICATE is"),
        (lambda a: {"certificate": a.certify("other", expired=True)[0]}, "CERTIFICATE", "expired at 2020-02-01"),
    ],
)
def test_what_is_wrong_with_the_files_is_one_line_at_start(
    ours: Authority, spoil: Callable[[Authority], dict[str, Any]], setting: str, what: str
) -> None:
    tls = ours.tls("server").model_copy(update=spoil(ours))
    with pytest.raises(StartupError) as caught:
        Certificates.of(tls)
    assert caught.value.en.startswith(f"HETAO_GRPC__TLS__{setting} ")
    assert what in caught.value.en
    assert caught.value.zh.startswith(f"HETAO_GRPC__TLS__{setting} ")


async def test_a_server_without_a_certificate_does_not_start(ours: Authority) -> None:
    tls = Tls(ca=ours.ca)
    server = Server(lambda path, payload: None, [], Grpc(port=0, tls=tls), Certificates.of(tls))
    with pytest.raises(StartupError, match="HETAO_GRPC__TLS__CERTIFICATE"):
        await server.start()
    await server.stop(0)
