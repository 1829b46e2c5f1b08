"""Separate processes that talk to one another by mutual TLS: nothing but settings tells them from those that do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from hetao.grid.v1 import divisions_pb2, divisions_pb2_grpc
from tests.certificates import Authority
from tests.functional.split import SplitHetao, need_engines
from tests.functional.story import Centre


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[SplitHetao, Authority]]:
    need_engines()
    authority = Authority(tmp_path)
    tls = authority.tls("hetao")
    settings = {f"GRPC__TLS__{name.upper()}": str(getattr(tls, name)) for name in ("ca", "certificate", "key")}
    with SplitHetao("split", **settings) as running:
        yield running, authority


@pytest.mark.timeout(300)
def test_the_platform_runs_by_mutual_tls(secured: tuple[SplitHetao, Authority], tmp_path: Path) -> None:
    hetao, authority = secured
    centre = Centre.of(hetao)
    case = centre.dispatch(centre.accepted())
    assert centre.read(case)["state"] == "CASE_STATE_HANDLING"
    done = hetao.command("rebuild", "cases")  # a command of an operator, with the same certificate
    assert done.returncode == 0, done.stderr

    ask = divisions_pb2.GetDivisionRequest(code="150802")
    metadata = [("authorization", f"Bearer {centre.clerk.token}")]
    address = hetao.split.addresses()["grid"].split(",")[0]
    ca = authority.ca.read_bytes()
    stranger = Authority(tmp_path / "stranger").tls("stranger")
    assert stranger.certificate
    assert stranger.key
    for credentials in (
        None,
        grpc.ssl_channel_credentials(ca),
        grpc.ssl_channel_credentials(ca, stranger.key.read_bytes(), stranger.certificate.read_bytes()),
    ):
        channel = grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address)
        with channel, pytest.raises(grpc.RpcError) as caught:
            divisions_pb2_grpc.DivisionServiceStub(channel).GetDivision(ask, metadata=metadata, timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
