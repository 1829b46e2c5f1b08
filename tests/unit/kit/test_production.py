"""What the production profile refuses to start with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kit.config import Settings, load
from kit.errors import StartupError
from kit.platform import Platform
from kit.production import check_settings, findings, keeper_missing, secret_files

SECRET = "3f9c0a7be1d84c5f"


@pytest.fixture
def good(tmp_path: Path) -> dict[str, Any]:
    """Settings of an installation that is as it should be."""
    for name in ("keyring.json", "grpc.key", "kafka.key"):
        (tmp_path / name).write_text("{}")
        (tmp_path / name).chmod(0o600)
    return {
        "profile": "production",
        "data_dir": tmp_path,
        "identity": {"issuer": "https://id.example.cn/realms/hetao"},
        "keys": {"file": tmp_path / "keyring.json"},
        "database_url": f"postgresql://hetao:{SECRET}@db.example.cn/hetao?sslmode=verify-full",
        "database": {"role_secret": SECRET},
        "redis_url": f"rediss://:{SECRET}@redis.example.cn:6379/0",
        "kafka": {
            "bootstrap": "kafka.example.cn:9093",
            "tls": True,
            "tls_key": tmp_path / "kafka.key",
            "sasl_password": SECRET,
        },
        "grpc": {
            "host": "0.0.0.0",
            "addresses": {"grid": "grid:9090"},
            "tls": {"ca": tmp_path / "ca.pem", "certificate": tmp_path / "grpc.pem", "key": tmp_path / "grpc.key"},
        },
        "http": {"host": "127.0.0.1", "public_url": "https://hetao.example.cn"},
        "telemetry": {"otlp_endpoint": "https://otel.example.cn"},
    }


def changed(good: dict[str, Any], path: str, value: Any) -> Settings:
    """The good settings but for one, by its dotted name."""
    section, _, name = path.rpartition(".")
    told = {**good, section.partition(".")[0]: dict(good[section.partition(".")[0]])} if section else dict(good)
    place = told
    for part in filter(None, section.split(".")):
        place[part] = dict(place[part])
        place = place[part]
    if value is None:
        place.pop(name)
    else:
        place[name] = value
    return load(**told)


def wrong(settings: Settings) -> list[str]:
    return [one.variable for one in findings(settings)]


def test_what_is_as_it_should_be_starts(good: dict[str, Any]) -> None:
    check_settings(load(**good))


@pytest.mark.parametrize(
    ("path", "value", "variable"),
    [
        ("identity.issuer", None, "HETAO_IDENTITY__ISSUER"),
        ("identity.issuer", "http://id.example.cn", "HETAO_IDENTITY__ISSUER"),
        ("identity.others", [{"issuer": "http://b.cn", "account_prefix": "b:"}], "HETAO_IDENTITY__OTHERS"),
        ("keys.file", None, "HETAO_KEYS__FILE"),
        ("keys.file", "/nowhere/keyring.json", "HETAO_KEYS__FILE"),
        ("database.role_secret", None, "HETAO_DATABASE__ROLE_SECRET"),
        ("database.role_secret", "changeme", "HETAO_DATABASE__ROLE_SECRET"),
        ("database.role_secret", "aaaaaaaaaaaaaaaaaaaa", "HETAO_DATABASE__ROLE_SECRET"),
        ("database_url", f"postgresql://hetao:{SECRET}@db/hetao", "HETAO_DATABASE_URL"),
        ("database_url", f"postgresql://hetao:{SECRET}@db/hetao?sslmode=prefer", "HETAO_DATABASE_URL"),
        ("database_url", "postgresql://hetao:hetao@db/hetao?sslmode=require", "HETAO_DATABASE_URL"),
        ("database.urls", {"grid": f"postgresql://grid:{SECRET}@db/hetao"}, "HETAO_DATABASE__URLS[grid]"),
        ("redis_url", f"redis://:{SECRET}@redis:6379/0", "HETAO_REDIS_URL"),
        ("redis_url", "rediss://:redis@redis:6379/0", "HETAO_REDIS_URL"),
        ("kafka.tls", False, "HETAO_KAFKA__TLS"),
        ("kafka.sasl_password", "kafka", "HETAO_KAFKA__SASL_PASSWORD"),
        ("grpc.tls", {}, "HETAO_GRPC__TLS__CA"),
        ("http.host", "0.0.0.0", "HETAO_HTTP__HOST"),
        ("http.public_url", None, "HETAO_HTTP__PUBLIC_URL"),
        ("http.public_url", "http://hetao.example.cn", "HETAO_HTTP__PUBLIC_URL"),
        ("http.proxies", ["10.0.0.0/8", "0.0.0.0/0"], "HETAO_HTTP__PROXIES"),
        ("http.proxies", ["0.0.0.0/1", "128.0.0.0/1"], "HETAO_HTTP__PROXIES"),
        ("http.proxies", ["::/0"], "HETAO_HTTP__PROXIES"),
        ("telemetry.otlp_endpoint", "http://otel.example.cn", "HETAO_TELEMETRY__OTLP_ENDPOINT"),
        ("media", {"url": "http://photos.example.cn/hetao"}, "HETAO_MEDIA__URL"),
    ],
)
def test_one_setting_that_is_wrong_is_named(good: dict[str, Any], path: str, value: Any, variable: str) -> None:
    settings = changed(good, path, value)
    assert wrong(settings) == [variable]
    with pytest.raises(StartupError) as refused:
        check_settings(settings)
    assert variable in refused.value.zh
    assert variable in refused.value.en
    assert SECRET not in refused.value.zh + refused.value.en


@pytest.mark.parametrize(
    ("link", "path", "value"),
    [
        ("issuer", "identity.issuer", "http://id.mesh"),
        ("postgres", "database_url", f"postgresql://hetao:{SECRET}@db/hetao"),
        ("redis", "redis_url", f"redis://:{SECRET}@redis:6379/0"),
        ("kafka", "kafka.tls", False),
        ("grpc", "grpc.tls", {}),
        ("http", "http.host", "0.0.0.0"),
        ("otlp", "telemetry.otlp_endpoint", "http://otel.mesh"),
        ("media", "media", {"url": "http://photos.mesh"}),
    ],
)
def test_a_link_that_a_mesh_encrypts_may_be_named(good: dict[str, Any], link: str, path: str, value: Any) -> None:
    assert wrong(changed({**good, "allow_plaintext": [link]}, path, value)) == []
    others = [
        name for name in ("grpc", "http", "issuer", "kafka", "postgres", "redis", "otlp", "media") if name != link
    ]
    assert len(wrong(changed({**good, "allow_plaintext": others}, path, value))) == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("database_url", "postgresql:///hetao?host=/run/postgresql"),
        ("database_url", f"postgresql://hetao:{SECRET}@%2Frun%2Fpostgresql/hetao"),
        ("redis_url", "unix:///run/redis.sock"),
        ("telemetry.otlp_endpoint", "http://127.0.0.1:4318"),
        ("redis_url", None),
        ("kafka", {}),
        ("database_url", None),
    ],
)
def test_what_does_not_leave_the_machine_needs_no_tls(good: dict[str, Any], path: str, value: Any) -> None:
    assert wrong(changed(good, path, value)) == []


def test_a_ca_for_kafka_asks_for_tls(good: dict[str, Any], tmp_path: Path) -> None:
    assert wrong(changed(good, "kafka", {"bootstrap": "kafka:9093", "tls_ca": tmp_path / "ca.pem"})) == []


def test_an_s3_without_tls_is_named(good: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = changed(good, "media", {"url": "s3://photos"})
    assert wrong(settings) == []
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio.example.cn:9000")
    assert wrong(settings) == ["AWS_ENDPOINT_URL"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    assert wrong(settings) == []


def test_one_process_alone_on_one_machine_needs_no_tls_between_processes(good: dict[str, Any]) -> None:
    assert wrong(load(**{**good, "grpc": {}})) == []
    assert wrong(load(**{**good, "grpc": {"addresses": {"grid": "grid:9090"}}})) == ["HETAO_GRPC__TLS__CA"]


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o666])
def test_key_files_that_everybody_can_read_or_change_are_named(good: dict[str, Any], tmp_path: Path, mode: int) -> None:
    settings = load(**good)
    named = dict(secret_files(settings))
    assert set(named) == {"HETAO_KEYS__FILE", "HETAO_GRPC__TLS__KEY", "HETAO_KAFKA__TLS_KEY"}
    for variable, path in named.items():
        path.chmod(mode)
        assert wrong(settings) == [variable]
        path.chmod(0o640)  # of a group that the platform runs in
        assert wrong(settings) == []


async def test_all_that_is_wrong_is_told_at_once_and_before_anything_is_made(tmp_path: Path) -> None:
    settings = load(
        profile="production", data_dir=tmp_path / "data", http={"host": "0.0.0.0"}, grpc={"host": "0.0.0.0"}
    )
    with pytest.raises(StartupError) as refused:
        async with Platform(settings, []):
            pass
    for variable in ("IDENTITY__ISSUER", "KEYS__FILE", "HTTP__PUBLIC_URL", "HTTP__HOST", "GRPC__TLS__CA"):
        assert f"HETAO_{variable}" in refused.value.zh
        assert f"HETAO_{variable}" in refused.value.en
    assert not (tmp_path / "data").exists()


def test_a_process_that_cannot_know_who_was_signed_out_does_not_start(
    good: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StartupError) as refused:
        keeper_missing(load(**good), "grid")
    assert "HETAO_GRPC__ADDRESSES" in refused.value.en
    keeper_missing(load(), "grid")
    assert "revoked sessions are not known here" in caplog.text
