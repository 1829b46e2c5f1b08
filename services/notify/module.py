"""The wiring of notify."""

from __future__ import annotations

import tomllib
from pathlib import Path

from hetao.notify.v1 import deliveries_pb2, endpoints_pb2, messages_pb2
from kit.config import CHECKOUT
from kit.egress import LOOPBACK, Egress
from kit.module import LOG, POSTGRES, REDIS, Module, Parts, Runtime
from kit.reseal import Sealed
from services.notify import events, jobs
from services.notify.api import DeliveryApi, EndpointApi, MessageApi
from services.notify.channels import Webhook, WecomRobot
from services.notify.model import WEBHOOK, WECOM_ROBOT, Rules, Template
from services.notify.service import Notify

DATA = CHECKOUT / "data"


def load_templates(folder: Path) -> dict[str, Template]:
    """Every template of the folder. Raises ValueError for one that is there twice or whose variables do not agree."""
    templates: dict[str, Template] = {}
    for path in sorted(folder.glob("*.toml")):
        for name, entry in tomllib.loads(path.read_text(encoding="utf-8")).items():
            if name in templates:
                raise ValueError(f"{path.name}: the template {name} is there already")
            templates[name] = Template.parsed(name, entry)
    return templates


def build(runtime: Runtime) -> Parts:
    rules = Rules.parsed(tomllib.loads((DATA / "rules" / "notify.toml").read_text(encoding="utf-8"))["notify"])
    embedded = runtime.settings.profile == "embedded"
    networks = runtime.settings.webhooks.networks
    egress = Egress((LOOPBACK if embedded else ()) if networks is None else networks, service=runtime.name)
    service = Notify(
        load_templates(DATA / "templates"),
        rules,
        runtime.texts,
        links=f"{runtime.settings.public_url}/v1",
        egress=egress,
        insecure_allowed=embedded,
    )
    sender = jobs.Sender(runtime, service, {WEBHOOK: Webhook(), WECOM_ROBOT: WecomRobot()}, egress)
    return Parts(
        rpc={
            messages_pb2.DESCRIPTOR.services_by_name["MessageService"]: MessageApi(service),
            deliveries_pb2.DESCRIPTOR.services_by_name["DeliveryService"]: DeliveryApi(service),
            endpoints_pb2.DESCRIPTOR.services_by_name["EndpointService"]: EndpointApi(service),
        },
        hears=events.handlers(service),
        timers=jobs.timers(service),
        workers=[sender.run],
    )


MODULE = Module(
    "notify",
    build,
    hears=["grid", "cases"],
    engines=[POSTGRES, LOG, REDIS],
    egress=["qyapi.weixin.qq.com:443", "webhook endpoints:443"],
    migrations=Path(__file__).with_name("migrations"),
    projections=["department", "post", "staff"],
    sealed=[
        Sealed("endpoint", "url", "notify.endpoint.url"),
        Sealed("endpoint", "secret", "notify.endpoint.secret"),
    ],
)
