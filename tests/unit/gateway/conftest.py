"""A contract of the tests' own, compiled when they start."""

import sys
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import pytest
from google.api import annotations_pb2
from grpc_tools import protoc


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """The module of shop.proto."""
    target = tmp_path_factory.mktemp("shop")
    google = Path(annotations_pb2.__file__).parents[2]
    includes = [f"-I{Path(__file__).parent}", f"-I{google}", f"-I{files('grpc_tools') / '_proto'}"]
    assert protoc.main(["protoc", *includes, f"--python_out={target}", "shop.proto"]) == 0
    sys.path.insert(0, str(target))
    yield import_module("shop_pb2")
    sys.path.remove(str(target))
