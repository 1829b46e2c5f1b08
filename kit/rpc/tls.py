"""TLS and mutual TLS between processes (settings `grpc.tls`): PEM files, read again when they change.

A new certificate is in use at the next handshake, without a restart; connections that are open keep the old one until they have reached their age.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from kit.errors import StartupError
from kit.folders import why
from kit.sections import Tls

log = logging.getLogger(__name__)

PREFIX = "HETAO_GRPC__TLS__"


@dataclass(frozen=True, slots=True)
class Pems:
    """What stands in the files."""

    ca: bytes
    certificate: bytes | None
    key: bytes | None


class Certificates:
    """The files of `grpc.tls` as they are now. They fit one another: what does not is refused at start, and passed over later."""

    def __init__(self, tls: Tls):
        """Raises `StartupError` naming the setting of a file that is missing, unreadable, expired, or does not fit the others."""
        self._tls = tls
        self._seen = self._stamps()
        self._pems = read(tls)

    @classmethod
    def of(cls, tls: Tls) -> Self | None:
        """None where TLS is off."""
        if tls.ca is None:
            for name in ("certificate", "key"):
                if getattr(tls, name) is not None:
                    other = f"{PREFIX}{name.upper()}"
                    raise _wrong("ca", f"未设置，而 {other} 已设置", f"is not set, though {other} is")
            return None
        return cls(tls)

    def current(self) -> Pems:
        """The same object until the files have changed. Never raises: while the new files are not good, the old ones stay."""
        stamps = self._stamps()
        if stamps != self._seen:
            self._seen = stamps
            try:
                pems = read(self._tls)
                self._pems = self._pems if pems == self._pems else pems
            except (
                StartupError
            ) as error:  # files are often replaced one after the other: the next change brings the whole
                log.warning("the certificates stay as they were: %s", error)
        return self._pems

    def server(self) -> grpc.ServerCredentials:
        """What a server listens with. Raises `StartupError` where it has no certificate to show."""
        shown = self.current()
        if shown.certificate is None:
            raise _wrong("certificate", "未设置，服务端需要证书", "is not set, and a server must show a certificate")

        def changed() -> (
            grpc.ServerCertificateConfiguration | None
        ):  # asked before each handshake, in a thread of gRPC's
            nonlocal shown
            if (now := self.current()) is shown:
                return None
            shown = now
            return _configuration(now)

        required = self._tls.client == "required"
        made = grpc.dynamic_ssl_server_credentials(_configuration(shown), changed, required)  # type: ignore[arg-type]
        _shown.append(made)
        return made

    def client(self) -> grpc.ChannelCredentials:
        """What a client connects with; its own certificate is shown where there is one."""
        pems = self.current()
        return grpc.ssl_channel_credentials(pems.ca, pems.key, pems.certificate)

    def _stamps(self) -> Sequence[object]:
        found: list[object] = []
        for path in (self._tls.ca, self._tls.certificate, self._tls.key):
            try:
                state = os.stat(path) if path else None
                found.append(state and (state.st_ino, state.st_mtime_ns, state.st_size))
            except OSError as error:
                found.append(error.errno)
        return found


#: gRPC asks `changed` from threads of its own, also while a server comes to its end: what it asks must outlive the server. One for each that listens.
_shown: list[grpc.ServerCredentials] = []


def _configuration(pems: Pems) -> grpc.ServerCertificateConfiguration:
    assert pems.key is not None
    assert pems.certificate is not None
    return grpc.ssl_server_certificate_configuration([(pems.key, pems.certificate)], pems.ca)


def read(tls: Tls) -> Pems:
    """The files, of which each is what it should be. Raises `StartupError` naming the setting of one that is not."""
    assert tls.ca is not None
    pems = Pems(
        _content("ca", tls.ca),
        _content("certificate", tls.certificate) if tls.certificate else None,
        _content("key", tls.key) if tls.key else None,
    )
    now = datetime.now(UTC)  # the other end asks no clock of ours
    authorities = _certificates("ca", pems.ca)
    _check_dates(
        "ca", tls.ca, max(authorities, key=lambda one: one.not_valid_after_utc), now
    )  # old ones may stand beside it
    if pems.certificate is None and pems.key is None:
        return pems
    if pems.certificate is None or pems.key is None:
        name, other = ("key", "certificate") if pems.key is None else ("certificate", "key")
        raise _wrong(
            name, f"未设置，而 {PREFIX}{other.upper()} 已设置", f"is not set, though {PREFIX}{other.upper()} is"
        )
    own = _certificates("certificate", pems.certificate)[0]
    _check_dates("certificate", tls.certificate, own, now)
    try:
        key = load_pem_private_key(pems.key, None)
    except (ValueError, TypeError):
        raise _wrong(
            "key", f"{tls.key} 不是未加密的 PEM 私钥", f"{tls.key} is no private key in PEM without a password"
        ) from None
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*form) != own.public_key().public_bytes(*form):
        raise _wrong(
            "key", f"{tls.key} 与证书 {tls.certificate} 不匹配", f"{tls.key} is not the key of {tls.certificate}"
        )
    return pems


def _content(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        zh, en = why(error)
        raise _wrong(name, f"无法读取 {path}：{zh}", f"{path} cannot be read: {en}") from None


def _certificates(name: str, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise _wrong(name, "不是 PEM 证书", "is no certificate in PEM") from None


def _check_dates(name: str, path: Path | None, certificate: x509.Certificate, now: datetime) -> None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now >= ends:
        raise _wrong(
            name, f"{path} 已于 {ends:%Y-%m-%d %H:%M} UTC 过期", f"{path} expired at {ends:%Y-%m-%d %H:%M} UTC"
        )
    if now < begins:
        raise _wrong(
            name,
            f"{path} 自 {begins:%Y-%m-%d %H:%M} UTC 起有效",
            f"{path} is valid from {begins:%Y-%m-%d %H:%M} UTC on",
        )


def _wrong(name: str, zh: str, en: str) -> StartupError:
    return StartupError(f"{PREFIX}{name.upper()} {zh}", f"{PREFIX}{name.upper()} {en}")
