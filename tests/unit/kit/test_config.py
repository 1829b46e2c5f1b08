"""The settings: where each comes from, and that a mistake is named in one line."""

import os
import re
from pathlib import Path

import pytest

from kit.config import Settings, default_data_dir, describe, load, world_traversable
from kit.errors import StartupError


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("HETAO_")]:
        monkeypatch.delenv(name)


def shown(settings: Settings, variable: str) -> tuple[str, str]:
    return next((s.value, s.source) for s in describe(settings) if s.variable == variable)


def test_every_default_serves_one_process_on_one_machine():
    settings = load()
    assert settings.profile == "embedded"
    assert settings.embedded
    assert settings.root_division == "1508"
    assert (settings.http.host, settings.http.port) == ("127.0.0.1", 8080)
    assert (settings.grpc.host, settings.grpc.port) == ("127.0.0.1", 9090)
    assert settings.data_dir.is_absolute()
    assert settings.key_file.is_relative_to(settings.data_dir)


def test_the_environment_sets_a_nested_value_and_is_named_as_its_source(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HETAO_HTTP__PORT", "8081")
    settings = load()
    assert settings.http.port == 8081
    assert shown(settings, "HETAO_HTTP__PORT") == ("8081", "environment")
    assert shown(settings, "HETAO_GRPC__PORT") == ("9090", "default")


def test_an_override_stands_before_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HETAO_HTTP__PORT", "8081")
    monkeypatch.setenv("HETAO_HTTP__HOST", "127.0.0.2")
    assert load(http={"port": 0}).http.model_dump(include={"host", "port"}) == {"host": "127.0.0.2", "port": 0}


def test_a_stray_database_url_is_not_obeyed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://other@elsewhere/db")
    assert load().embedded
    monkeypatch.setenv("HETAO_DATABASE_URL", "postgresql://ours:pass@here/db")
    assert not load().embedded


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HETAO_DATABASE_URL", "postgresql://ours:open-sesame@here/db")
    monkeypatch.setenv("HETAO_DATABASE__URLS", '{"grid": "postgresql://grid:open-sesame@here/db"}')
    settings = load()
    assert shown(settings, "HETAO_DATABASE_URL") == ("********", "environment")
    assert shown(settings, "HETAO_DATABASE__URLS") == ("grid=********", "environment")
    assert "open-sesame" not in repr(settings) + repr(describe(settings))


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("HETAO_HTPP__PORT", "1", "HETAO_HTTP__PORT"),
        ("HETAO_HTTP__PROT", "1", "HETAO_HTTP__PROT"),
        ("HETAO_HTTP__PORT", "many", "HETAO_HTTP__PORT"),
        ("HETAO_PROFILE", "prod", "HETAO_PROFILE"),
        ("HETAO_ROOT_DIVISION", "15", "HETAO_ROOT_DIVISION"),
        ("HETAO_GRPC__ADDRESSES", "grid=1", "HETAO_GRPC"),
        ("HETAO_RETENTION__INBOX_DAYS", "30", "HETAO_RETENTION"),
        ("HETAO_HTTP__PORT", "70000", "不得大于 65535"),
        ("HETAO_HTTP__PORT", "8.5", "应为整数"),
        ("HETAO_HTTP__TIMEOUT", "soon", "应为数字"),
        ("HETAO_HTTP__TIMEOUT", "0", "应大于 0"),
        ("HETAO_DATABASE__POOL_SIZE", "0", "不得小于 1"),
        ("HETAO_DATABASE__PREPARE", "perhaps", "应为 true 或 false"),
        ("HETAO_TELEMETRY__LOG_LEVEL", "loud", "可选值为 debug、info、warning、error"),
        ("HETAO_RETENTION__INBOX_DAYS", "30", "inbox_days 须大于 topic_days"),
        ("HETAO_HTTP__PROT", "1", "没有这项设置"),
        ("HETAO_DATABASE__NAME", "Große", "格式不对"),
        ("HETAO_HTTP__CORS_ORIGINS", '{"a": 1}', "应为 JSON 数组"),
        ("HETAO_GRPC__ADDRESSES", "[]", "应为 JSON 对象"),
        ("HETAO_HTTP", "[]", "应为 JSON 对象"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(StartupError) as caught:
        load()
    assert said in caught.value.zh
    assert said in caught.value.en or not said.isascii()
    assert not re.search("[a-z]{3,} [a-z]{2,} ", caught.value.zh), "a sentence of English"
    assert not re.search("[\u4e00-\u9fff]", caught.value.en)
    assert "\n" not in caught.value.zh + caught.value.en


def test_the_data_folder_lies_where_an_unprivileged_user_can_walk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    checkout = tmp_path / "home" / "hetao"
    checkout.mkdir(parents=True)
    (checkout / "pyproject.toml").touch()
    monkeypatch.setattr("kit.config.CHECKOUT", checkout)
    monkeypatch.setattr("kit.config.os.geteuid", lambda: 0)
    monkeypatch.setattr("kit.config.world_traversable", lambda _: False)
    assert default_data_dir() == Path("/var/lib/hetao")
    monkeypatch.setattr("kit.config.world_traversable", lambda _: True)
    assert default_data_dir() == checkout / "var"
    monkeypatch.setattr("kit.config.os.geteuid", lambda: 1000)
    monkeypatch.setattr("kit.config.world_traversable", lambda _: False)
    assert default_data_dir() == checkout / "var"
    (checkout / "pyproject.toml").unlink()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert default_data_dir() == tmp_path / "state" / "hetao"


def test_a_folder_closed_to_others_is_seen_as_such(tmp_path: Path):
    inner = tmp_path / "closed" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    assert not world_traversable(inner)


def test_every_setting_is_described_in_both_languages():
    for setting in describe(load()):
        assert any("\u4e00" <= c <= "\u9fff" for c in setting.zh) or setting.zh.isascii(), setting
        assert setting.en
        assert not any("\u4e00" <= c <= "\u9fff" for c in setting.en), setting
