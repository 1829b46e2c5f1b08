"""A provider of text messages for demos and tests, in the embedded profile alone: it sends nothing, and reports as a real one would.

    POST {public}/sms-emulator/messages   a signed message → 202; the signed receipt follows by the RPC that a real provider calls at receiptUrl
    GET  {public}/sms-emulator/messages   the last hundred, numbers masked: what would lie on people's phones

The number's last digit says what becomes of it: 0 fails, 9 is unknown, 8 is never reported, any other is delivered. A message that comes again is the
same one; its receipt is sent again, as providers do. Kept in memory: a restart forgets.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from grpc.aio import AioRpcError

from hetao.notify.v1 import sms_pb2
from kit.clock import Clock
from kit.masking import mask_phone
from kit.proto import number_of
from kit.signing import sign

log = logging.getLogger(__name__)

#: What becomes of a message, by the last digit of its number; delivered by default, "" for none reported.
OUTCOMES: Final = {"0": ("FAILED", "ABSENT"), "9": ("UNKNOWN", ""), "8": ("", "")}

#: Seconds until it reports.
REPORTS_AFTER: Final = 0.5

#: Messages that are kept to be looked at.
KEPT: Final = 100


#: A stub's method, or whatever else takes a receipt.
Reported = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Kept:
    message_id: str
    phone: str
    text: str
    status: str


class SmsEmulator:
    """`secret`: shared with who sends. `reported`: takes a receipt. `after`: seconds until it reports."""

    def __init__(self, secret: str, clock: Clock, reported: Reported, *, after: float = REPORTS_AFTER) -> None:
        self._secret, self._clock, self._reported, self._after = secret, clock, reported, after
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._reporting: set[asyncio.Task[None]] = set()

    def router(self) -> APIRouter:
        """To be mounted under /sms-emulator."""
        routes = APIRouter(include_in_schema=False)

        @routes.post("/messages")
        async def take(request: Request) -> JSONResponse:
            return self.take(dict(request.headers), await request.body())

        @routes.get("/messages")
        async def show() -> dict[str, Any]:
            shown = [
                {"messageId": one.message_id, "to": mask_phone(one.phone), "text": one.text, "status": one.status}
                for one in reversed(self._kept.values())
            ]
            return {"messages": shown}

        return routes

    def take(self, headers: dict[str, str], body: bytes) -> JSONResponse:
        message_id = headers.get("webhook-id", "")
        expected = sign(self._secret, message_id, headers.get("webhook-timestamp", ""), body)
        if not hmac.compare_digest(expected.encode(), headers.get("webhook-signature", "").encode()):
            return JSONResponse({"error": "signature"}, 401)
        told = orjson.loads(body)
        status, reason = OUTCOMES.get(told["to"][-1:], ("DELIVERED", ""))
        self._kept[message_id] = Kept(message_id, told["to"], told["text"], status)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        if status:
            report = asyncio.create_task(self._report(message_id, status, reason))
            self._reporting.add(report)
            report.add_done_callback(self._reporting.discard)
        return JSONResponse({"accepted": True}, 202)

    async def _report(self, message_id: str, status: str, reason: str) -> None:
        await asyncio.sleep(self._after)
        receipt_id, stamp = f"r-{message_id}", str(int(self._clock.now().timestamp()))
        receipt = sms_pb2.RecordSmsReceiptRequest(
            receipt_id=receipt_id,
            delivery_id=message_id,
            status=number_of(sms_pb2.SmsStatus, status.lower()),
            reason=reason,
            timestamp=stamp,
            signature=sign(self._secret, receipt_id, stamp, f"{message_id}:{status}:{reason}".encode()),
        )
        try:
            await self._reported(receipt)
        except AioRpcError as error:
            log.warning("a receipt was not taken: %s", error.code().name)
