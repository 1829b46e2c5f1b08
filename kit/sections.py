"""The sections of the settings (kit/config.py), and how one is written: with its line for people in Chinese and in English, and its limits."""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

#: How an issuer is named: the address under which its discovery document stands.
ISSUER = r"^https?://[^\s?#]+$"


def doc(zh: str, en: str, default: Any = ..., **limits: Any) -> Any:
    """A setting with its line for people, Chinese first."""
    extra: JsonDict = {"zh": zh, "en": en}
    if callable(default):
        return Field(default_factory=default, description=f"{zh} · {en}", json_schema_extra=extra, **limits)
    return Field(default, description=f"{zh} · {en}", json_schema_extra=extra, **limits)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Database(Section):
    name: str = doc(
        "数据库名（内嵌模式）", "name of the database in embedded mode", "hetao", pattern=r"^[a-z][a-z0-9_]{0,30}$"
    )
    binaries: Path | None = doc(
        "PostgreSQL 程序目录，缺省自动查找", "folder of the PostgreSQL programs; found by itself if unset", None
    )
    os_user: str = doc(
        "以 root 启动时运行 PostgreSQL 的系统用户", "system user that PostgreSQL runs as when started by root", "nobody"
    )
    role_prefix: str = doc(
        "各服务登录角色的前缀", "prefix of the services' login roles", "hetao_", pattern=r"^[a-z][a-z0-9_]{0,20}$"
    )
    role_secret: SecretStr | None = doc(
        "派生各服务角色密码的密钥（外部数据库），缺省随机生成并保存在数据目录",
        "secret from which the roles' passwords are derived (outside database); random and kept in the data folder if unset",
        None,
    )
    urls: dict[str, SecretStr] = doc(
        "各服务自己的数据库地址，JSON 对象：服务名 → 地址；写明后不再建角色",
        "a database address per service, a JSON object: service → address; no role is made for these",
        dict,
    )
    prepare: bool = doc("启动时建角色、建模式并迁移", "make roles and schemas and migrate at start", True)
    pool_size: int = doc("每个服务处理请求的连接数", "connections of a service for requests", 10, ge=1, le=200)
    background_pool_size: int = doc(
        "每个服务后台工作的连接数", "connections of a service for background work", 3, ge=1, le=50
    )
    acquire_timeout: float = doc("等待空闲连接的秒数", "seconds to wait for a free connection", 5.0, gt=0)
    connect_timeout: float = doc("建立连接的秒数", "seconds to wait for a new connection", 10.0, gt=0)
    statement_timeout: float = doc("单条语句的最长秒数", "seconds that one statement may take", 30.0, gt=0)
    lock_timeout: float = doc("等待行锁的最长秒数", "seconds to wait for a row's lock", 10.0, gt=0)
    start_timeout: float = doc(
        "等待数据库可用的秒数（含崩溃恢复）", "seconds until the database must be ready, recovery included", 120.0, gt=0
    )


class Log(Section):
    partitions: int = doc("每个主题的分区数", "partitions of a topic", 8, ge=1, le=256)
    poll_seconds: float = doc("无唤醒时的查询间隔（秒）", "seconds between looks when nobody wakes it", 0.05, gt=0)
    lease_seconds: float = doc("转发与分区租约的秒数", "seconds that a lease of a relay or partition lasts", 10.0, gt=0)
    send_timeout: float = doc(
        "等待日志确认的秒数，超时视为结果未知", "seconds to wait for the log; later the outcome is unknown", 10.0, gt=0
    )
    batch: int = doc("一次转发或消费的事件数", "events relayed or consumed at once", 500, ge=1, le=10_000)
    attempts: int = doc("未知错误重试几次后搁置", "tries after which an unknown error is parked", 5, ge=1)


class Kafka(Section):
    bootstrap: str | None = doc(
        "Kafka 地址 host:port，多个以逗号分隔；缺省把事件日志放在数据库中",
        "addresses of Kafka, host:port, separated by commas; the event log is in the database if unset",
        None,
        pattern=r"^[^\s,]+:\d+(,[^\s,]+:\d+)*$",
    )
    prefix: str = doc(
        "主题与消费组名称的前缀，用于多套部署共用一个 Kafka",
        "begins the names of topics and groups, for deployments that share a Kafka",
        "",
        pattern=r"^[A-Za-z0-9._-]{0,60}$",
    )
    replication: int | None = doc(
        "每个分区的副本数，缺省为节点数、至多 3",
        "copies of a partition; as many as there are brokers, up to 3, if unset",
        None,
        ge=1,
        le=9,
    )
    min_insync: int | None = doc(
        "确认写入所需的副本数，缺省为副本数减一、至少 1",
        "copies that must have an event before it counts as written; one less than there are if unset",
        None,
        ge=1,
        le=9,
    )
    request_timeout: float = doc("等待一次应答的秒数", "seconds to wait for one answer", 20.0, ge=1)
    tls: bool = doc("用 TLS 连接", "connect with TLS", False)
    tls_ca: Path | None = doc(
        "信任的 CA 证书文件（PEM），缺省为系统的", "file of trusted CAs (PEM); the system's if unset", None
    )
    tls_certificate: Path | None = doc("客户端证书文件（PEM）", "file of the client's certificate (PEM)", None)
    tls_key: Path | None = doc("客户端私钥文件（PEM）", "file of the client's key (PEM)", None)
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = doc(
        "SASL 机制", "SASL mechanism", "SCRAM-SHA-512"
    )
    sasl_user: str | None = doc("SASL 用户名，缺省不用 SASL", "SASL user; no SASL if unset", None)
    sasl_password: SecretStr | None = doc("SASL 密码", "SASL password", None)


class Http(Section):
    host: str = doc("REST 监听地址", "address that REST listens on", "127.0.0.1")
    port: int = doc("REST 端口，0 为任选", "port of REST, 0 for any free one", 8080, ge=0, le=65535)
    public_url: str | None = doc(
        "对外的网址，缺省由地址和端口得出", "address as seen from outside; made of host and port if unset", None
    )
    progress_url: str | None = doc(
        "回执二维码所指的进度查询页，{code} 处填案件码；缺省为对外网址下的 /progress?code={code}",
        "page that the QR code of a receipt leads to, with the case's code at {code}; /progress?code={code} of the public address if unset",
        None,
        pattern=r"^https?://[^{}]*\{code\}[^{}]*$",
    )
    proxies: list[IPv4Network | IPv6Network] = doc(
        "前置代理所在网段，JSON 数组；来自这些地址的请求以 X-Forwarded-For 为来源地址",
        "networks of the proxies in front, a JSON array: of requests from there X-Forwarded-For says whose they are",
        lambda: [IPv4Network("127.0.0.0/8")],
    )
    cors_origins: list[str] = doc("允许跨域的来源，JSON 数组", "origins allowed by CORS, a JSON array", list)
    body_limit: int = doc("请求体上限（字节）", "largest body of a request, bytes", 1024 * 1024, ge=1024)
    upload_limit: int = doc("上传文件上限（字节）", "largest upload, bytes", 20 * 1024 * 1024, ge=1024)
    timeout: float = doc("一次请求的最长秒数", "seconds that a request may take", 15.0, gt=0)


class Stream(Section):
    """Events as they happen, for front ends."""

    history: int = doc(
        "为断线重连保留的最近事件数",
        "newest events that are kept for readers who come back",
        20_000,
        ge=10,
        le=1_000_000,
    )
    connections: int = doc("每个进程同时打开的事件流数", "streams that one process has open at a time", 2_000, ge=1)
    per_account: int = doc("每个账号同时打开的事件流数", "streams that one account has open at a time", 20, ge=1)
    heartbeat_seconds: float = doc(
        "无事件时的心跳间隔（秒）", "seconds between signs of life when nothing happens", 15.0, ge=0.1
    )


class Tls(Section):
    """TLS between processes. It is on where `ca` is set; the files are read again when they change."""

    ca: Path | None = doc(
        "验证对方证书的 CA 文件（PEM）；写明后进程之间使用 TLS",
        "PEM file of the authority that the other end's certificate must come from; TLS between processes is on where it is set",
        None,
    )
    certificate: Path | None = doc(
        "本进程的证书链文件（PEM）", "PEM file of this process's certificate and its chain", None
    )
    key: Path | None = doc(
        "证书的私钥文件（PEM，不加密）", "PEM file of the certificate's private key, not encrypted", None
    )
    client: Literal["required", "none"] = doc(
        "是否要求客户端出示证书（双向 TLS）：required 或 none",
        "whether clients must show a certificate (mutual TLS): required or none",
        "required",
    )
    names: dict[str, str] = doc(
        "各服务证书中的名称，JSON 对象：服务名 → 名称；缺省为地址中的主机名",
        "names in the services' certificates, a JSON object: service → name; the host of the address if unset",
        dict,
    )


class Grpc(Section):
    host: str = doc("gRPC 监听地址", "address that gRPC listens on", "127.0.0.1")
    port: int = doc("gRPC 端口，0 为任选", "port of gRPC, 0 for any free one", 9090, ge=0, le=65535)
    addresses: dict[str, str] = doc(
        "其他进程中各服务的地址，JSON 对象：服务名 → host:port；多个副本写作一个域名，或以逗号分隔的 IP:port",
        "addresses of the services in other processes, a JSON object: service → host:port; "
        "several replicas stand behind one name or are IP:port,IP:port",
        dict,
    )
    timeout: float = doc("未带期限的调用的最长秒数", "seconds for calls that come without a deadline", 30.0, gt=0)
    keepalive_seconds: float = doc(
        "连接静默多少秒后探测对方",
        "seconds of silence after which the other end of a connection is probed",
        10.0,
        ge=0.2,
    )
    connection_age_seconds: float = doc(
        "服务端保留一条连接的秒数，之后客户端重连，从而用上新副本",
        "seconds that a server keeps a connection; clients then connect anew and so find new replicas",
        300.0,
        ge=1,
    )
    tls: Tls = doc("进程之间的 TLS", "TLS between processes", Tls)

    @field_validator("addresses")
    @classmethod
    def _where_they_are(cls, addresses: dict[str, str]) -> dict[str, str]:
        for address in addresses.values():
            if not _ONE_ADDRESS.fullmatch(address) and not _IP_ADDRESSES.fullmatch(address):
                raise PydanticCustomError(
                    "grpc_address", "{address} is neither host:port nor IP:port,IP:port", {"address": address}
                )
        return addresses


_IPV4, _IPV6, _PORT = r"\d+(\.\d+){3}", r"\[[0-9a-fA-F:]+\]", r":\d{1,5}"

#: One host, or the same after a resolver's scheme; or the replicas one by one, all IPv4 or all IPv6.
_ONE_ADDRESS: Final = re.compile(rf"(dns:///)?([\w.-]+|{_IPV6}){_PORT}")
_IP_ADDRESSES: Final = re.compile(rf"{_IPV4}{_PORT}(,{_IPV4}{_PORT})+|{_IPV6}{_PORT}(,{_IPV6}{_PORT})+")


class Redis(Section):
    ca: Path | None = doc(
        "验证 Redis 证书的 CA 文件（PEM，rediss://），缺省为系统的 CA",
        "PEM file of the authority of Redis's certificate (rediss://); the system's if unset",
        None,
    )
    timeout: float = doc(
        "等待 Redis 的秒数，超过即视为不可用并照常继续",
        "seconds to wait for Redis; later it is away, and all goes on without it",
        0.05,
        gt=0,
    )


class Limits(Section):
    enabled: bool = doc("是否限制调用频率", "whether the rate of calls is limited", True)
    reads: int = doc(
        "每个账号每分钟的读取次数，0 为不限", "reads of an account in a minute, 0 for no limit", 6000, ge=0
    )
    writes: int = doc(
        "每个账号每分钟的写入次数，0 为不限", "writes of an account in a minute, 0 for no limit", 3000, ge=0
    )
    anonymous_reads: int = doc(
        "每个地址每分钟未登录的读取次数，0 为不限",
        "reads of an address without an account in a minute, 0 for no limit",
        1200,
        ge=0,
    )
    anonymous_writes: int = doc(
        "每个地址每分钟未登录的写入次数，0 为不限",
        "writes of an address without an account in a minute, 0 for no limit",
        600,
        ge=0,
    )


class Mapped(Section):
    """What the claims of an issuer mean here (kit/claims.py)."""

    claims: dict[str, str | list[str]] = doc(
        "声明映射，JSON 对象：account、roles、department、divisions → 令牌中的路径（可为多个）",
        "mapping of claims, a JSON object: account, roles, department, divisions → path or paths in the token",
        dict,
    )
    prefixes: dict[str, str] = doc(
        '只认带此前缀的值并去掉前缀，JSON 对象，如 {"roles": "hetao-", "divisions": "/divisions/"}',
        'only values with this prefix count, without it; a JSON object, such as {"roles": "hetao-", "divisions": "/divisions/"}',
        dict,
    )
    roles: dict[str, str] = doc(
        "角色改名，JSON 对象：签发方的角色 → 本平台的角色；写明后其余角色须有前缀才算",
        "renamed roles, a JSON object: the issuer's role → ours; others count by their prefix alone then",
        dict,
    )
    departments: dict[str, str] = doc(
        "部门对照，JSON 对象：签发方的部门 → 本平台的部门编号",
        "departments, a JSON object: the issuer's department → id of ours",
        dict,
    )


class OtherIssuer(Mapped):
    issuer: str = doc("OIDC 签发方", "OIDC issuer", pattern=ISSUER)
    audience: str | None = doc(
        "令牌的受众，缺省同主签发方", "audience of its tokens; the first issuer's if unset", None
    )
    account_prefix: str = doc(
        "其账号的前缀，与主签发方的账号区分",
        "prefix of its accounts, which tells them from those of the first issuer",
        min_length=2,
        max_length=40,
    )
    ca_file: Path | None = doc("签发方 TLS 的 CA 文件", "file of the CA of its TLS", None)


class Identity(Mapped):
    issuer: str | None = doc(
        "OIDC 签发方，缺省使用内置演示签发方（仅内嵌模式）",
        "OIDC issuer; the built-in demo issuer if unset (embedded only)",
        None,
        pattern=ISSUER,
    )
    audience: str = doc("令牌的受众", "audience that tokens must name", "hetao")
    others: list[OtherIssuer] = doc(
        '其他可信签发方，JSON 数组，如 [{"issuer": "https://…", "account_prefix": "court:"}]，可各有声明映射',
        'further issuers, a JSON array, such as [{"issuer": "https://…", "account_prefix": "court:"}], each with a mapping of its own',
        list,
    )
    ca_file: Path | None = doc(
        "签发方 TLS 的 CA 文件（PEM），系统证书之外再信任它",
        "file (PEM) of the CA of the issuer's TLS, trusted beside the public ones",
        None,
    )
    clock_skew_seconds: int = doc("允许的时钟误差（秒）", "clock skew allowed, seconds", 30, ge=0, le=300)
    key_minutes: int = doc(
        "签发方公钥的复查间隔（分钟）；遇到新的密钥编号随时查询",
        "minutes after which the issuer's keys are looked at again; for a new key id at once",
        60,
        ge=1,
    )
    longest_token_minutes: int = doc(
        "令牌有效期上限（分钟），更长的不予接受",
        "minutes that a token may last; others are refused",
        24 * 60,
        ge=1,
    )
    logout_clients: list[str] = doc(
        "后端登出通知的受众（客户端编号），JSON 数组，缺省为令牌的受众",
        "audiences (client ids) of back-channel logout, a JSON array; that of the tokens if unset",
        list,
    )
    logout_everywhere: bool = doc(
        "后端登出时终止该账号的全部会话；访问令牌不含 sid 时需要",
        "back-channel logout ends all sessions of its subject; needed where access tokens carry no sid",
        False,
    )
    token_minutes: int = doc("演示令牌有效分钟数", "minutes that a demo token lasts", 12 * 60, ge=1)
    system_token_minutes: int = doc(
        "外部系统令牌有效分钟数", "minutes that a token of an outside system lasts", 10, ge=1, le=60
    )
    register_seconds: float = doc(
        "查询名册（外部系统、已吊销会话）的间隔（秒）：停用与吊销最迟在此间隔加 2 秒后处处生效",
        "seconds between looks at the register of outside systems and revoked sessions: what is revoked is so everywhere this and 2 seconds later",
        2.0,
        gt=0,
        le=60,
    )
    register_away_minutes: float = doc(
        "名册不可达时继续沿用已知内容的分钟数，之后拒绝所有令牌",
        "minutes for which what is known of the register counts while it is out of reach; then every token is refused",
        60.0,
        gt=0,
    )

    @property
    def longest_session(self) -> timedelta:
        """After which every token that is out now has expired."""
        minutes = self.longest_token_minutes if self.issuer else max(self.longest_token_minutes, self.token_minutes)
        return timedelta(minutes=minutes + 1, seconds=2 * self.clock_skew_seconds)


class Keys(Section):
    file: Path | None = doc("密钥文件，缺省在数据目录 keys 下", "key file; in the data folder's keys if unset", None)
    suite: Literal["aes", "sm"] = doc(
        "密码套件：aes（AES-256-GCM、SHA-256）或 sm（SM4-GCM、SM3）", "ciphers: aes or sm (SM4, SM3)", "aes"
    )


class Telemetry(Section):
    otlp_endpoint: str | None = doc(
        "OTLP/HTTP 地址，缺省不导出", "address of OTLP over HTTP; nothing is exported if unset", None
    )
    sample_ratio: float = doc("采样比例", "share of traces that is kept", 1.0, ge=0, le=1)
    push_seconds: float = doc("OTLP 推送指标的间隔（秒）", "seconds between two pushes of metrics by OTLP", 30.0, gt=0)
    look_seconds: float = doc(
        "为指标查询数据库与日志的间隔（秒）", "seconds between looks at the database and the log for metrics", 8.0, gt=0
    )
    access_log: bool = doc("每个请求与调用记一行日志", "a line in the log for every request and call", True)
    log_level: Literal["debug", "info", "warning", "error"] = doc("日志级别", "level of the logs", "info")
    log_format: Literal["auto", "text", "json"] = doc(
        "日志格式；auto：终端为文本，其余为 JSON", "auto: text on a terminal, else JSON", "auto"
    )


class Ops(Section):
    host: str = doc(
        "运维监听地址（/healthz、/readyz、/metrics）",
        "address of the operators' listener (/healthz, /readyz, /metrics)",
        "127.0.0.1",
    )
    port: int | None = doc(
        "运维端口，0 为任选；缺省不监听",
        "port of the operators' listener, 0 for any free one; none if unset",
        None,
        ge=0,
        le=65535,
    )
    patience_seconds: float = doc(
        "启动时等待 Kafka 和所调用的其他服务的秒数，之后先行就绪",
        "seconds that a start waits for Kafka and the services that it calls; then it is ready without them",
        30.0,
        ge=0,
    )


class Timers(Section):
    poll_seconds: float = doc("无唤醒时的查询间隔（秒）", "seconds between looks when nobody wakes it", 1.0, gt=0)
    batch: int = doc("一次取出的到期项数", "due timers fetched at once", 200, ge=1, le=10_000)
    parallel: int = doc("同时执行的定时项数", "timers worked on at a time", 2, ge=1, le=50)
    attempts: int = doc("失败几次后搁置", "failures after which a timer is parked", 8, ge=1)


class Retention(Section):
    topic_days: int = doc("事件在日志中的天数", "days that the log keeps an event", 30, ge=1)
    inbox_days: int = doc("收件记录的天数，须长于日志", "days of the inbox; longer than the log", 35, ge=1)
    reply_days: int = doc("已存答复的天数", "days that stored replies are kept", 7, ge=1)
    batch: int = doc("一次清理的行数", "rows removed at once", 1000, ge=1, le=50_000)
    every_seconds: float = doc("清理间隔（秒）", "seconds between clean-ups", 60.0, gt=0)

    @model_validator(mode="after")
    def _inbox_outlives_the_topic(self) -> Self:
        if self.inbox_days <= self.topic_days:  # else an event could be read again after its inbox row is gone
            raise PydanticCustomError("inbox_outlives_topic", "inbox_days must be greater than topic_days")
        return self


class Audit(Section):
    seal_seconds: float = doc("审计封块间隔（秒）", "seconds between the audit's blocks", 5.0, gt=0)


class Media(Section):
    url: str | None = doc(
        "照片与文件的存储地址（s3://… 或 file:///…），缺省在数据目录",
        "store of photos and documents; in the data folder if unset",
        None,
    )
    pixel_limit: int = doc("图片像素上限", "largest image, pixels", 50_000_000, ge=10_000)
    link_minutes: int = doc(
        "免登录图片链接的有效分钟数",
        "minutes for which a signed link to a photo works, without a token",
        10,
        ge=1,
        le=60,
    )


class Sms(Section):
    url: str | None = doc(
        "短信接口地址；缺省：内嵌模式用自带的模拟器，生产模式不发短信",
        "address that takes text messages; if unset: an emulator of our own in the embedded profile, no text messages in production",
        None,
    )
    secret: SecretStr | None = doc(
        "与短信接口共有的签名密钥（whsec_ 加 base64），也用来核对回执",
        "the secret that the provider knows too (whsec_ and base64); receipts are checked with it",
        None,
    )


class Webhooks(Section):
    networks: list[IPv4Network | IPv6Network] | None = doc(
        'Webhook 可到达的内网网段，JSON 数组，如 ["10.1.0.0/16"]；缺省：内嵌模式为本机，生产模式为无',
        "private networks that webhooks may reach, a JSON array; if unset: this machine in the embedded profile, none in production",
        None,
    )
