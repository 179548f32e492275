"""Sending what a template says: to whom it is said, when it is due, and again."""

from typing import Any

import pytest

from tests.contract.conftest import Start, Tocsin, refused
from tests.contract.test_templates import Author, struct
from tests.support.waiting import eventually
from tocsin.v1 import notification_pb2 as pb
from tocsin.v1 import notification_service_pb2 as service_pb
from tocsin.v1 import recipient_service_pb2 as recipients
from tocsin_server.domain.time import HOUR

GREETING = {"content": {"simple": {"title": "Hello {{ recipient.attributes.name }}, it is {{ data.day }}"}}}
IN_PORTUGUESE = {"locale": "pt", "content": {"simple": {"title": "Olá {{ recipient.attributes.name }}"}}}
BODIES = {
    "content": {"simple": {"title": "Order {{ data.order }}", "body": "Thank you."}},
    "channels": [
        {"channel": "CHANNEL_EMAIL", "subject": "Your order {{ data.order }}", "html": "<b>Thanks</b>"}
    ],
}


class Sender:
    """Somebody who sends templates."""

    def __init__(self, tocsin: Tocsin) -> None:
        self.tocsin = tocsin

    def spec(self, recipient: str = "ada", version: int = 0, **fields: Any) -> pb.NotificationSpec:
        data = struct(fields.pop("data", {"day": "Monday"}))
        ref = pb.TemplateRef(name=fields.pop("name", "greeting"), version=version, data=data)
        return pb.NotificationSpec(recipient=recipient, category="orders", template=ref, **fields)

    async def send(self, *, request_id: str = "", **fields: Any) -> service_pb.SendResult:
        request = service_pb.SendRequest(request_id=request_id, notification=self.spec(**fields))
        return (await self.tocsin.notifications.Send(request)).result

    async def know(self, recipient: str, locale: str = "", **attributes: str) -> None:
        person = recipients.Recipient(recipient=recipient, locale=locale, attributes=attributes)
        item = recipients.UpsertRecipientItem(recipient=person)
        await self.tocsin.recipients.UpsertRecipients(recipients.UpsertRecipientsRequest(items=[item]))


@pytest.fixture
async def sender(tocsin: Tocsin) -> Sender:
    await Author(tocsin).create(GREETING, IN_PORTUGUESE)
    made = Sender(tocsin)
    await made.know("ada", name="Ada")
    return made


async def test_a_template_is_shown_as_its_preview_says(tocsin: Tocsin, sender: Sender) -> None:
    await sender.know("bia", "pt-BR", name="Bia")
    for key, locale, name in (("ada", "", "Ada"), ("bia", "pt-BR", "Bia")):
        await sender.send(recipient=key)
        (entry,) = (await tocsin.entries(key)).entries
        person = recipients.Recipient(recipient=key, locale=locale, attributes={"name": name})
        preview = await Author(tocsin).render({"day": "Monday"}, recipient=person, category="orders")
        assert entry.content == preview.content
        plan = await tocsin.notifications.PlanSend(service_pb.PlanSendRequest(notification=sender.spec(key)))
        assert plan.content == entry.content
    assert await tocsin.titles("bia") == ["Olá Bia"]


async def test_numbers_are_to_a_send_what_they_are_to_a_preview(tocsin: Tocsin, sender: Sender) -> None:
    title = "{{ data.whole | divided_by: 2 }} {{ data.half | divided_by: 2 }} {{ data.whole }}"
    await Author(tocsin).create({"content": {"simple": {"title": title}}}, name="numbers")
    data = {"whole": 3, "half": 0.5}
    await sender.send(name="numbers", data=data)
    preview = await Author(tocsin).render(data, name="numbers")
    assert await tocsin.titles("ada") == [preview.content.simple.title] == ["1 0.25 3"]


async def test_what_is_missing_is_named_and_nothing_is_stored(tocsin: Tocsin, sender: Sender) -> None:
    refusal = await refused(sender.send(recipient="nobody", data={}))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "TEMPLATE_DATA_INVALID")
    assert refusal.fields == ["recipient.attributes.name", "notification.template.data.day"]
    assert await tocsin.titles("nobody") == []
    assert (await refused(sender.send(name="nothing"))).reason == "TEMPLATE_NOT_FOUND"
    assert (await refused(sender.send(version=9))).reason == "TEMPLATE_VERSION_NOT_FOUND"


async def test_a_bad_item_does_not_touch_its_neighbours(tocsin: Tocsin, sender: Sender) -> None:
    specs = [sender.spec(), sender.spec("nobody"), sender.spec(name="nothing"), sender.spec()]
    request = service_pb.SendBatchRequest(items=[service_pb.SendItem(notification=each) for each in specs])
    results = (await tocsin.notifications.SendBatch(request)).results
    assert [result.WhichOneof("outcome") for result in results] == ["result", "error", "error", "result"]
    assert len(await tocsin.titles()) == 2


async def test_what_is_said_of_a_recipient_holds_for_the_next_send(tocsin: Tocsin, sender: Sender) -> None:
    await sender.send()
    await sender.know("ada", name="Augusta")
    await sender.send()
    assert await tocsin.titles() == ["Hello Augusta, it is Monday", "Hello Ada, it is Monday"]


async def test_a_repeat_is_answered_even_if_the_template_fails_by_then(
    tocsin: Tocsin, sender: Sender
) -> None:
    first = await sender.send(request_id="r1")
    await Author(tocsin).create({"content": {"simple": {"title": "{{ data.night }}"}}})
    again = await sender.send(request_id="r1")
    assert (again.notification_id, again.cursor, again.replayed) == (
        first.notification_id,
        first.cursor,
        True,
    )
    assert (await refused(sender.send(request_id="r2"))).reason == "TEMPLATE_DATA_INVALID"
    assert (await refused(sender.send(request_id="r1", data={"day": "Friday"}))).code in {
        "ALREADY_EXISTS",
        "INVALID_ARGUMENT",
    }


async def test_what_is_scheduled_is_rendered_when_it_is_due(tocsin: Tocsin, sender: Sender) -> None:
    for title in ("due", "revised"):
        await sender.know(title, name="Di")
        sent = await sender.send(deliver_delay={"seconds": 3600}, recipient=title, data={"day": "Monday"})
        if title == "revised":
            content = pb.Content(simple=pb.SimpleContent(title="Revised"))
            await tocsin.notifications.ReviseNotification(
                service_pb.ReviseNotificationRequest(notification_id=sent.notification_id, content=content)
            )
    await sender.know("due", name="Dee")
    await sender.know("revised", name="Rae")
    tocsin.turn_clock(HOUR)

    async def shown() -> bool:
        return await tocsin.titles("due") != [] and await tocsin.titles("revised") != []

    await eventually(shown, "the scheduled ones")
    assert await tocsin.titles("due") == ["Hello Dee, it is Monday"]
    assert await tocsin.titles("revised") == ["Revised"]


async def test_a_template_that_fails_when_it_is_due_is_shown_as_it_was_accepted(
    tocsin: Tocsin, sender: Sender
) -> None:
    await sender.send(deliver_delay={"seconds": 3600})
    await Author(tocsin).create({"content": {"simple": {"title": "{{ data.night }}"}}})
    tocsin.turn_clock(HOUR)

    async def shown() -> list[str]:
        return await tocsin.titles()

    assert await eventually(shown, "the scheduled one") == ["Hello Ada, it is Monday"]


async def test_a_channel_shows_what_the_template_says_for_it(start: Start) -> None:
    tocsin = await start(log_channels="email,push")
    await Author(tocsin).create(BODIES)
    sender = Sender(tocsin)
    item = recipients.UpsertRecipientItem(
        recipient=recipients.Recipient(
            recipient="ada",
            addresses=[
                recipients.Address(channel=pb.CHANNEL_EMAIL, value="ada@example.com"),
                recipients.Address(channel=pb.CHANNEL_PUSH, value="token"),
            ],
        )
    )
    await tocsin.recipients.UpsertRecipients(recipients.UpsertRecipientsRequest(items=[item]))
    sent = await sender.send(data={"order": 7.0}, channels=[pb.CHANNEL_EMAIL, pb.CHANNEL_PUSH])
    request = service_pb.GetNotificationRequest(notification_id=sent.notification_id)

    async def gone_out() -> bool:
        found = await tocsin.notifications.GetNotification(request)
        return {each.state for each in found.deliveries} == {service_pb.DELIVERY_STATE_SENT}

    await eventually(gone_out, "both to be sent")
    found = await tocsin.notifications.GetNotification(request)
    assert found.notification.content.simple.title == "Order 7"
    assert not sent.cursor, "it was not for the inbox"
