"""Keeping personal data: sealed values, blind indexes for look-up, keyed digests.

One keyring per installation, a file beside the data (embedded) or a mounted secret. Each of its keys is a master from which
a key per field, per index purpose and for digests is derived (HKDF), so no two uses share one and 2^32 random nonces are
never near. A key has a *suite*: `aes` (AES-256-GCM, SHA-256) or `sm` (SM4-GCM, SM3). The last key is the current one: it
seals; the others still open. To change keys or suite, `rotate` and let the values be sealed anew (`stale` tells which).

A sealed value: suite (1 byte), key number (2), nonce (12), ciphertext and tag (16). It opens only for the field and the owner
that it was sealed for, so a value copied into another row or column is worthless.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import re
import time
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, Protocol, cast
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kit.errors import StartupError
from kit.secretfile import create_secret, read_secret, write_secret

Suite = Literal["aes", "sm"]

_SUITE_BYTE: Final[dict[Suite, int]] = {"aes": 1, "sm": 2}
_NONCE, _TAG, _HEAD = 12, 16, 3
#: All but letters, digits and "+".
_SEPARATORS = re.compile(r"[^\w+]|_")
_COUNTRY_BEGINS = ("+", "0", "8")
_COUNTRY = re.compile(r"^(?:\+|00)86(?=\d)|^86(?=1[3-9]\d{9}$)")


log = logging.getLogger(__name__)

#: Seconds between two looks into the key file for a key that is missing: values with made-up keys come from outside too.
LOOK_AGAIN: Final = 1.0


class SealError(Exception):
    """A sealed value that was changed, moved to another row or field, or whose key is not in the keyring."""


class _Aead(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes: ...
    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes: ...


class _Sm4Gcm:
    """SM4-GCM (GB/T 32907) in the shape of `AESGCM`: 128-bit key, tag after the ciphertext."""

    def __init__(self, key: bytes) -> None:
        self._key = SM4(key)

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        encryptor = Cipher(self._key, GCM(nonce)).encryptor()
        encryptor.authenticate_additional_data(associated_data)
        return encryptor.update(data) + encryptor.finalize() + encryptor.tag

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        decryptor = Cipher(self._key, GCM(nonce, data[-_TAG:])).decryptor()
        decryptor.authenticate_additional_data(associated_data)
        return decryptor.update(data[:-_TAG]) + decryptor.finalize()


@dataclass(slots=True)
class _Key:
    number: int
    suite: Suite
    secret: bytes
    created: str
    ciphers: dict[str, _Aead] = field(default_factory=dict)
    macs: dict[tuple[str, str], HMAC] = field(default_factory=dict)

    @property
    def head(self) -> bytes:
        return bytes((_SUITE_BYTE[self.suite],)) + self.number.to_bytes(2)

    def cipher(self, name: str) -> _Aead:
        cipher = self.ciphers.get(name)
        if cipher is None:
            made: _Aead = (
                AESGCM(self.derive("seal", name, 32)) if self.suite == "aes" else _Sm4Gcm(self.derive("seal", name, 16))
            )
            cipher = self.ciphers.setdefault(name, made)
        return cipher

    def mac(self, use: str, name: str, data: bytes) -> bytes:
        prepared = self.macs.get((use, name))
        if prepared is None:
            prepared = self.macs.setdefault((use, name), HMAC(self.derive(use, name, 32), self.hash))
        made = prepared.copy()  # the key is taken in once: that costs more than a short text
        made.update(data)
        return made.finalize()

    @property
    def hash(self) -> hashes.HashAlgorithm:
        return hashes.SHA256() if self.suite == "aes" else hashes.SM3()

    def derive(self, use: str, name: str, length: int) -> bytes:
        return HKDF(self.hash, length, salt=None, info=f"hetao/{use}/{name}".encode()).derive(self.secret)


class Keys:
    """The installation's keyring. Cheap to call: a few microseconds for a seal, an opening or an index."""

    def __init__(self, keys: Iterable[_Key], path: Path | None = None) -> None:
        """`path`: where to look when a key is missing that another process has begun to use."""
        self._path, self._looked_at = path, 0.0
        self._take(keys)

    def _take(self, keys: Iterable[_Key]) -> None:
        self._keys = {key.number: key for key in keys}
        self._newest = [self._keys[number] for number in sorted(self._keys, reverse=True)]
        self._current = self._newest[0]

    @classmethod
    def load(cls, path: Path) -> Keys:
        """The keyring of `path`. Raises `StartupError` when it is missing, open to every user, or no keyring."""
        return cls(_parse(path, read_secret(path)), path)

    @classmethod
    def open_or_create(cls, path: Path, now: datetime, *, data_exists: bool, suite: Suite = "aes") -> Keys:
        """For embedded mode: makes the keyring at the first start, and never afterwards.

        Data without its key stays closed: a new key would only hide the loss until somebody needs a phone number.
        """
        if not path.exists():
            if data_exists:
                raise StartupError(
                    f"数据目录已有数据，但缺少密钥文件 {path}；请从备份中恢复该文件",
                    f"there is data but its key file {path} is missing: restore it from the backup",
                )
            create_secret(path, _dump([_fresh(1, suite, now)]))
        return cls.load(path)

    @classmethod
    def rotate(cls, path: Path, now: datetime, *, suite: Suite | None = None) -> Keys:
        """Adds a key and makes it the current one. Running processes go on with the keys that they have, until they are restarted or meet a value
        under the new one: then they read the file again."""
        keys = _parse(path, read_secret(path))
        newest = max(keys, key=lambda key: key.number)
        keys.append(_fresh(newest.number + 1, suite or newest.suite, now))
        write_secret(path, _dump(keys))
        return cls.load(path)

    @classmethod
    def passing(cls, suite: Suite = "aes") -> Keys:
        """A keyring in memory alone, for what does not outlive the process."""
        return cls([_Key(1, suite, os.urandom(32), "")])

    @property
    def _oldest(self) -> _Key:
        return self._keys[min(self._keys)]

    @property
    def fingerprint(self) -> str:
        """Names the oldest key without giving it away: kept with the data, it tells a wrong keyring from the right one."""
        return f"{self._oldest.number}:{self._oldest.mac('fingerprint', '', b'')[:8].hex()}"

    def seal(self, name: str, owner: UUID | str, text: str) -> bytes:
        """Seals `text` for the field `name` ("cases.party.phone") of the row `owner`."""
        return self.seal_bytes(name, owner, text.encode())

    def open(self, name: str, owner: UUID | str, sealed: bytes) -> str:
        """What was sealed for this field and owner. Raises `SealError` for anything else."""
        return self.open_bytes(name, owner, sealed).decode()

    def seal_bytes(self, name: str, owner: UUID | str, data: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        key = self._current
        return key.head + nonce + key.cipher(name).encrypt(nonce, data, _bound_to(name, owner))

    def open_bytes(self, name: str, owner: UUID | str, sealed: bytes) -> bytes:
        key = self._key(int.from_bytes(sealed[1:_HEAD])) if len(sealed) >= _HEAD + _NONCE + _TAG else None
        if key is None or sealed[:_HEAD] != key.head:
            raise SealError(name)
        nonce, data = sealed[_HEAD : _HEAD + _NONCE], sealed[_HEAD + _NONCE :]
        try:
            return key.cipher(name).decrypt(nonce, data, _bound_to(name, owner))
        except InvalidTag:
            raise SealError(name) from None

    def _key(self, number: int) -> _Key | None:
        key = self._keys.get(number)
        if key is None and self._path is not None and time.monotonic() - self._looked_at > LOOK_AGAIN:
            self._looked_at = time.monotonic()
            try:
                self._take(_parse(self._path, read_secret(self._path)))
            except StartupError as error:  # while it is being replaced, or for good: the keys that we have still serve
                log.error("the key file cannot be read again: %s", error)
            key = self._keys.get(number)
        return key

    @property
    def head(self) -> bytes:
        """What every value begins with that is sealed now."""
        return self._current.head

    @property
    def listed(self) -> list[tuple[int, str, str]]:
        """Number, suite and time of each key, the current one first."""
        return [(key.number, key.suite, key.created) for key in self._newest]

    def stale(self, sealed: bytes) -> bool:
        """Whether the value was sealed under an older key and waits to be sealed anew."""
        return sealed[:_HEAD] != self._current.head

    def index(self, purpose: str, text: str) -> bytes:
        """Blind index (32 bytes): equal for equal texts in canonical form, and says nothing without the purpose's key."""
        return self._current.mac("index", purpose, canonical(text).encode())

    def indexes(self, purpose: str, text: str) -> list[bytes]:
        """What to look for: the index under every key, the current one first."""
        form = canonical(text).encode()
        return [key.mac("index", purpose, form) for key in self._newest]

    def shuffled(self, purpose: str, series: str, number: int, half: int = 1000) -> int:
        """Another number below half² for each number below half²: numbers in a row look drawn by lot, and still none comes twice.

        A keyed permutation, one for each `series` of a purpose: a Feistel network over the number's two halves, with the ten rounds of FF1 (NIST
        SP 800-38G). Under the oldest key, so that a new key in the middle of a series repeats nothing.
        """
        key, (left, right) = self._oldest, divmod(number, half)
        for turn in range(10):
            mixed = key.mac("shuffle", purpose, f"{series}/{turn}/{right}".encode())
            left, right = right, (left + int.from_bytes(mixed[:8])) % half
        return left * half + right

    def mark(self, purpose: str, data: bytes) -> bytes:
        """Keyed digest (32 bytes) by which processes of one installation know one another's word."""
        return self._current.mac("mark", purpose, data)

    def marks(self, purpose: str, data: bytes) -> list[bytes]:
        """What such a word may be: the digest under every key, the current one first. After a rotation processes differ in which one is current."""
        return [key.mac("mark", purpose, data) for key in self._newest]

    def seeds(self, purpose: str) -> list[tuple[int, bytes]]:
        """Secrets (32 bytes) of which signing keys for a purpose are made, with their numbers: those of the newest three keys. The first is the one to
        sign with: that of the key before the current one, which processes have that do not know the current one yet."""
        newest = sorted(self._keys, reverse=True)[:3]
        if len(newest) > 1:
            newest[:2] = reversed(newest[:2])
        return [(number, self._keys[number].derive("sign", purpose, 32)) for number in newest]

    def digest(self, data: bytes) -> bytes:
        """Keyed digest for the audit: key number (2 bytes) and 32 bytes. Small values cannot be guessed from it."""
        return self._current.number.to_bytes(2) + self._current.mac("digest", "", data)


def canonical(text: str) -> str:
    """One form for what people write in many ways: NFKC, case, separators, the country code of a telephone number."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    if not plain.isalnum():
        plain = _SEPARATORS.sub("", plain)
    if plain[:1] in _COUNTRY_BEGINS:
        plain = _COUNTRY.sub("", plain)
    return plain.replace("+", "")


def _bound_to(name: str, owner: UUID | str) -> bytes:
    return f"{name}\0{owner}".encode()


def _fresh(number: int, suite: Suite, now: datetime) -> _Key:
    return _Key(number, suite, os.urandom(32), now.isoformat(timespec="seconds"))


def _dump(keys: list[_Key]) -> str:
    listed = [
        {
            "number": key.number,
            "suite": key.suite,
            "secret": base64.b64encode(key.secret).decode(),
            "created": key.created,
        }
        for key in keys
    ]
    return json.dumps({"keys": listed}, indent=2) + "\n"


def _parse(path: Path, text: str) -> list[_Key]:
    try:
        keys = [
            _Key(
                int(key["number"]),
                cast(Suite, key["suite"]),
                base64.b64decode(key["secret"], validate=True),
                key["created"],
            )
            for key in json.loads(text)["keys"]
        ]
        numbers = {key.number for key in keys}
        if (
            not keys
            or len(numbers) != len(keys)
            or any(not 0 < number < 1 << 16 for number in numbers)
            or any(key.suite not in _SUITE_BYTE or len(key.secret) != 32 for key in keys)
        ):
            raise ValueError("empty, repeated or malformed keys")
        return keys
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise StartupError(
            f"密钥文件 {path} 不完整或已损坏", f"key file {path} is incomplete or broken ({type(error).__name__})"
        ) from error
