"""A web server with a certificate, that answers given paths with JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import trustme


@contextlib.asynccontextmanager
async def serving(certificate: trustme.LeafCert, documents: Mapping[str, Any]) -> AsyncIterator[str]:
    """Its address, https://127.0.0.1:port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            document = documents.get(head.split()[1].decode())
            body = json.dumps(document).encode()
            status = b"200 OK" if document is not None else b"404 Not Found"
            length = str(len(body)).encode()
            writer.write(
                b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: " + length + b"\r\n\r\n" + body
            )
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
