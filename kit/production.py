"""What the production profile refuses to start with: the demo issuer, secrets that anybody could know, plain text between processes, keys that every
user of the machine can read. All that is wrong is told at once, each setting by its name.

A trusted mesh may encrypt for us: `allow_plaintext` lists the links that it carries.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel

from kit.config import PREFIX
from kit.errors import StartupError
from kit.sections import Section

if TYPE_CHECKING:
    from kit.config import Settings

log = logging.getLogger(__name__)

#: Characters of the shortest secret that is no password of somebody's.
SHORTEST_SECRET: Final = 16

#: What stands in examples and in hurried installations.
_KNOWN: Final = frozenset({"changeme", "change-me", "secret", "password", "postgres", "hetao", "admin", "default", "redis", "kafka", "test"})  # fmt: skip

#: How a PostgreSQL's address must ask for TLS: these refuse to go on without it.
_SSL_MODES: Final = frozenset({"require", "verify-ca", "verify-full"})

#: Variables by which an S3 of one's own is named.
_S3_ENDPOINTS: Final = ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")

#: Names of settings that hold the path of a secret.
_SECRET_FILES: Final = ("key", "key_file", "tls_key", "file", "secret_file", "token_file")


@dataclass(frozen=True, slots=True)
class Finding:
    """One setting that is wrong, and why, in Chinese and English."""

    variable: str
    zh: str
    en: str


def check_settings(settings: Settings) -> None:
    """Raises `StartupError` for settings that nobody should serve with.

    In any profile: the demo issuer, where others than this machine's people can reach it. In production: all that `findings` finds.
    """
    if settings.profile != "production":
        _check_demo(settings)
        return
    if found := list(findings(settings)):
        raise StartupError(
            "生产模式拒绝启动，以下设置有误：" + "；".join(f"{one.variable}：{one.zh}" for one in found),
            "the production profile refuses to start: " + "; ".join(f"{one.variable}: {one.en}" for one in found),
        )


def _check_demo(settings: Settings) -> None:
    if settings.identity.issuer is not None:
        return
    for variable, host in (("HETAO_HTTP__HOST", settings.http.host), ("HETAO_GRPC__HOST", settings.grpc.host)):
        if not is_loopback(host):
            raise StartupError(
                f"{variable}={host} 对其他机器开放，而内置演示签发方不核实身份：请改为 127.0.0.1，或设置 HETAO_IDENTITY__ISSUER",
                f"{variable}={host} is open to other machines, and the demo issuer asks nobody who they are: "
                "set it to 127.0.0.1, or set HETAO_IDENTITY__ISSUER",
            )


def keeper_missing(settings: Settings, keeper: str) -> None:
    """That this process cannot know which sessions were revoked: nothing to start with in production."""
    if settings.profile == "production":
        raise StartupError(
            f"HETAO_GRPC__ADDRESSES 未写明 {keeper} 的地址，无法得知已吊销的会话与已停用的外部系统",
            f"HETAO_GRPC__ADDRESSES does not say where {keeper} is, who knows the revoked sessions and disabled systems",
        )
    log.warning("HETAO_GRPC__ADDRESSES does not say where %s is: revoked sessions are not known here", keeper)


def findings(settings: Settings) -> Iterator[Finding]:
    """Everything that is wrong in production."""
    for look in (_issuer, _keyring, _secrets, _public, _proxies, _plaintext, _open_files):
        yield from look(settings)


# -- who is believed --------------------------------------------------------------------------------------------------


def _issuer(settings: Settings) -> Iterator[Finding]:
    if settings.identity.issuer is None:
        yield Finding(
            "HETAO_IDENTITY__ISSUER",
            "未设置，内置演示签发方仅用于内嵌模式",
            "is not set, and the built-in demo issuer is for the embedded profile alone",
        )


def _keyring(settings: Settings) -> Iterator[Finding]:
    """A keyring that a process makes for itself lies beside the data, and is another one in each process."""
    if settings.keys.file is None:
        yield Finding(
            "HETAO_KEYS__FILE",
            "未设置，生产模式不自行生成密钥；请用 hetao keys create 生成并保管",
            "is not set: no keyring is made by itself in production; make one with hetao keys create and keep it safe",
        )
    elif not settings.keys.file.is_file():
        yield Finding("HETAO_KEYS__FILE", f"没有文件 {settings.keys.file}", f"there is no file {settings.keys.file}")


def _secrets(settings: Settings) -> Iterator[Finding]:
    database = settings.database
    if settings.database_url is not None and database.prepare and not database.urls and database.role_secret is None:
        yield Finding(
            "HETAO_DATABASE__ROLE_SECRET",
            "未设置，各进程会各自生成角色密码",
            "is not set, so every process would make up passwords of its own",
        )
    for variable, secret in (
        ("HETAO_DATABASE__ROLE_SECRET", database.role_secret),
        ("HETAO_KAFKA__SASL_PASSWORD", settings.kafka.sasl_password),
    ):
        if secret is not None and _is_weak(secret.get_secret_value()):
            yield _weak(variable)
    for variable, address in _addresses(settings):
        password = urlsplit(address).password
        if password is not None and _is_weak(password):
            yield _weak(variable)


def _is_weak(secret: str) -> bool:
    return len(secret) < SHORTEST_SECRET or secret.lower() in _KNOWN or len(set(secret)) < 4


def _weak(variable: str) -> Finding:
    return Finding(
        variable,
        f"密码是常见的，或不足 {SHORTEST_SECRET} 个字符",
        f"holds a password that is well known or shorter than {SHORTEST_SECRET} characters",
    )


def _public(settings: Settings) -> Iterator[Finding]:
    public = settings.http.public_url
    if public is None or not public.startswith("https://"):
        yield Finding(
            "HETAO_HTTP__PUBLIC_URL",
            "应为对外的 https:// 网址",
            "must be the address as seen from outside, with https://",
        )


def _proxies(settings: Settings) -> Iterator[Finding]:
    """Where everybody is a proxy, everybody says himself from where he calls: limits and the audit would believe it."""
    listed = settings.http.proxies
    fours = collapse_addresses(one for one in listed if isinstance(one, IPv4Network))
    sixes = collapse_addresses(one for one in listed if isinstance(one, IPv6Network))
    if any(not one.prefixlen for one in fours) or any(not one.prefixlen for one in sixes):
        yield Finding(
            "HETAO_HTTP__PROXIES",
            "包含所有地址，任何人都可伪造来源地址；请只写前置代理的网段",
            "holds every address, so anybody could say from where he calls; name the networks of the proxies alone",
        )


# -- plain text -------------------------------------------------------------------------------------------------------


def _plaintext(settings: Settings) -> Iterator[Finding]:
    for link, looks in _LINKS.items():
        if link not in settings.allow_plaintext:
            for found in looks(settings):
                zh = f"{found.zh}；如由可信网格加密，可在 HETAO_ALLOW_PLAINTEXT 中写明 {link}"
                yield Finding(
                    found.variable,
                    zh,
                    f"{found.en}; where a trusted mesh encrypts it, list {link} in HETAO_ALLOW_PLAINTEXT",
                )


def _grpc(settings: Settings) -> Iterator[Finding]:
    if settings.grpc.tls.ca is None and (settings.grpc.addresses or not is_loopback(settings.grpc.host)):
        yield Finding(
            "HETAO_GRPC__TLS__CA",
            "未设置，进程之间的 gRPC 将是明文",
            "is not set, so gRPC between processes would be plain text",
        )


def _http(settings: Settings) -> Iterator[Finding]:
    if not is_loopback(settings.http.host):
        yield Finding(
            "HETAO_HTTP__HOST",
            f"{settings.http.host} 对其他机器开放，而 REST 本身不加密，须在其前面终止 TLS",
            f"{settings.http.host} is open to other machines, and REST itself is plain text behind what ends TLS",
        )


def _issuers(settings: Settings) -> Iterator[Finding]:
    identity = settings.identity
    named = [("HETAO_IDENTITY__ISSUER", identity.issuer)]
    named += [("HETAO_IDENTITY__OTHERS", other.issuer) for other in identity.others]
    for variable, issuer in named:
        if issuer is not None and not issuer.startswith("https://"):
            yield Finding(
                variable,
                f"{issuer} 不是 https:// 地址",
                f"{issuer} is not https://, so anybody on the way could give it keys",
            )


def _kafka(settings: Settings) -> Iterator[Finding]:
    kafka = settings.kafka
    if kafka.bootstrap is not None and not kafka.tls and kafka.tls_ca is None:  # a CA alone asks for TLS too
        yield Finding("HETAO_KAFKA__TLS", "未启用，事件将以明文传送", "is off, so events would travel as plain text")


def _redis(settings: Settings) -> Iterator[Finding]:
    if settings.redis_url is not None and not settings.redis_url.get_secret_value().startswith(("rediss://", "unix:")):
        yield Finding("HETAO_REDIS_URL", "应为 rediss:// 地址", "must begin with rediss://")


def _postgres(settings: Settings) -> Iterator[Finding]:
    for variable, address in _addresses(settings):
        if variable == "HETAO_REDIS_URL":
            continue
        parts = urlsplit(address)
        asked = parse_qs(parts.query)
        host = parts.hostname or asked.get("host", [""])[0]
        on_socket = host.startswith(("/", "%2f", "%2F")) or not host
        if not on_socket and not _SSL_MODES & set(asked.get("sslmode", [])):
            yield Finding(
                variable,
                "地址中应有 sslmode=verify-full（或 require、verify-ca）",
                "the address must have sslmode=verify-full (or require, verify-ca)",
            )


def _otlp(settings: Settings) -> Iterator[Finding]:
    address = settings.telemetry.otlp_endpoint
    if address is not None and not address.startswith("https://") and not is_loopback(urlsplit(address).hostname or ""):
        yield Finding("HETAO_TELEMETRY__OTLP_ENDPOINT", "应为 https:// 地址", "must begin with https://")


def _media(settings: Settings) -> Iterator[Finding]:
    """The store's own address, or that of the S3 that the environment names in place of Amazon's."""
    url = settings.media.url or ""
    named = [("HETAO_MEDIA__URL", url)]
    if url.startswith("s3"):
        named += [(variable, os.environ.get(variable, "")) for variable in _S3_ENDPOINTS]
    for variable, address in named:
        if address.startswith("http://") and not is_loopback(urlsplit(address).hostname or ""):
            yield Finding(
                variable,
                "照片与文件将以明文传送，应为 https:// 地址",
                "photos and documents would travel as plain text; it must begin with https://",
            )


#: Links that may carry plain text where `allow_plaintext` names them.
_LINKS: Final[dict[str, Callable[[Settings], Iterable[Finding]]]] = {
    "grpc": _grpc,
    "http": _http,
    "issuer": _issuers,
    "kafka": _kafka,
    "postgres": _postgres,
    "redis": _redis,
    "otlp": _otlp,
    "media": _media,
}


def _addresses(settings: Settings) -> Iterator[tuple[str, str]]:
    """Addresses that may hold a password."""
    if settings.database_url is not None:
        yield "HETAO_DATABASE_URL", settings.database_url.get_secret_value()
    for service, url in settings.database.urls.items():
        yield f"HETAO_DATABASE__URLS[{service}]", url.get_secret_value()
    if settings.redis_url is not None:
        yield "HETAO_REDIS_URL", settings.redis_url.get_secret_value()


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is this machine's alone."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


# -- files ------------------------------------------------------------------------------------------------------------


def _open_files(settings: Settings) -> Iterator[Finding]:
    for variable, path in secret_files(settings):
        try:
            mode = path.stat().st_mode
        except OSError:
            continue  # that it is missing is said by whoever reads it
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            yield Finding(
                variable,
                f"{path} 对所有用户开放（权限 {stat.S_IMODE(mode):o}），请执行 chmod 600 {path} 并考虑更换",
                f"{path} is open to every user (mode {stat.S_IMODE(mode):o}): run chmod 600 {path}, and consider it known",
            )


def secret_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Every setting that names a file with a secret in it, wherever in the tree it stands."""
    yield from _walk(settings, PREFIX)


def _walk(node: BaseModel, prefix: str) -> Iterator[tuple[str, Path]]:
    for name in type(node).model_fields:
        value: Any = getattr(node, name)
        if isinstance(value, Section):
            yield from _walk(value, f"{prefix}{name.upper()}__")
        elif isinstance(value, Path) and name in _SECRET_FILES:
            yield prefix + name.upper(), value
