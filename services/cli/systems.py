"""`hetao systems`, `hetao sessions`: the register of outside systems, and the end of sessions, asked of a running platform."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from hetao.grid.v1 import sessions_pb2, sessions_pb2_grpc, systems_pb2_grpc
from hetao.grid.v1 import systems_pb2 as pb
from kit.clock import Clock
from kit.config import load
from kit.errors import StartupError
from kit.proto import stamp
from kit.secretfile import read_secret, write_secret
from services.cli import out, table
from services.cli.operate import Call, running
from services.registry import KEEPER

SYSTEMS, SESSIONS = systems_pb2_grpc.SystemServiceStub, sessions_pb2_grpc.SessionServiceStub

#: Seconds for which an assertion of ours lasts.
_ASSERTION = 60

_KEYS = "--public-key", "--new-key"


@click.group()
def systems() -> None:
    """登记的外部系统 · the register of outside systems."""


@systems.command()
@click.argument("system")
@click.option("--name", required=True, help="名称 · name")
@click.option("--name-en", default="", help="英文名称 · name in English")
@click.option("--role", multiple=True, required=True, help="角色，可多次 · role, several times")
@click.option(
    "--division", multiple=True, required=True, help="行政区划代码，可多次 · code of a division, several times"
)
@click.option("--quota", default=0, help="每分钟调用上限，0 为不另设 · calls per minute, 0 for no limit of its own")
@click.option("--client-id", default="", help="在身份认证服务中的客户端编号 · client id at the identity provider")
@click.option(
    "--client-subject", default="", help="其令牌的 sub，若与编号不同 · the sub of its tokens, if it is another"
)
@click.option(
    "--certificate", multiple=True, help="客户端证书（PEM 文件）或其 SHA-256 · certificate (PEM file) or its SHA-256"
)
@click.option(
    _KEYS[0], "public_key", multiple=True, type=click.Path(exists=True, path_type=Path), help="公钥文件 · public key"
)
@click.option(_KEYS[1], "new_key", type=click.Path(path_type=Path), help="生成密钥对，私钥写入此文件 · make a pair, the private key into this file")  # fmt: skip
def add(
    system: str, public_key: tuple[Path, ...], new_key: Path | None, certificate: tuple[str, ...], **given: Any
) -> None:
    """登记外部系统 SYSTEM，如 system-12345 · registers the system SYSTEM, such as system-12345."""
    keys = [path.read_text() for path in public_key] + ([_made(new_key)] if new_key else [])
    request = pb.CreateSystemRequest(
        system_id=system,
        name=given["name"],
        name_en=given["name_en"],
        roles=given["role"],
        divisions=given["division"],
        quota_per_minute=given["quota"],
        client_id=given["client_id"],
        client_subject=given["client_subject"],
        certificates=map(_fingerprint, certificate),
        public_keys=keys,
        request_id=str(uuid4()),
    )
    _ask("CreateSystem", request)


@systems.command("list")
@click.option("--division", default="", help="行政区划代码，缺省为本人的 · code of a division; your own if unset")
def list_(division: str) -> None:
    """列出外部系统 · lists the systems."""

    async def work(call: Call) -> None:
        rows, token = [], None
        while token != "":
            page = await call("ListSystems", pb.ListSystemsRequest(division=division, page_token=token or ""))
            rows += [
                (
                    one.system_id,
                    one.name,
                    "启用 · on" if one.enabled else "停用 · off",
                    ",".join(one.roles),
                    ",".join(one.divisions),
                    str(one.quota_per_minute or "-"),
                )
                for one in page.systems
            ]
            token = page.next_page_token
        table(
            ("编号 · id", "名称 · name", "状态 · state", "角色 · roles", "区划 · divisions", "每分钟 · per minute"),
            rows,
        )

    running(work, SYSTEMS, KEEPER)


@systems.command()
@click.argument("system")
@click.option(
    _KEYS[0], "public_key", type=click.Path(exists=True, path_type=Path), help="新公钥文件 · the new public key"
)
@click.option(_KEYS[1], "new_key", type=click.Path(path_type=Path), help="生成密钥对，私钥写入此文件 · make a pair, the private key into this file")  # fmt: skip
@click.option("--overlap", default=24.0, help="旧密钥继续有效的小时数 · hours for which the old keys still count")
def rotate(system: str, public_key: Path | None, new_key: Path | None, overlap: float) -> None:
    """为 SYSTEM 增加新密钥，旧密钥在 OVERLAP 小时后停用 · gives SYSTEM a new key; the old ones end OVERLAP hours later."""
    if (public_key is None) == (new_key is None):
        raise StartupError("请给出 --public-key 或 --new-key 之一", "give one of --public-key and --new-key")
    given = public_key.read_text() if public_key else _made(new_key or Path())
    end = stamp(Clock().now() + timedelta(hours=overlap))

    async def work(call: Call) -> None:
        before = (await call("GetSystem", pb.GetSystemRequest(system_id=system))).system
        asked = pb.AddSystemKeyRequest(system_id=system, public_key=given, request_id=str(uuid4()))
        after = (await call("AddSystemKey", asked)).system
        for key in before.keys:
            if not key.HasField("not_after"):
                request = pb.RetireSystemKeyRequest(system_id=system, key_id=key.key_id, not_after=end)
                after = (await call("RetireSystemKey", request)).system
        _show(after)

    running(work, SYSTEMS, KEEPER)


@systems.command()
@click.argument("system")
def disable(system: str) -> None:
    """停用 SYSTEM，其令牌数秒内处处失效 · stops SYSTEM; its tokens count nowhere within seconds."""
    _ask("DisableSystem", pb.DisableSystemRequest(system_id=system, request_id=str(uuid4())))


@systems.command()
@click.argument("system")
def enable(system: str) -> None:
    """重新启用 SYSTEM · lets SYSTEM call again."""
    _ask("EnableSystem", pb.EnableSystemRequest(system_id=system, request_id=str(uuid4())))


@systems.command()
@click.argument("system")
@click.option(
    "--key", required=True, type=click.Path(exists=True, path_type=Path), help="私钥文件（JWK） · the private key (JWK)"
)
def token(system: str, key: Path) -> None:
    """以 SYSTEM 的私钥换取访问令牌，供联调 · an access token by SYSTEM's private key, to try a connection."""
    try:
        private = OKPKey.import_key(json.loads(read_secret(key)))
    except (JoseError, ValueError) as error:
        raise StartupError(
            f"{key} 不是 --new-key 生成的私钥", f"{key} is no private key that --new-key made"
        ) from error
    now = int(Clock().now().timestamp())
    claims = {
        "iss": system,
        "sub": system,
        "aud": load().public_url,
        "iat": now,
        "exp": now + _ASSERTION,
        "jti": str(uuid4()),
    }
    said = jwt.encode({"alg": "Ed25519", "kid": private.kid}, claims, private, algorithms=["Ed25519"])

    async def work(call: Call) -> None:
        answer = await call("GrantSystemToken", pb.GrantSystemTokenRequest(assertion=said))
        click.echo(answer.access_token)

    running(work, SYSTEMS, KEEPER, signed=False)


@click.group()
def sessions() -> None:
    """会话 · sessions."""


@sessions.command()
@click.argument("account")
@click.option(
    "--session",
    default="",
    help="会话（令牌的 sid 或 jti），缺省为全部 · the session (sid or jti of its token); all if unset",
)
@click.option("--reason", default="", help="原因，记入审计 · why; the audit keeps it")
def revoke(account: str, session: str, reason: str) -> None:
    """终止 ACCOUNT 的会话 · ends the sessions of ACCOUNT."""
    request = sessions_pb2.RevokeSessionsRequest(
        account=account, session=session, reason=reason, request_id=str(uuid4())
    )

    async def work(call: Call) -> None:
        answer = await call("RevokeSessions", request)
        moment = answer.everywhere_by.ToJsonString()
        out.print(f"已终止，最迟 {moment} 处处生效 · ended, everywhere by {moment}", markup=False)

    running(work, SESSIONS, KEEPER)


def _ask(method: str, request: Any) -> None:
    async def work(call: Call) -> None:
        _show((await call(method, request)).system)

    running(work, SYSTEMS, KEEPER)


def _show(system: pb.System) -> None:
    rows = [
        ("编号 · id", system.system_id),
        ("名称 · name", system.name),
        ("状态 · state", "启用 · on" if system.enabled else "停用 · off"),
        ("角色 · roles", ", ".join(system.roles)),
        ("区划 · divisions", ", ".join(system.divisions)),
    ]
    for key in system.keys:
        until = key.not_after.ToJsonString() if key.HasField("not_after") else ""
        rows.append(("公钥 · key", f"{key.key_id}  {key.not_before.ToJsonString()} – {until}"))
    table(("", ""), rows)


def _made(path: Path) -> str:
    """A new pair: the private key into the file, the public one returned."""
    if path.exists():
        raise StartupError(f"{path} 已存在", f"{path} is there already")
    made = OKPKey.generate_key("Ed25519", {"use": "sig", "alg": "Ed25519"}, auto_kid=True)
    write_secret(path, json.dumps(made.as_dict(private=True), indent=2) + "\n")
    return json.dumps(made.as_dict(private=False))


def _fingerprint(given: str) -> str:
    path = Path(given)
    if not path.is_file():
        return given.replace(":", "").lower()
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise StartupError(f"{path} 不是 PEM 证书", f"{path} is no certificate (PEM)") from error
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
