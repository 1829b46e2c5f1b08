"""The real grid's directory, as notify knows it."""

from uuid import NAMESPACE_URL, uuid4, uuid5

from hetao.common.v1 import notice_pb2
from hetao.notify.v1 import messages_pb2, messages_pb2_grpc
from kit.events import Event
from kit.unit import Unit
from tests.world import World


async def test_a_notice_to_a_post_of_a_demo_centre_reaches_its_person(world: World):
    """Which accounts hold which posts is the grid's to say: the dispatcher of the Linhe centre, and of a street's too."""
    wanted = [("150802-centre", "dispatcher"), ("150802013-centre", "dispatcher"), ("150802-housing", "duty_officer")]

    async def say(unit: Unit) -> None:
        for code, post in wanted:
            department = str(uuid5(NAMESPACE_URL, f"hetao:department:{code}"))
            notice = notice_pb2.NoticeRequested(
                intent_id=str(uuid4()),
                template="cases.result_submitted",
                recipients=[notice_pb2.Recipient(department_id=department, post=post)],
                variables=[notice_pb2.Variable(name="code", value="150802-2026-0001")],
                subject="cases/1",
                division="150802",
            )
            unit.emit(Event(uuid4(), notice, "150802"))

    await world.platform.services["cases"].runtime.transact(say, action="test")
    await world.settle()
    for account, count in (("dispatcher", 2), ("department-officer", 1), ("dispatcher-2", 0)):
        inbox = world.stub(messages_pb2_grpc.MessageServiceStub, "notify", account)
        listed = (await inbox.ListMessages(messages_pb2.ListMessagesRequest())).messages
        assert len(listed) == count, account
        assert all(message.ground == messages_pb2.RECIPIENT_GROUND_HOLDER for message in listed)
