"""Signatures of what is sent to others and of what they report, as https://www.standardwebhooks.com says."""

from __future__ import annotations

import base64
import hashlib
import hmac


def sign(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """`v1,` and the HMAC-SHA-256 in base64 over "id.timestamp.body"; `secret`: "whsec_" and the key in base64."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def secret_of(key: bytes) -> str:
    """A key as a secret is written."""
    return "whsec_" + base64.b64encode(key).decode()
