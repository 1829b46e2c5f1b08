"""The contracts that the gateway serves: whatever is generated under `hetao`. A new service needs no word here."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from kit.config import CHECKOUT

#: Served by every service alike; the request names the one that is meant.
OPERATIONS = "operations"

#: The compiled contracts with their comments.
DESCRIPTORS: Path = CHECKOUT / "gen" / "descriptors.binpb"


@cache
def files() -> tuple[FileDescriptor, ...]:
    """Every contract file, by name."""
    compiled = FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    names = sorted(file.name for file in compiled.file if file.name.startswith("hetao/"))
    return tuple(import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2").DESCRIPTOR for name in names)


@cache
def services() -> tuple[ServiceDescriptor, ...]:
    """Every RPC service with REST paths, those of one package together. The others are for processes of the platform alone."""
    every = (service for file in files() for service in file.services_by_name.values())
    return tuple(service for service in every if any(_has_path(method) for method in service.methods))


def _has_path(method: MethodDescriptor) -> bool:
    return bool(method.GetOptions().HasExtension(annotations_pb2.http))


def owner(service: ServiceDescriptor) -> str:
    """Who answers: "hetao.cases.v1.TaskService" → "cases"."""
    return str(service.full_name.split(".")[1])


@cache
def names() -> tuple[str, ...]:
    """The services of the platform by name."""
    return tuple(sorted({owner(service) for service in services()} - {OPERATIONS}))
