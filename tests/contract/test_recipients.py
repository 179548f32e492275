"""Recipients: who they are, and erasing and handing out what is kept about them."""

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from tests.contract.conftest import Refusal, Tocsin, reason, refused
from tocsin.v1 import inbox_service_pb2 as inbox
from tocsin.v1 import notification_pb2
from tocsin.v1 import recipient_service_pb2 as pb
from tocsin.v1.notification_service_pb2 import GetNotificationRequest
from tocsin_server.rpc.convert.times import micros

ADDRESS = pb.Address(
    channel=notification_pb2.CHANNEL_EMAIL,
    value="ada@example.org",
    state=pb.ADDRESS_STATE_ACTIVE,
    label="work",
)
ADA = pb.Recipient(
    recipient="ada",
    locale="pt-BR",
    time_zone="Europe/Lisbon",
    attributes={"plan": "pro"},
    addresses=[ADDRESS],
)


async def upsert(tocsin: Tocsin, *items: pb.UpsertRecipientItem) -> list[pb.UpsertRecipientResult]:
    response = await tocsin.recipients.UpsertRecipients(pb.UpsertRecipientsRequest(items=items))
    return list(response.results)


def item(
    recipient: pb.Recipient = ADA, request_id: str = "", mask: tuple[str, ...] = ()
) -> pb.UpsertRecipientItem:
    update_mask = FieldMask(paths=mask) if mask else None
    return pb.UpsertRecipientItem(request_id=request_id, recipient=recipient, update_mask=update_mask)


async def got(tocsin: Tocsin, key: str = "ada") -> pb.Recipient:
    return (await tocsin.recipients.GetRecipient(pb.GetRecipientRequest(recipient=key))).recipient


async def delete(tocsin: Tocsin, key: str = "ada", request_id: str = "") -> pb.DeleteRecipientResponse:
    request = pb.DeleteRecipientRequest(recipient=key, request_id=request_id)
    return await tocsin.recipients.DeleteRecipient(request)


def without_times(recipient: pb.Recipient) -> pb.Recipient:
    bare = pb.Recipient()
    bare.CopyFrom(recipient)
    bare.ClearField("create_time")
    bare.ClearField("update_time")
    return bare


async def test_a_recipient_is_kept_as_it_was_given(tocsin: Tocsin) -> None:
    before = tocsin.clock.now()
    (result,) = await upsert(tocsin, item())
    assert without_times(result.recipient) == ADA
    assert await got(tocsin) == result.recipient
    assert before <= micros(result.recipient.create_time) == micros(result.recipient.update_time)


async def test_a_mask_changes_only_what_it_names(tocsin: Tocsin) -> None:
    await upsert(tocsin, item())
    change = pb.Recipient(recipient="ada", locale="fr", time_zone="Europe/Paris")
    (result,) = await upsert(tocsin, item(change, mask=("locale", "addresses")))
    changed = result.recipient
    assert (changed.locale, changed.time_zone, dict(changed.attributes)) == (
        "fr",
        "Europe/Lisbon",
        {"plan": "pro"},
    )
    assert not changed.addresses
    assert micros(changed.update_time) > micros(changed.create_time)
    # Without a mask everything is set, also to nothing.
    (result,) = await upsert(tocsin, item(pb.Recipient(recipient="ada")))
    assert without_times(result.recipient) == pb.Recipient(recipient="ada")


async def test_items_are_answered_one_by_one(tocsin: Tocsin) -> None:
    await upsert(tocsin, item(request_id="used"))
    results = await upsert(
        tocsin,
        item(pb.Recipient(recipient="bob"), request_id="b"),
        item(pb.Recipient(recipient="eve", time_zone="Mars/Olympus")),
        item(pb.Recipient(recipient="other"), request_id="used"),
        item(request_id="used"),
        item(pb.Recipient(recipient="")),
    )
    assert [result.WhichOneof("outcome") for result in results] == [
        "recipient",
        "error",
        "error",
        "recipient",
        "error",
    ]
    assert [result.replayed for result in results] == [False, False, False, True, False]
    assert Refusal.of(results[1].error).fields == ["items[1].recipient.time_zone"]
    assert Refusal.of(results[2].error).reason == "REQUEST_ID_REUSED"
    assert set(Refusal.of(results[4].error).fields) == {"items[4].recipient.recipient"}


async def test_sending_makes_a_recipient(tocsin: Tocsin) -> None:
    assert await reason(got(tocsin)) == "RECIPIENT_NOT_FOUND"
    await tocsin.send("ada")
    assert without_times(await got(tocsin)) == pb.Recipient(recipient="ada")


async def test_an_upserted_recipient_has_an_empty_inbox(tocsin: Tocsin) -> None:
    await upsert(tocsin, item())
    page = await tocsin.entries()
    assert not page.entries
    assert page.summary == inbox.Summary()
    assert page.cursor


async def test_recipients_are_listed_by_key(tocsin: Tocsin) -> None:
    await upsert(tocsin, *(item(pb.Recipient(recipient=key)) for key in ("b", "a2", "ä", "a1", "c")))

    async def page(**fields: Any) -> pb.ListRecipientsResponse:
        return await tocsin.recipients.ListRecipients(pb.ListRecipientsRequest(**fields))

    first = await page(page_size=2)
    rest = await page(page_size=50, page_token=first.next_page_token)
    keys = [recipient.recipient for answer in (first, rest) for recipient in answer.recipients]
    assert keys == ["a1", "a2", "b", "c", "ä"]
    assert rest.next_page_token == ""
    assert [recipient.recipient for recipient in (await page(key_prefix="a")).recipients] == ["a1", "a2"]
    assert await reason(page(page_token=first.next_page_token, key_prefix="a")) == "PAGE_TOKEN_INVALID"


async def test_a_deleted_recipient_is_gone_without_a_trace(tocsin: Tocsin) -> None:
    await upsert(tocsin, item())
    sent = [await tocsin.send("ada") for _ in range(3)]
    await tocsin.send("ada", deliver_delay={"seconds": 3600})
    response = await delete(tocsin, request_id="d")
    assert (response.erased_count, response.replayed) == (4, False)
    assert await reason(got(tocsin)) == "RECIPIENT_NOT_FOUND"
    assert await reason(tocsin.entries()) == "RECIPIENT_NOT_FOUND"
    asked = GetNotificationRequest(notification_id=sent[0].notification_id)
    assert await reason(tocsin.notifications.GetNotification(asked)) == "NOTIFICATION_NOT_FOUND"
    again = await delete(tocsin, request_id="d")
    assert (again.erased_count, again.replayed) == (4, True)
    assert await reason(delete(tocsin)) == "RECIPIENT_NOT_FOUND"


async def test_a_key_can_be_used_again_after_deletion(tocsin: Tocsin) -> None:
    first = await tocsin.send("ada", "old")
    await delete(tocsin)
    await tocsin.send("ada", "new")
    assert await tocsin.titles() == ["new"]
    # Old positions are of another life.
    assert await reason(tocsin.mark(inbox.MARK_READ, up_to_cursor=first.cursor)) == "INCARNATION_CHANGED"


async def test_an_export_has_everything(tocsin: Tocsin) -> None:
    await upsert(tocsin, item())
    first = await tocsin.send("ada", "1", thread="x")
    await tocsin.send("ada", "2")
    await tocsin.mark(inbox.MARK_READ, thread="x")
    position = inbox.Position(recipient="ada", cursor=first.cursor)
    await tocsin.inbox.Acknowledge(inbox.AcknowledgeRequest(consumer="phone", positions=[position]))
    parts = [
        part async for part in tocsin.recipients.ExportRecipient(pb.ExportRecipientRequest(recipient="ada"))
    ]
    assert [part.WhichOneof("part") for part in parts] == [
        "recipient",
        "summary",
        "notification",
        "notification",
        "consumer_position",
    ]
    assert without_times(parts[0].recipient) == ADA
    assert parts[1].summary == inbox.Summary(unread=1, unseen=1, total=2)
    exported = parts[3].notification
    assert exported.notification.content.simple.title == "1"
    assert exported.state == notification_pb2.NOTIFICATION_STATE_STORED
    assert len(exported.timeline) == 2
    assert (parts[4].consumer_position.consumer, parts[4].consumer_position.cursor) == ("phone", first.cursor)


async def test_nobody_cannot_be_exported(tocsin: Tocsin) -> None:
    call = tocsin.recipients.ExportRecipient(pb.ExportRecipientRequest(recipient="nobody"))
    refusal = await refused(call.read())
    assert refusal == Refusal("NOT_FOUND", "RECIPIENT_NOT_FOUND", {"recipient": "nobody"}, [])
