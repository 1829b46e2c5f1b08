"""The built-in issuer of demo tokens, for the embedded profile alone: nobody proves who they are.

It speaks as an OpenID Connect provider does (discovery, keys, token endpoint: services/gateway/issuer.py), so that a front end is written
once. Its key and its address are kept in the data folder, so that `hetao token` makes tokens which the running platform takes.
"""

from __future__ import annotations

import json
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet

from kit.clock import Clock
from kit.errors import NotFound, StartupError
from kit.secretfile import create_secret, read_secret, write_secret

if TYPE_CHECKING:
    from kit.config import Settings


class DemoIssuer:
    """Signs tokens for the accounts of data/demo/accounts.toml. `name` is its address and the tokens' `iss`."""

    def __init__(
        self, name: str, key: ECKey, accounts: dict[str, dict[str, Any]], clock: Clock, *, audience: str, minutes: int
    ) -> None:
        self.name, self.audience, self.lifetime = name, audience, timedelta(minutes=minutes)
        self._key, self._accounts, self._clock = key, accounts, clock

    @classmethod
    def open(cls, settings: Settings, clock: Clock, accounts: Path) -> DemoIssuer:
        """For the process that serves: makes the key at the first start, and writes down the address."""
        path = _file(settings)
        name = f"{settings.public_url}/issuer"
        if not path.exists():  # of several processes that share the folder, one makes it for all
            create_secret(path, _dump(name, ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)))
        kept_name, key = _read(path)
        if kept_name != name:
            write_secret(path, _dump(name, key))
        return cls._of(name, key, settings, clock, accounts)

    @classmethod
    def running(cls, settings: Settings, clock: Clock, accounts: Path) -> DemoIssuer:
        """For a command beside the serving process. Raises `StartupError` where none was ever started on this data."""
        path = _file(settings)
        if not path.exists():
            raise StartupError(
                f"{settings.data_dir} 尚未启动过平台，请先 make run",
                f"nothing was started in {settings.data_dir} yet: make run",
            )
        name, key = _read(path)
        return cls._of(name, key, settings, clock, accounts)

    @classmethod
    def _of(cls, name: str, key: ECKey, settings: Settings, clock: Clock, accounts: Path) -> DemoIssuer:
        listed = tomllib.loads(accounts.read_text(encoding="utf-8"))["accounts"]
        identity = settings.identity
        known = {entry["account"]: entry for entry in listed}
        return cls(name, key, known, clock, audience=identity.audience, minutes=identity.token_minutes)

    @property
    def accounts(self) -> list[dict[str, Any]]:
        return list(self._accounts.values())

    @property
    def public_keys(self) -> dict[str, Any]:
        """The JSON Web Key Set that anybody may have."""
        return {"keys": [self._key.as_dict(private=False)]}

    async def keys(self) -> KeySet:
        return KeySet([self._key])

    def mint(self, account: str) -> str:
        """An access token of a demo account. NotFound(ACCOUNT_UNKNOWN)."""
        entry = self._accounts.get(account)
        if entry is None:
            raise NotFound("ACCOUNT_UNKNOWN", account=account)
        now, own = self._clock.now(), entry.get("department", "")
        claims = {
            "iss": self.name,
            "sub": account,
            "aud": self.audience,
            "iat": int(now.timestamp()),
            "exp": int((now + self.lifetime).timestamp()),
            "jti": str(uuid4()),
            "roles": entry["roles"],
            "department": [own, *entry["others"]] if "others" in entry else own,
            "divisions": entry["divisions"],
        }
        return jwt.encode({"alg": "ES256", "kid": self._key.kid}, claims, self._key, algorithms=["ES256"])


def _file(settings: Settings) -> Path:
    return settings.data_dir / "keys" / "issuer.json"


def _dump(name: str, key: ECKey) -> str:
    return json.dumps({"issuer": name, "key": key.as_dict(private=True)}, indent=2) + "\n"


def _read(path: Path) -> tuple[str, ECKey]:
    try:
        kept = json.loads(read_secret(path))
        return str(kept["issuer"]), ECKey.import_key(kept["key"])
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise StartupError(
            f"演示签发密钥 {path} 已损坏，可删除后重新启动",
            f"the demo issuer's key {path} is broken; delete it and start again",
        ) from error
