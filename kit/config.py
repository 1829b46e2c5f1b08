"""The settings, one typed tree. Environment variables alone set it: `HETAO_ROOT_DIVISION=150802`, `HETAO_HTTP__PORT=8081`.

Every setting has a default that serves one process on one machine, and a line in Chinese and English that
`hetao config` prints.
Times are seconds unless the name says days or minutes; sizes are bytes.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from kit.errors import StartupError
from kit.sections import (
    Audit,
    Database,
    Grpc,
    Http,
    Identity,
    Kafka,
    Keys,
    Limits,
    Log,
    Media,
    Ops,
    Redis,
    Retention,
    Section,
    Sms,
    Stream,
    Telemetry,
    Timers,
    Webhooks,
    doc,
)

PREFIX = "HETAO_"

#: Of the command line, not a setting: an operator's own token.
TOKEN_VARIABLE = "HETAO_TOKEN"

#: Where the sources stand, or the site-packages folder of an installed wheel.
CHECKOUT = Path(__file__).resolve().parent.parent

#: Reference data that ships: divisions, calendars, rules, dictionaries, texts, roles, the demo.
DATA = CHECKOUT / "data"


class Settings(BaseSettings):
    """Read once at start by `load`; passed on, never looked up from elsewhere."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    profile: Literal["embedded", "production"] = doc(
        "运行方式：embedded 或 production", "embedded, or production with its stricter checks", "embedded"
    )
    allow_plaintext: list[Literal["grpc", "http", "issuer", "kafka", "postgres", "redis", "otlp", "media"]] = doc(
        "生产模式下由可信网格加密、可以明文的链路，JSON 数组：grpc、http、issuer、kafka、postgres、redis、otlp、media",
        "links that a trusted mesh encrypts and that may be plain text in production, a JSON array: grpc, http, issuer, kafka, postgres, redis, otlp, media",
        list,
    )
    root_division: str = doc("根行政区划代码", "code of the root division", "1508", pattern=r"^\d{4}(\d{2}){0,4}$")
    data_dir: Path = doc("数据目录", "folder of the data", lambda: default_data_dir())
    database_url: SecretStr | None = doc(
        "PostgreSQL 地址，缺省启动内嵌数据库", "address of PostgreSQL; an embedded one is started if unset", None
    )
    database: Database = doc("数据库", "database", Database)
    redis_url: SecretStr | None = doc(
        "Redis 地址（redis:// 或 rediss://），缺省由进程内的代替",
        "address of Redis (redis:// or rediss://); one in the process if unset",
        None,
    )
    redis: Redis = doc("Redis", "Redis", Redis)
    limits: Limits = doc("调用频率", "rates of calls", Limits)
    log: Log = doc("事件日志", "event log", Log)
    kafka: Kafka = doc("Kafka", "Kafka", Kafka)
    http: Http = doc("REST 接口", "REST", Http)
    stream: Stream = doc("事件流", "live events", Stream)
    grpc: Grpc = doc("gRPC 接口", "gRPC", Grpc)
    identity: Identity = doc("身份", "identity", Identity)
    keys: Keys = doc("密钥", "keys", Keys)
    telemetry: Telemetry = doc("遥测", "telemetry", Telemetry)
    ops: Ops = doc("运维", "operators", Ops)
    timers: Timers = doc("定时", "timers", Timers)
    retention: Retention = doc("保留期", "retention", Retention)
    audit: Audit = doc("审计", "audit", Audit)
    media: Media = doc("媒体", "media", Media)
    webhooks: Webhooks = doc("Webhook", "webhooks", Webhooks)
    sms: Sms = doc("短信", "text messages", Sms)

    @field_validator("data_dir")
    @classmethod
    def _whole_path(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @property
    def embedded(self) -> bool:
        """Whether this process brings its own PostgreSQL."""
        return self.database_url is None and not self.database.urls

    @property
    def key_file(self) -> Path:
        return self.keys.file or self.data_dir / "keys" / "keyring.json"

    @property
    def media_url(self) -> str:
        return self.media.url or (self.data_dir / "media").as_uri()

    @property
    def public_url(self) -> str:
        return (self.http.public_url or f"http://{self.http.host}:{self.http.port}").rstrip("/")


def default_data_dir() -> Path:
    """`var` in the checkout; but root starts PostgreSQL as an unprivileged user, who must be able to walk there."""
    is_checkout = (CHECKOUT / "pyproject.toml").exists() and os.access(CHECKOUT, os.W_OK)
    if os.geteuid() == 0:
        return CHECKOUT / "var" if is_checkout and world_traversable(CHECKOUT) else Path("/var/lib/hetao")
    if is_checkout:
        return CHECKOUT / "var"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "hetao"


def world_traversable(folder: Path) -> bool:
    """Whether every user may walk into the folder, though perhaps not list it."""
    return all(part.stat().st_mode & stat.S_IXOTH for part in [folder, *folder.parents])


def load(**overrides: Any) -> Settings:
    """The settings of this process: `overrides`, then the environment, then the defaults.

    Raises `StartupError` naming the variable that is wrong or unknown: a typo must not pass as a default.
    """
    for name in os.environ.keys() - {TOKEN_VARIABLE}:
        if name.startswith(PREFIX) and name.removeprefix(PREFIX).lower().split("__")[0] not in Settings.model_fields:
            near = difflib.get_close_matches(name, [s.variable for s in _walk(Settings, PREFIX)], n=1)
            raise StartupError(
                f"没有名为 {name} 的设置" + (f"，是否为 {near[0]}？" if near else ""),
                f"there is no setting {name}" + (f"; {near[0]}?" if near else ""),
            )
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + "__".join(str(part) for part in first["loc"]).upper()
        raise StartupError(
            f"设置 {name} 有误：{_in_chinese(first)}", f"setting {name} is wrong: {first['msg']}"
        ) from None
    except SettingsError as error:  # a value that should have been JSON
        field = re.search(r'field "(\w+)"', str(error))
        where = PREFIX + field[1].upper() if field else PREFIX + "*"
        raise StartupError(f"设置 {where} 不是有效的 JSON", f"setting {where} is not valid JSON") from None


#: What a value should be, by the type of pydantic's error, whose own sentences are English.
_WRONG: Final = {
    "bool_parsing": "应为 true 或 false",
    "dict_type": "应为 JSON 对象",
    "extra_forbidden": "没有这项设置",
    "float_parsing": "应为数字",
    "greater_than": "应大于 {gt}",
    "greater_than_equal": "不得小于 {ge}",
    "grpc_address": "{address} 应为 host:port，或 IP:port,IP:port",
    "inbox_outlives_topic": "inbox_days 须大于 topic_days",
    "int_from_float": "应为整数",
    "int_parsing": "应为整数",
    "int_parsing_size": "应为整数，且不能过大",
    "ip_v4_network": "应为网段，如 10.1.0.0/16",
    "ip_v6_network": "应为网段，如 10.1.0.0/16",
    "less_than": "应小于 {lt}",
    "less_than_equal": "不得大于 {le}",
    "list_type": "应为 JSON 数组",
    "literal_error": "可选值为 {expected}",
    "model_type": "应为 JSON 对象",
    "string_pattern_mismatch": "格式不对，应符合 {pattern}",
    "string_type": "应为文本",
}


def _in_chinese(error: ErrorDetails) -> str:
    said = _WRONG.get(error["type"], "不是有效的值").format_map(error.get("ctx", {}))
    return said.replace(" or ", "、").replace(", ", "、").replace("'", "")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as `hetao config` prints it. `source`: "default", or "environment"; secrets are masked in `value`."""

    variable: str
    value: str
    source: str
    zh: str
    en: str


def describe(settings: Settings, environ: Mapping[str, str] | None = None) -> list[Setting]:
    """Every setting with its value and where that comes from."""
    names = {name.upper() for name in (os.environ if environ is None else environ)}
    described = []
    for setting in _walk(settings, PREFIX):
        given = any(n == setting.variable or n.startswith(setting.variable + "__") for n in names)
        described.append(
            Setting(setting.variable, setting.value, "environment" if given else "default", setting.zh, setting.en)
        )
    return described


def _walk(node: BaseModel | type[BaseModel], prefix: str) -> Iterator[Setting]:
    model = node if isinstance(node, type) else type(node)
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from _walk(kind if node is model else getattr(node, name), f"{prefix}{name.upper()}__")
            continue
        extra = info.json_schema_extra
        assert isinstance(extra, dict)
        value = "" if node is model else _shown(getattr(node, name))
        yield Setting(prefix + name.upper(), value, "", str(extra["zh"]), str(extra["en"]))


def _shown(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case SecretStr():
            return "********"
        case BaseModel():
            return json.dumps(value.model_dump(mode="json", exclude_unset=True), ensure_ascii=False)
        case Mapping():
            return ", ".join(f"{key}={_shown(item)}" for key, item in value.items())
        case list() | tuple():
            return ", ".join(map(_shown, value))
        case _:
            return str(value)
