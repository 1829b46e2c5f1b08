"""How a message leaves the platform: one function per provider, from a message to an outcome. No database, no clock.

A new channel (voice, another chat) is a `Channel` in the table that `module.py` builds.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, Protocol

import httpx
import orjson

from kit.egress import AddressForbidden
from kit.signing import sign
from services.notify.model import Outcome, Outgoing

#: Seconds for one call, connecting included.
CALL_TIMEOUT: Final = 10.0

#: More of an answer than this is not read.
_LARGEST_ANSWER: Final = 64 * 1024

#: The request certainly did not go out.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


class Channel(Protocol):
    async def send(self, client: httpx.AsyncClient, message: Outgoing) -> Outcome:
        """Sends once, and tells what came of it; raises nothing but cancellation."""
        ...


class Webhook:
    """A signed POST (https://www.standardwebhooks.com). The receiver knows a repeat by `webhook-id`, so a lost answer is simply tried again."""

    async def send(self, client: httpx.AsyncClient, message: Outgoing) -> Outcome:
        body = orjson.dumps(
            {
                "type": "hetao.notice",
                "timestamp": message.at.isoformat(),
                "data": {
                    "deliveryId": str(message.id),
                    "intentId": str(message.intent),
                    "template": message.template,
                    "title": {"zh": message.title.zh, "en": message.title.en},
                    "text": {"zh": message.text.zh, "en": message.text.en},
                    "subject": message.subject,
                    "link": message.link,
                    "urgency": message.urgency,
                    "division": message.division,
                    "possibleRepeat": message.possible_repeat,
                },
            }
        )
        return await _post_signed(client, message, body, Outcome.DELIVERED)


class SmsGate:
    """A provider of text messages, by a signed POST. A 2xx says that it has taken the message; it reports later by the RPC RecordSmsReceipt.

    It knows a repeat by `messageId`, so a lost answer is simply tried again. A provider that speaks otherwise is a class beside this one.
    """

    async def send(self, client: httpx.AsyncClient, message: Outgoing) -> Outcome:
        body = orjson.dumps(
            {
                "messageId": str(message.id),
                "to": message.phone,
                "text": f"{message.title.zh}：{message.text.zh}",
                "receiptUrl": message.receipt_url,
            }
        )
        return await _post_signed(client, message, body, Outcome.SENT)


async def _post_signed(client: httpx.AsyncClient, message: Outgoing, body: bytes, taken: str) -> Outcome:
    """`taken`: what a 2xx means. The receiver knows a repeat by the message's id, so a lost answer is a mere failure."""
    stamp = str(int(message.at.timestamp()))
    headers = {
        "content-type": "application/json",
        "webhook-id": str(message.id),
        "webhook-timestamp": stamp,
        "webhook-signature": sign(message.secret, str(message.id), stamp, body),
    }
    try:
        async with client.stream("POST", message.url, content=body, headers=headers) as answer:
            status = answer.status_code
            patience = _patience(answer.headers.get("retry-after", ""))
    except AddressForbidden:
        return Outcome(Outcome.REFUSED, "ADDRESS_FORBIDDEN")
    except _NOT_SENT as error:
        return Outcome(Outcome.FAILED, _name_of(error))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Outcome(Outcome.FAILED, _name_of(error), may_have_arrived=True)
    if 200 <= status < 300:
        return Outcome(taken)
    reason = f"HTTP_{status}"
    if status in (408, 425, 429) or status >= 500:
        return Outcome(Outcome.FAILED, reason, patience, may_have_arrived=status >= 500)
    return Outcome(Outcome.REFUSED, reason)


#: What a robot of WeCom says in `errcode` with HTTP 200; other codes are taken as passing faults and end with the retries.
_WECOM_REFUSED: Final = {
    40008,  # message type not valid
    40058,  # parameter not valid
    44004,  # content empty
    45002,  # content too long
    93000,  # webhook address not valid, or the robot was removed from the group
    93004,  # robot was disabled
    93008,  # robot is not in the group
}
_WECOM_TOO_OFTEN: Final = {45009, 45033}  # 20 messages a minute and robot; calls at the same time

#: One robot may send 20 messages a minute.
_WECOM_WINDOW: Final = timedelta(seconds=60)


class WecomRobot:
    """A group robot of WeCom (企业微信群机器人). It has no message id, so a lost answer leaves the outcome unknown.

    https://developer.work.weixin.qq.com/document/path/91770
    """

    async def send(self, client: httpx.AsyncClient, message: Outgoing) -> Outcome:
        lines = [message.title.zh, message.text.zh, *(["（可能重复，以平台为准）"] if message.possible_repeat else [])]
        body = {"msgtype": "text", "text": {"content": "\n".join(lines)}}
        try:
            async with client.stream("POST", message.url, json=body) as answer:
                status = answer.status_code
                data = await _read(answer)
        except AddressForbidden:
            return Outcome(Outcome.REFUSED, "ADDRESS_FORBIDDEN")
        except _NOT_SENT as error:
            return Outcome(Outcome.FAILED, _name_of(error))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Outcome(Outcome.UNKNOWN, _name_of(error))
        if status == 429:
            return Outcome(Outcome.FAILED, "HTTP_429", _WECOM_WINDOW)
        if 400 <= status < 500:
            return Outcome(Outcome.REFUSED, f"HTTP_{status}")
        if status != 200:
            return Outcome(Outcome.UNKNOWN, f"HTTP_{status}")
        return self._by_code(data)

    def _by_code(self, data: bytes) -> Outcome:
        """HTTP 200 says nothing: the body does."""
        try:
            code = orjson.loads(data)["errcode"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return Outcome(Outcome.UNKNOWN, "ANSWER_UNREADABLE")
        if code == 0:
            return Outcome(Outcome.DELIVERED)
        reason = f"WECOM_{code}" if isinstance(code, int) else "ANSWER_UNREADABLE"
        if code in _WECOM_REFUSED:
            return Outcome(Outcome.REFUSED, reason)
        return Outcome(Outcome.FAILED, reason, _WECOM_WINDOW if code in _WECOM_TOO_OFTEN else timedelta())


async def _read(answer: httpx.Response) -> bytes:
    data = b""
    async for part in answer.aiter_bytes():
        data += part
        if len(data) > _LARGEST_ANSWER:
            break
    return data


def _patience(retry_after: str) -> timedelta:
    """Seconds that the other side asks for, an hour at most."""
    return (
        timedelta(seconds=min(int(retry_after), 3600))
        if retry_after.isascii() and retry_after.isdigit()
        else timedelta()
    )


def _name_of(error: Exception) -> str:
    """ConnectTimeout → CONNECT_TIMEOUT; never the error's text, which holds the address."""
    name = type(error).__name__
    return "".join(f"_{c}" if c.isupper() and i else c for i, c in enumerate(name)).upper()
