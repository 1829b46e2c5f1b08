"""Real certificates for tests: an authority, and the files of an end that it has certified."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trustme

from kit.sections import Tls

PAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC)


class Authority:
    """One that certifies names. Its files lie in `folder`."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._ca = folder, trustme.CA()
        self.ca = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.ca)

    def certify(self, end: str, *names: str, expired: bool = False) -> tuple[Path, Path]:
        """The files (certificate, key) of an end; written over those that it had."""
        begins, ends = PAST if expired else (None, None)
        issued = self._ca.issue_cert(*(names or ("localhost", "127.0.0.1")), not_before=begins, not_after=ends)
        certificate, key = self._folder / f"{end}.pem", self._folder / f"{end}.key"
        for path, content in (
            (certificate, b"".join(blob.bytes() for blob in issued.cert_chain_pems)),
            (key, issued.private_key_pem.bytes()),
        ):
            fresh = path.with_suffix(".new")
            fresh.write_bytes(content)
            fresh.replace(path)
        return certificate, key

    def tls(self, end: str, *names: str, expired: bool = False, **more: Any) -> Tls:
        """The settings of an end that this authority has certified and that trusts it."""
        certificate, key = self.certify(end, *names, expired=expired)
        return Tls(ca=self.ca, certificate=certificate, key=key, **more)
