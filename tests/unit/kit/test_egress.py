"""Calls to addresses that people typed in reach nothing that they cannot."""

import asyncio
import socket
from ipaddress import ip_address, ip_network

import httpx
import pytest

from kit.egress import LOOPBACK, AddressForbidden, Egress

FORBIDDEN = [
    *("127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::"),
    *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fc00::1"),
    *("169.254.169.254", "fe80::1", "100.100.100.200", "192.0.0.192", "fd00:ec2::254"),
    *("::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::7f00:1", "224.0.0.1", "240.0.0.1"),
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_what_is_not_public_may_not_be_called(address: str):
    assert not Egress().permits(ip_address(address))
    assert not Egress().may_name(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "223.5.5.5", "2400:3200::1", "64:ff9b::808:808"])
def test_what_is_public_may(address: str):
    assert Egress().permits(ip_address(address))


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "a.localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]"]
)
def test_this_machine_by_any_of_its_names_may_not_be_called(host: str):
    assert not Egress().may_name(host)
    assert Egress(LOOPBACK).may_name(host)


def test_a_network_that_is_named_may_be_called_but_no_metadata_in_it():
    egress = Egress([ip_network("10.1.0.0/16"), ip_network("100.64.0.0/10"), ip_network("169.254.0.0/16")])
    assert egress.permits(ip_address("10.1.2.3"))
    assert not egress.permits(ip_address("10.2.0.1"))
    assert not egress.permits(ip_address("100.100.100.200"))
    assert not egress.permits(ip_address("169.254.169.254"))
    assert egress.may_name("hooks.example.cn")


class Receiver:
    """Answers every call, and keeps what it was asked."""

    def __init__(self, answer: str) -> None:
        self._answer, self.asked, self.port = answer, [], 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(self._answer.encode())
        await writer.drain()
        writer.close()


NO_CONTENT = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


def names(monkeypatch, **known):
    """Names that stand for addresses, as a name server says that somebody else controls."""

    async def getaddrinfo(host, port, **_):
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in known[host]]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def test_a_name_is_looked_up_at_the_call_and_its_address_checked(monkeypatch):
    async with Receiver(NO_CONTENT) as receiver:
        names(monkeypatch, inside=["127.0.0.1"], both=["10.0.0.1", "127.0.0.1"])
        url = f"http://{{}}:{receiver.port}/hook"
        async with Egress().client(5.0) as client:
            for host in ("inside", "127.0.0.1"):
                with pytest.raises(AddressForbidden):
                    await client.post(url.format(host), content=b"x")
            with pytest.raises(httpx.ConnectError):
                await client.post(url.format("nowhere"), content=b"x")
        assert receiver.asked == []
        async with Egress(LOOPBACK).client(5.0) as client:
            for host in ("inside", "both"):
                assert (await client.post(url.format(host), content=b"x")).status_code == 204
        assert [
            f"Host: {host}:{receiver.port}" in asked
            for host, asked in zip(("inside", "both"), receiver.asked, strict=True)
        ] == [True, True]


async def test_the_next_address_is_tried_where_one_cannot_be_reached(monkeypatch):
    async with Receiver(NO_CONTENT) as receiver:
        names(monkeypatch, host=["127.0.0.2", "127.0.0.1"])
        async with Egress(LOOPBACK).client(5.0) as client:
            answer = await client.post(f"http://host:{receiver.port}/", content=b"x")
        assert answer.status_code == 204


async def test_no_redirect_is_followed():
    async with (
        Receiver(
            "HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ) as receiver,
        Egress(LOOPBACK).client(5.0) as client,
    ):
        assert (await client.post(f"http://127.0.0.1:{receiver.port}/", content=b"x")).status_code == 302


async def test_the_certificate_must_show_the_name_and_not_the_address(monkeypatch):
    names(monkeypatch, host=["127.0.0.1"])
    seen = []

    class Inner(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            seen.append((request.url.host, request.headers["host"], request.extensions["sni_hostname"]))
            return httpx.Response(204)

    async with Egress(LOOPBACK).client(5.0) as client:
        client._transport._inner = Inner()
        await client.post("https://host/hook", json={})
    assert seen == [("127.0.0.1", "host", "host")]
