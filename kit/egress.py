"""Calls to addresses that people typed in: they must not become a way into what this process can reach and they cannot.

Any public address may be called. Private ones, this machine's own and those of a cloud's metadata service may not, unless they lie in one of the
networks that the settings name; link-local and metadata addresses never. A name is resolved when the call is made, each address is checked, and
the connection goes to the address that was checked.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import httpx
from opentelemetry.trace import SpanKind

from kit import metrics, telemetry

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LOOPBACK: Final[tuple[Network, ...]] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

CALLS = metrics.Histogram("http.client.request.duration", "s", "calls to what lies outside the platform")

#: Where clouds tell a machine its secrets, beside the link-local addresses.
_METADATA: Final = (ip_address("100.100.100.200"), ip_address("192.0.0.192"), ip_address("fd00:ec2::254"))

#: IPv4 addresses as a gateway shows them to an IPv6 network (RFC 6052).
_NAT64: Final = ip_network("64:ff9b::/96")


class AddressForbidden(httpx.ConnectError):
    """The name stands for nothing that may be called. Nothing was sent."""


class Egress:
    """`networks`: private ones that may be called all the same. `service`: whose calls these are, for telemetry."""

    def __init__(self, networks: Iterable[Network] = (), *, service: str = "hetao") -> None:
        self._networks, self.service = tuple(networks), service

    def permits(self, address: Address) -> bool:
        address = _inner(address)
        if address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA:
            return False
        public = address.is_global and not address.is_reserved
        return public or any(address in network for network in self._networks)

    def may_name(self, host: str) -> bool:
        """Whether a host may stand in an address. What other names than this machine's stand for is seen at the call."""
        address = literal(host)
        if address is None and host.rstrip(".").lower().rpartition(".")[2] == "localhost":
            address = ip_address("127.0.0.1")
        return address is None or self.permits(address)

    def client(self, timeout: float) -> httpx.AsyncClient:
        """A client for such calls. It follows no redirects, since they could lead a message anywhere, and uses no proxy of the environment.

        `timeout`: seconds for each step of a call.
        """
        # No connection is kept: it would be known by its address, and another name may stand for the same one.
        limits = httpx.Limits(max_keepalive_connections=0)
        transport = _Checked(self, httpx.AsyncHTTPTransport(limits=limits, trust_env=False), timeout)
        return httpx.AsyncClient(transport=transport, timeout=timeout, follow_redirects=False, trust_env=False)


class _Checked(httpx.AsyncBaseTransport):
    def __init__(self, egress: Egress, inner: httpx.AsyncBaseTransport, timeout: float) -> None:
        self._egress, self._inner, self._timeout = egress, inner, timeout

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Noted without the address's path and query, which hold keys; the receiver is told the trace (W3C trace context)."""
        host = request.url.host
        labels: dict[str, str | int] = {"http.request.method": request.method}
        told = {
            **labels,
            "server.address": host,
            "server.port": request.url.port or (80 if request.url.scheme == "http" else 443),
            "url.scheme": request.url.scheme,
        }
        started = time.perf_counter()
        with telemetry.span(self._egress.service, request.method, SpanKind.CLIENT, "", told) as span:
            request.headers["traceparent"] = span.traceparent
            try:
                answer = await self._called(request, host)
            except BaseException as error:
                labels["error.type"] = type(error).__name__
                raise
            else:
                labels["http.response.status_code"] = answer.status_code
                span.set("http.response.status_code", answer.status_code)
                if answer.status_code >= 400:
                    labels["error.type"] = str(answer.status_code)
                    span.failed(str(answer.status_code))
                return answer
            finally:
                CALLS.record(time.perf_counter() - started, labels)

    async def _called(self, request: httpx.Request, host: str) -> httpx.Response:
        addresses = [one for one in await self._resolve(host) if self._egress.permits(one)]
        if not addresses:
            raise AddressForbidden("no address that may be called", request=request)
        for address in addresses[:-1]:
            try:
                return await self._inner.handle_async_request(_to(request, host, address))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                pass  # the next one may be reached
        return await self._inner.handle_async_request(_to(request, host, addresses[-1]))

    async def _resolve(self, host: str) -> list[Address]:
        if address := literal(host):
            return [address]
        try:
            async with asyncio.timeout(self._timeout):
                found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise httpx.ConnectTimeout("the name was not resolved in time") from None
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError("the name cannot be resolved") from error
        return list(dict.fromkeys(ip_address(str(one[4][0]).partition("%")[0]) for one in found))

    async def aclose(self) -> None:
        await self._inner.aclose()


def _to(request: httpx.Request, host: str, address: Address) -> httpx.Request:
    """The request, to be sent to an address; the host's name stays in its header, and is what the certificate must show."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=str(address)),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )


def literal(host: str) -> Address | None:
    """The address that a host is, also in the old ways of writing one ("127.1", "2130706433", "0x7f000001"); None for a name."""
    try:
        return ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None) or address
