"""Contracts of the tests' own, compiled when they start."""

import sys
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import pytest
from grpc_tools import protoc

from kit.config import CHECKOUT
from services.gateway.comments import Comments

HERE = Path(__file__).parent


def compiled(name, target):
    """The module of a contract in this folder; its descriptors with comments stand beside it."""
    roots = [HERE, CHECKOUT / "proto", CHECKOUT / "third_party", files("grpc_tools") / "_proto"]
    outputs = [f"--python_out={target}", f"--descriptor_set_out={target / name}.binpb", "--include_source_info"]
    assert protoc.main(["protoc", *(f"-I{root}" for root in roots), *outputs, f"{name}.proto"]) == 0
    sys.path.insert(0, str(target))
    try:
        return import_module(f"{name}_pb2")
    finally:
        sys.path.remove(str(target))


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """Every shape that the gateway must know: shop.proto."""
    return compiled("shop", tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def limits(tmp_path_factory):
    """(module, comments) of limits.proto: every kind of limit."""
    target = tmp_path_factory.mktemp("limits")
    return compiled("limits", target), Comments.load(target / "limits.binpb")
