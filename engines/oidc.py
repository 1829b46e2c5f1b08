"""An OpenID provider of our own on loopback, which is nobody's imitation: `oidc-provider`, a certified implementation, run by Node.

with Oidc(clients=[…], accounts={"zhang": {"groups": ["/divisions/150802"]}}) as provider:
    provider.issuer                                   # http://127.0.0.1:23456
    token = provider.client_token("hotline")          # client credentials
    signed_in = provider.sign_in("console", "zhang")  # a code with PKCE, as a browser gets it
    provider.rotate()                                 # a new key signs, the old one is still published
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
from joserfc.jwk import ECKey, RSAKey

from engines import BUILD, alone, free_port
from engines.process import Program, bare_environment, listens
from kit.errors import StartupError

VERSION = "9.13.3"

HERE = Path(__file__).resolve().parent
INSTALLED = BUILD / f"oidc-provider-{VERSION}"

#: Of every client; nobody but this machine can reach it.
SECRET = "of-a-test"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a browser has after somebody has signed in."""

    access_token: str
    id_token: str
    cookies: httpx.Cookies


class Oidc:
    """`clients`: OpenID client metadata without secrets; `accounts`: what access tokens say of each account."""

    def __init__(
        self,
        clients: Sequence[Mapping[str, Any]],
        accounts: Mapping[str, Mapping[str, Any]],
        *,
        audience: str = "urn:hetao",
        folder: Path | None = None,
    ):
        self.clients = [{"client_secret": SECRET, **client} for client in clients]
        self.accounts, self.audience = accounts, audience
        self._temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="hetao-oidc-", dir="/tmp"))
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.keys = [_key("RS256")]
        self._program: Program | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Returns when it answers; half a second. Raises `StartupError`. Sessions and codes are forgotten over a restart, keys are not."""
        installed = fetch()
        script = installed / "provider.mjs"  # Node finds modules beside the file alone
        told = {
            "port": self.port,
            "audience": self.audience,
            "keys": self.keys,
            "clients": self.clients,
            "accounts": self.accounts,
        }
        self._program = Program(
            "oidc-provider",
            [_node(), script, json.dumps(told)],
            self.folder,
            environment=bare_environment(),
            ready=lambda: listens(self.port),
        )
        self._program.start()

    def stop(self) -> None:
        if self._program:
            self._program.stop()

    def close(self) -> None:
        """Stops it; its temporary folder goes."""
        self.stop()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def rotate(self, algorithm: str = "RS256", *, keep: bool = True) -> None:
        """A new key signs from now on; the old ones are still published, unless they are not kept."""
        self.keys = [_key(algorithm), *(self.keys if keep else [])]
        with self._client() as client:
            client.post("/rotate", json=self.keys).raise_for_status()

    # -- what clients do ----------------------------------------------------------------------------------------------

    def client_token(self, client_id: str) -> str:
        """An access token of the client itself."""
        with self._client() as client:
            form = {"grant_type": "client_credentials"}
            answer = client.post("/token", auth=(client_id, SECRET), data=form).raise_for_status()
        return str(answer.json()["access_token"])

    def sign_in(self, client_id: str, account: str) -> SignedIn:
        """Somebody signs in with a browser, and the client changes the code for tokens."""
        back = self._redirect(client_id)
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "client_id": client_id,
            "response_type": "code",
            "redirect_uri": back,
            "scope": "openid api",
            "login_hint": account,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        with self._client() as client:
            answer = client.get("/auth", params=asked)
            while not (location := answer.headers["location"]).startswith(back):
                answer = client.get(location)
            found = re.search(r"[?&]code=([^&]+)", location)
            if found is None:
                raise RuntimeError(location)
            form = {
                "grant_type": "authorization_code",
                "code": found[1],
                "redirect_uri": back,
                "code_verifier": verifier,
            }
            told = client.post("/token", auth=(client_id, SECRET), data=form).raise_for_status().json()
            return SignedIn(told["access_token"], told["id_token"], client.cookies)

    def sign_out(self, signed_in: SignedIn) -> None:
        """The browser signs out; the provider tells every client that wants to know."""
        with self._client() as client:
            client.cookies = signed_in.cookies
            page = client.get("/session/end", params={"id_token_hint": signed_in.id_token}).raise_for_status().text
            xsrf = re.search(r'name="xsrf" value="([^"]+)"', page)
            assert xsrf is not None
            client.post("/session/end/confirm", data={"xsrf": xsrf[1], "logout": "yes"})

    def _redirect(self, client_id: str) -> str:
        return str(next(one for one in self.clients if one["client_id"] == client_id)["redirect_uris"][0])

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self.issuer, timeout=30, trust_env=False)


def _key(algorithm: str) -> dict[str, Any]:
    told: Any = {"use": "sig", "alg": algorithm}
    made = ECKey.generate_key("P-256", told) if algorithm == "ES256" else RSAKey.generate_key(2048, told)
    made.ensure_kid()
    return dict(made.as_dict(private=True))


def fetch(progress: Callable[[str, str], None] = lambda zh, en: None) -> Path:
    """Where it is installed; brought here, once. `progress(zh, en)` is told so. Raises `StartupError` where it cannot be had."""
    with alone("oidc"):
        if not INSTALLED.exists():
            progress("下载 OpenID 提供方（npm）", "downloading the OpenID provider (npm)")
            with tempfile.TemporaryDirectory(dir=BUILD) as folder:
                _install(Path(folder)).rename(INSTALLED)
        shutil.copyfile(HERE / "oidc.mjs", INSTALLED / "provider.mjs")
    return INSTALLED


def missing() -> str | None:
    """Why there can be no provider on this machine, in both languages; None if there can."""
    try:
        _node()
        if not INSTALLED.exists() and not shutil.which("npm"):
            raise _absent("npm")
    except StartupError as error:
        return str(error)
    return None


def _install(folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise _absent("npm")
    place = folder / "installed"
    place.mkdir()
    (place / "package.json").write_text('{"private": true}\n')
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", "--omit=dev"]
    command = [npm, "install", *options, f"oidc-provider@{VERSION}"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["?"])[-1]
        raise StartupError(f"无法取来 oidc-provider：{last}", f"oidc-provider cannot be brought: {last}")
    return place


def _node() -> str:
    node = shutil.which("node")
    if node is None:
        raise _absent("node")
    return node


def _absent(program: str) -> StartupError:
    return StartupError(
        f"本机没有 {program}；请安装 Node.js 20 或更高版本",
        f"this machine has no {program}: install Node.js 20 or later",
    )
