"""`hetao rebuild`, `hetao deadletters`: what operators ask of a running platform, over gRPC."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import click
from grpc import StatusCode
from grpc.aio import AioRpcError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from hetao.operations.v1 import operations_pb2 as pb
from hetao.operations.v1 import operations_pb2_grpc
from kit.config import TOKEN_VARIABLE, Settings, load
from kit.errors import StartupError
from kit.rpc.client import ServiceChannel
from kit.rpc.tls import Certificates
from services.cli import err, out, table
from services.cli.settings import demo_token

#: Seconds between two questions whether the last events have been heard.
_ASK_AGAIN = 0.2

Call = Callable[[str, Any], Awaitable[Any]]


def running(
    work: Callable[[Call], Coroutine[Any, Any, None]],
    stub: Callable[[Any], Any] = operations_pb2_grpc.OperationsServiceStub,
    of: str = "",
    *,
    signed: bool = True,
) -> None:
    """Does `work` with a function `call(method, request)` of the OperationsService, where the request says of which service; or of another `stub`
    of the service `of`. `signed`: as an operator, whose token it takes."""
    settings = load()
    metadata = [("authorization", f"Bearer {_token(settings)}")] if signed else []

    async def main() -> None:
        certificates = Certificates.of(settings.grpc.tls)
        channels: dict[str, Any] = {}

        async def call(method: str, request: Any) -> Any:
            service = of or request.service
            address = _address(settings, service)
            if service not in channels:
                channels[service] = ServiceChannel(settings.grpc, service, address, certificates)
            rpc = getattr(stub(channels[service]), method)
            try:
                return await rpc(request, metadata=metadata, timeout=settings.grpc.timeout)
            except AioRpcError as error:
                if error.code() is StatusCode.UNAVAILABLE:
                    said = f" ({error.details()})" if certificates else ""
                    raise StartupError(
                        f"平台未在 {address} 运行{said}", f"no platform runs at {address}{said}"
                    ) from None
                said = f"{error.code().name}: {error.details()}"
                raise StartupError(f"平台拒绝：{said}", f"the platform refused: {said}") from None

        try:
            await work(call)
        finally:
            for channel in channels.values():
                await channel.close()

    asyncio.run(main())


def _token(settings: Settings) -> str:
    """The operator's own, from the environment; in embedded mode that of the demo account `admin`."""
    return os.environ.get(TOKEN_VARIABLE) or demo_token(settings, "admin")


def _address(settings: Settings, service: str) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.grpc.host, settings.grpc.host)
    return settings.grpc.addresses.get(service) or f"{host}:{settings.grpc.port}"


@click.command()
@click.argument("services", nargs=-1)
def rebuild(services: tuple[str, ...]) -> None:
    """重建 SERVICES（缺省为全部）的读模型：数据所属服务重新发布现状，完成后一次切换。

    Builds the read models of SERVICES (all, if none is named) anew, beside the present ones, which serve until the new ones are complete.
    """
    from services.registry import MODULES

    known = [module.name for module in MODULES if module.projections]
    for service in services:
        if service not in known:
            raise StartupError(
                f"{service} 没有读模型；有读模型的服务：{', '.join(known)}",
                f"{service} has no read model; these have: {', '.join(known)}",
            )

    async def work(call: Call) -> None:
        for service in services or known:
            begun = await call("BeginRebuild", pb.BeginRebuildRequest(service=service))
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            with Progress(*columns, console=err, transient=True) as progress:
                for owner in begun.owners:
                    task = progress.add_task(f"{service} ← {owner}", total=None)
                    after = None
                    while after != "":
                        said = await call("Republish", pb.RepublishRequest(service=owner, after=after or ""))
                        progress.advance(task, said.count)
                        if after == said.next:  # nothing left to say, only to be sent
                            await asyncio.sleep(_ASK_AGAIN)
                        after = said.next
                task = progress.add_task(f"{service} ← log", total=None)
                most = 0
                while not (state := await call("FinishRebuild", pb.FinishRebuildRequest(service=service))).finished:
                    most = max(most, state.missing)
                    progress.update(task, total=most, completed=most - state.missing)
                    await asyncio.sleep(_ASK_AGAIN)
            out.print(f"{service}：读模型已重建 · read models rebuilt")

    running(work)


@click.group()
def deadletters() -> None:
    """搁置的事件 · events that a handler could not digest."""


@deadletters.command("list")
@click.argument("service")
def list_(service: str) -> None:
    """列出 SERVICE 搁置的事件，最早的在前 · lists the events that SERVICE has put aside, oldest first."""

    async def work(call: Call) -> None:
        rows = []
        token = None
        while token != "":
            page = await call("ListDeadLetters", pb.ListDeadLettersRequest(service=service, page_token=token or ""))
            rows += [
                (d.parked_at.ToJsonString(), d.handler, d.type, d.key, str(d.attempts), d.error)
                for d in page.dead_letters
            ]
            token = page.next_page_token
        table(("搁置时间", "处理器 · handler", "类型 · type", "键 · key", "次数 · tries", "错误 · error"), rows)

    running(work)


@deadletters.command()
@click.argument("service")
@click.argument("handler")
@click.argument("key")
def redrive(service: str, handler: str, key: str) -> None:
    """按原顺序重新投递 SERVICE 的 HANDLER 搁置的、键为 KEY 的事件 · hands the events of KEY back to HANDLER, in their order."""

    async def work(call: Call) -> None:
        request = pb.RedriveDeadLettersRequest(service=service, handler=handler, key=key)
        answer = await call("RedriveDeadLetters", request)
        out.print(f"已重投 {answer.redriven}")
        out.print(f"{answer.redriven} redriven")

    running(work)
