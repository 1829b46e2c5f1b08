"""Somebody else reads our topics: a client of CloudEvents that we did not write, and the published proto files. Nothing of ours is on its path."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from grpc_tools import protoc

from hetao.common.v1 import common_pb2
from hetao.grid.v1 import events_pb2, reports_pb2, reports_pb2_grpc, types_pb2
from hetao.operations.v1 import operations_pb2, operations_pb2_grpc
from kit.events import topic_of
from kit.log.cloudevents import envelope_of, headers_of
from kit.relay import Relay
from tests.conformance.conftest import KafkaLogs, record
from tests.world import World

ROOT = Path(__file__).parents[2]

#: What a reader elsewhere would write: arguments are the broker, the topic, and a compiled set of the proto files.
READER = '''
import asyncio, json, sys
from aiokafka import AIOKafkaConsumer, TopicPartition
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

broker, topic, contract = sys.argv[1:]
pool = descriptor_pool.DescriptorPool()
for file in descriptor_pb2.FileDescriptorSet.FromString(open(contract, "rb").read()).file:
    pool.Add(file)


class Protobuf:
    """The value as it is: its type says how to read it."""

    def read_data(self, body, datacontenttype):
        return body


def told(record):
    event = from_binary(KafkaMessage(headers=dict(record.headers), key=record.key, value=record.value), Protobuf())
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName(event.get_type()))()
    message.ParseFromString(event.get_data())
    attributes = {**event.get_attributes(), "time": event.get_time().isoformat()}
    return attributes, json_format.MessageToDict(message, preserving_proto_field_name=True, descriptor_pool=pool)


async def main():
    reader = AIOKafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest")
    await reader.start()
    try:
        reader.assign([TopicPartition(topic, partition) for partition in range(8)])
        ends = await reader.end_offsets(reader.assignment())
        found = []
        while len(found) < sum(ends.values()):
            for records in (await reader.getmany(timeout_ms=500)).values():
                found += map(told, records)
        print(json.dumps(found))
    finally:
        await reader.stop()


asyncio.run(main())
assert not {"kit", "hetao", "services"} & set(sys.modules)
'''


def contract(file: Path) -> Path:
    """The published proto files and what they import, as any build would compile them."""
    sources = [str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto" / "hetao").rglob("*.proto")]
    includes = [f"-I{ROOT / 'proto'}", f"-I{ROOT / 'third_party'}", f"-I{Path(protoc.__file__).parent / '_proto'}"]
    assert protoc.main(["protoc", *includes, "--include_imports", f"--descriptor_set_out={file}", *sources]) == 0
    return file


def read_by_somebody(logs: KafkaLogs, topic: str, scratch: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    script = scratch / "reader.py"
    script.write_text(READER)
    name = logs.settings.kafka.prefix + topic
    done = subprocess.run(
        [sys.executable, "-I", str(script), logs.server.address, name, str(contract(scratch / "contract.binpb"))],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=scratch,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[tuple[dict[str, Any], dict[str, Any]]] = json.loads(done.stdout)
    return found


async def test_a_client_of_cloudevents_reads_our_topics(kafka_logs: KafkaLogs, world: World, scratch: Path) -> None:
    topic = topic_of("grid")
    await kafka_logs.make(topic)
    grid = world.stub(reports_pb2_grpc.ReportServiceStub, "grid", "grid-worker")
    point = common_pb2.Point(lat=40.7526, lon=107.3727)
    request = reports_pb2.CreateReportRequest(kind=types_pb2.REPORT_KIND_SANITATION, title="垃圾", point=point)
    report = (await grid.CreateReport(request)).report
    operations = world.stub(operations_pb2_grpc.OperationsServiceStub, "grid", "admin")
    await operations.Republish(operations_pb2.RepublishRequest(service="grid"))
    rows = await world.rows(
        "grid", "select event_id, type, key, value, traceparent, division, snapshot, at from outbox"
    )
    relay = Relay(world.platform.services["grid"].runtime, await kafka_logs.client())
    while await relay.step():
        pass

    found = {
        attributes["id"]: (attributes, message) for attributes, message in read_by_somebody(kafka_logs, topic, scratch)
    }
    assert found.keys() == {str(row["event_id"]) for row in rows}
    for row in rows:
        attributes, message = found[str(row["event_id"])]
        assert attributes["specversion"] == "1.0"
        assert attributes["type"] == row["type"]
        assert attributes["source"] == "/1508/grid"
        assert attributes["subject"] == attributes["partitionkey"] == row["key"]
        assert attributes["datacontenttype"] == "application/protobuf"
        assert attributes["time"] == row["at"].isoformat()
        assert attributes.get("division", "") == row["division"]
        assert attributes.get("snapshot", "false") == str(row["snapshot"]).lower()
        assert attributes.get("traceparent", "") == row["traceparent"]
        assert message
    said = next(
        m for a, m in found.values() if a["type"] == "hetao.grid.v1.ReportChanged" and a.get("snapshot") != "true"
    )
    ours = next(row for row in rows if row["type"] == "hetao.grid.v1.ReportChanged" and not row["snapshot"])
    assert said["report_id"] == report.report_id
    changed = events_pb2.ReportChanged.FromString(ours["value"])
    assert said == MessageToDict(changed, preserving_proto_field_name=True)
    assert any(attributes.get("snapshot") == "true" for attributes, _ in found.values())


def test_attributes_come_back_as_they_were() -> None:
    envelope = record("key", snapshot=True).envelope
    assert envelope_of(headers_of(envelope), b"key") == envelope
    assert envelope_of(headers_of(envelope), None) == envelope, "the subject is the key"


def test_nothing_but_the_attributes_travels_in_headers() -> None:
    names = {name for name, _ in headers_of(record("key", snapshot=True).envelope)}
    attributes = {"ce_id", "ce_type", "ce_source", "ce_specversion", "ce_time", "ce_subject", "content-type"}
    assert names == attributes | {"ce_division", "ce_snapshot", "ce_traceparent"}
