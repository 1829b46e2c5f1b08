"""The wiring of notify."""

from __future__ import annotations

import tomllib
from pathlib import Path

from hetao.notify.v1 import deliveries_pb2, endpoints_pb2, manual_pb2, messages_pb2, sms_pb2
from kit.blobs import Blobs
from kit.config import CHECKOUT
from kit.egress import LOOPBACK, Egress
from kit.errors import StartupError
from kit.module import BLOBS, LOG, POSTGRES, REDIS, Module, Parts, Runtime
from kit.reseal import Sealed
from kit.signing import secret_of
from services.notify import events, jobs
from services.notify.api.manual import ManualDeliveryApi
from services.notify.api.messages import DeliveryApi, EndpointApi, MessageApi
from services.notify.api.sms import ContactApi, SmsReceiptApi
from services.notify.channels import Channel, SmsGate, Webhook, WecomRobot
from services.notify.model import SMS, WEBHOOK, WECOM_ROBOT, Rules, Template
from services.notify.service import Notify, SmsProvider, signals

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


def sms_provider(runtime: Runtime) -> SmsProvider | None:
    """Who takes text messages: the one of the settings; in the embedded profile without one, the emulator beside the REST interface."""
    given = runtime.settings.sms
    if given.url:
        if given.secret is None:
            raise StartupError(
                "设置了短信接口地址，但没有密钥 HETAO_SMS__SECRET",
                "text messages have an address but no secret, HETAO_SMS__SECRET",
            )
        return SmsProvider(given.url, given.secret.get_secret_value())
    if runtime.settings.profile != "embedded":
        return None
    secret = secret_of(runtime.keys.index("sms", "emulator"))
    return SmsProvider(f"{runtime.settings.public_url}/sms-emulator/messages", secret)


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
        calendar=runtime.deadlines.calendar,
        sms=sms_provider(runtime),
        blobs=Blobs.open(runtime.settings.media_url, pixel_limit=runtime.settings.media.pixel_limit),
    )
    channels: dict[str, Channel] = {WEBHOOK: Webhook(), WECOM_ROBOT: WecomRobot(), SMS: SmsGate()}
    sender = jobs.Sender(runtime, service, channels, egress)
    return Parts(
        rpc={
            messages_pb2.DESCRIPTOR.services_by_name["MessageService"]: MessageApi(service),
            deliveries_pb2.DESCRIPTOR.services_by_name["DeliveryService"]: DeliveryApi(service),
            endpoints_pb2.DESCRIPTOR.services_by_name["EndpointService"]: EndpointApi(service),
            manual_pb2.DESCRIPTOR.services_by_name["ManualDeliveryService"]: ManualDeliveryApi(service),
            sms_pb2.DESCRIPTOR.services_by_name["ContactService"]: ContactApi(service),
            sms_pb2.DESCRIPTOR.services_by_name["SmsReceiptService"]: SmsReceiptApi(service),
        },
        hears=events.handlers(service),
        timers=jobs.timers(service),
        workers=[sender.run],
        readings=signals.readings,
    )


MODULE = Module(
    "notify",
    build,
    hears=["grid", "cases"],
    engines=[POSTGRES, LOG, REDIS, BLOBS],
    egress=["qyapi.weixin.qq.com:443", "webhook endpoints:443", "provider of text messages:443"],
    migrations=Path(__file__).with_name("migrations"),
    projections=["department", "post", "staff"],
    sealed=[
        Sealed("endpoint", "url", "notify.endpoint.url"),
        Sealed("endpoint", "secret", "notify.endpoint.secret"),
        Sealed("contact", "phone", "notify.contact.phone"),
        Sealed("manual_try", "note", "notify.manual.note"),
    ],
)
