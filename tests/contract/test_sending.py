"""Send, SendBatch and SendStream: what is accepted, what becomes of it, and what is refused."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tests.contract.conftest import Refusal, Start, Tocsin, reason, refused, spec
from tests.support.contents import content_message
from tests.support.samples import CONTENTS, TRACE_PARENT
from tests.support.waiting import eventually
from tocsin.v1 import notification_pb2 as pb
from tocsin.v1.notification_service_pb2 import (
    GetNotificationRequest,
    SendBatchRequest,
    SendItem,
    SendItemResult,
    SendRequest,
    SendStreamRequest,
)
from tocsin_server.domain.content import Content
from tocsin_server.domain.time import DAY, HOUR, SECOND
from tocsin_server.rpc.convert.times import micros, timestamp


def item(request_id: str = "", **fields: Any) -> SendItem:
    return SendItem(request_id=request_id, notification=spec(**fields))


async def stream(tocsin: Tocsin, *messages: list[SendItem]) -> list[list[SendItemResult]]:
    call = tocsin.notifications.SendStream()
    for items in messages:
        await call.write(SendStreamRequest(items=items))
    await call.done_writing()
    return [list(response.results) async for response in call]


async def test_a_notification_is_in_the_inbox_when_the_call_returns(tocsin: Tocsin) -> None:
    before = tocsin.clock.now()
    result = await tocsin.send(
        "ada",
        "Shipped",
        priority=pb.PRIORITY_HIGH,
        thread="order-17",
        actor=pb.Actor(id="bob", name="Bob"),
        attributes={"order": "17"},
        expire_time=timestamp(before + HOUR),
    )
    assert result.disposition == pb.DISPOSITION_STORED
    assert not result.decisions
    page = await tocsin.entries()
    (entry,) = page.entries
    assert before <= micros(entry.create_time) <= tocsin.clock.now()
    assert entry == pb.Notification(
        id=result.notification_id,
        recipient="ada",
        revision=1,
        category="orders",
        priority=pb.PRIORITY_HIGH,
        content=pb.Content(simple=pb.SimpleContent(title="Shipped"), fallback_text="Shipped"),
        thread="order-17",
        actor=pb.Actor(id="bob", name="Bob"),
        attributes={"order": "17"},
        create_time=entry.create_time,
        expire_time=timestamp(before + HOUR),
    )
    # The cursor is the inbox's position just after the entry.
    assert page.cursor == result.cursor


async def test_ids_are_uuids_in_the_order_of_time(tocsin: Tocsin) -> None:
    ids = [(await tocsin.send(f"user-{n}")).notification_id for n in range(20)]
    assert {UUID(id).version for id in ids} == {7}
    times = [UUID(id).int >> 80 for id in ids]
    assert times == sorted(times)


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: type(content.kind).__name__)
async def test_every_kind_of_content_arrives_as_it_was_sent(tocsin: Tocsin, content: Content) -> None:
    await tocsin.send(content=content_message(content))
    (entry,) = (await tocsin.entries()).entries
    assert entry.content == content_message(content)


async def test_the_callers_trace_goes_with_the_notification(tocsin: Tocsin) -> None:
    await tocsin.notifications.Send(
        SendRequest(notification=spec()), metadata=(("traceparent", TRACE_PARENT),)
    )
    (entry,) = (await tocsin.entries()).entries
    assert entry.trace_parent == TRACE_PARENT


# --- at a time --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["deliver_delay", "deliver_time"])
async def test_what_is_for_later_comes_later(tocsin: Tocsin, how: str) -> None:
    when: dict[str, Any] = {
        "deliver_delay": Duration(seconds=3600),
        "deliver_time": timestamp(tocsin.clock.now() + HOUR),
    }
    result = await tocsin.send(title="later", **{how: when[how]})
    assert result.disposition == pb.DISPOSITION_SCHEDULED
    assert result.cursor == ""
    (decision,) = result.decisions
    assert (decision.rule, decision.outcome) == (pb.DECISION_RULE_SCHEDULE, pb.DECISION_OUTCOME_DEFERRED)
    assert abs(micros(decision.due_time) - tocsin.clock.now() - HOUR) < 10 * SECOND
    assert await tocsin.titles() == []
    tocsin.turn_clock(HOUR)
    assert await eventually(tocsin.titles, "the notification") == ["later"]


async def test_a_time_that_has_passed_means_at_once(tocsin: Tocsin) -> None:
    result = await tocsin.send(deliver_time=timestamp(tocsin.clock.now() - DAY))
    assert result.disposition == pb.DISPOSITION_STORED


async def test_what_has_expired_is_suppressed_with_a_reason(tocsin: Tocsin) -> None:
    result = await tocsin.send(expire_time=timestamp(tocsin.clock.now() - SECOND))
    assert result.disposition == pb.DISPOSITION_SUPPRESSED
    assert [decision.rule for decision in result.decisions] == [pb.DECISION_RULE_EXPIRY]
    assert await tocsin.titles() == []
    found = await tocsin.notifications.GetNotification(
        GetNotificationRequest(notification_id=result.notification_id)
    )
    assert found.state == pb.NOTIFICATION_STATE_SUPPRESSED


async def test_what_expires_while_it_waits_never_comes(tocsin: Tocsin) -> None:
    now = tocsin.clock.now()
    result = await tocsin.send(deliver_time=timestamp(now + 2 * HOUR), expire_time=timestamp(now + HOUR))
    asked = GetNotificationRequest(notification_id=result.notification_id)
    tocsin.turn_clock(3 * HOUR)

    async def final() -> bool:
        found = await tocsin.notifications.GetNotification(asked)
        return found.state in (pb.NOTIFICATION_STATE_SUPPRESSED, pb.NOTIFICATION_STATE_EXPIRED)

    await eventually(final, "its end")
    assert await tocsin.titles() == []


async def test_an_entry_expires_in_the_inbox(tocsin: Tocsin) -> None:
    await tocsin.send(expire_time=timestamp(tocsin.clock.now() + HOUR))
    tocsin.turn_clock(HOUR)

    async def expired() -> pb.Notification | None:
        (entry,) = (await tocsin.entries(view="ENTRY_VIEW_ALL")).entries
        # It shows as expired at once; that it takes a revision, so that streams tell of it, follows.
        return entry if entry.revision == 2 else None

    entry = await eventually(expired, "the expiry")
    assert entry is not None
    assert not entry.HasField("content")
    assert entry.state.expired
    assert entry.state.HasField("expired_time")
    assert (await tocsin.entries()).summary.unread == 0


# --- again ------------------------------------------------------------------------------------------------------------


async def test_the_same_request_gets_the_same_answer(tocsin: Tocsin) -> None:
    first = await tocsin.send(request_id="r1")
    again = await tocsin.send(request_id="r1")
    assert again.replayed
    assert not first.replayed
    again.replayed = False
    assert again == first
    assert len(await tocsin.titles()) == 1


async def test_the_same_request_id_with_another_request_is_refused(tocsin: Tocsin) -> None:
    await tocsin.send(request_id="r1", attributes={"n": "1"})
    refusal = await refused(tocsin.send(request_id="r1", attributes={"n": "2"}))
    assert refusal == Refusal("ALREADY_EXISTS", "REQUEST_ID_REUSED", {"request_id": "r1"}, [])


async def test_a_request_id_is_one_in_all_ways_of_sending(tocsin: Tocsin) -> None:
    sent = await tocsin.send(request_id="r1")
    batch = await tocsin.notifications.SendBatch(SendBatchRequest(items=[item("r1")]))
    ((streamed,),) = await stream(tocsin, [item("r1")])
    for result in (batch.results[0].result, streamed.result):
        assert result.replayed
        assert result.notification_id == sent.notification_id


async def test_a_request_that_is_made_twice_at_once_is_done_once(tocsin: Tocsin) -> None:
    results = await asyncio.gather(*(tocsin.send(request_id="r1") for _ in range(20)))
    assert len({result.notification_id for result in results}) == 1
    assert sorted(result.replayed for result in results) == [False] + [True] * 19
    assert len(await tocsin.titles()) == 1


async def test_a_refusal_does_not_use_up_the_request_id(tocsin: Tocsin) -> None:
    assert await reason(tocsin.send(request_id="r1", category="")) == "INVALID_FIELD"
    assert not (await tocsin.send(request_id="r1")).replayed


async def test_without_a_request_id_every_call_counts(tocsin: Tocsin) -> None:
    await tocsin.send()
    await tocsin.send()
    assert len(await tocsin.titles()) == 2


# --- many -------------------------------------------------------------------------------------------------------------


async def test_items_are_answered_one_by_one(tocsin: Tocsin) -> None:
    await tocsin.send(request_id="used")
    response = await tocsin.notifications.SendBatch(
        SendBatchRequest(
            items=[
                item("a", title="first"),
                item("r" * 129),
                item("used", title="another"),
                item("b", batch_key="k"),
                item("a", title="first"),
                item("c", title="last"),
            ]
        )
    )
    outcomes = [result.WhichOneof("outcome") for result in response.results]
    assert outcomes == ["result", "error", "error", "error", "result", "result"]
    refusals = [Refusal.of(result.error) for result in response.results[1:4]]
    assert refusals == [
        Refusal("INVALID_ARGUMENT", "INVALID_FIELD", {"violations": "1"}, ["items[1].request_id"]),
        Refusal("ALREADY_EXISTS", "REQUEST_ID_REUSED", {"request_id": "used"}, []),
        Refusal("UNIMPLEMENTED", "FEATURE_NOT_BUILT", {"field": "items[3].notification.batch_key"}, []),
    ]
    assert response.results[4].result.replayed
    assert await tocsin.titles() == ["last", "first", "t"]


async def test_a_thousand_items_fit_and_no_more(tocsin: Tocsin) -> None:
    response = await tocsin.notifications.SendBatch(
        SendBatchRequest(items=[item(str(n), recipient=f"user-{n % 10}", title=str(n)) for n in range(1_000)])
    )
    assert [result.WhichOneof("outcome") for result in response.results] == ["result"] * 1_000
    # In order per recipient.
    assert (await tocsin.titles("user-3", page_size=3)) == ["993", "983", "973"]
    refusal = await refused(tocsin.notifications.SendBatch(SendBatchRequest(items=[item()] * 1_001)))
    assert (refusal.reason, refusal.fields) == ("INVALID_FIELD", ["items"])
    assert await reason(tocsin.notifications.SendBatch(SendBatchRequest())) == "INVALID_FIELD"


async def test_a_stream_keeps_the_order_of_its_messages(tocsin: Tocsin) -> None:
    messages = [[item(title=f"{m}-{n}") for n in range(1 + m % 7)] for m in range(60)]
    answers = await stream(tocsin, *messages)
    assert [len(answer) for answer in answers] == [len(message) for message in messages]
    shown = await tocsin.titles(page_size=1_000)
    assert shown == [f"{m}-{n}" for m in range(60) for n in range(1 + m % 7)][::-1]


async def test_a_broken_stream_is_resumed_by_sending_again(tocsin: Tocsin) -> None:
    messages = [[item(f"{m}-{n}") for n in range(5)] for m in range(4)]
    await stream(tocsin, *messages[:3])
    answers = await stream(tocsin, *messages)
    assert [[result.result.replayed for result in answer] for answer in answers] == [[True] * 5] * 3 + [
        [False] * 5
    ]
    assert len(await tocsin.titles()) == 20


# --- refused ----------------------------------------------------------------------------------------------------------


async def test_the_inbox_may_be_asked_for_by_name(tocsin: Tocsin) -> None:
    assert (await tocsin.send(channels=[pb.CHANNEL_INBOX])).disposition == pb.DISPOSITION_STORED


async def test_every_broken_rule_is_named_at_once(tocsin: Tocsin) -> None:
    refusal = await refused(
        tocsin.send("a\0", category="no spaces", thread="t" * 129, expire_time=Timestamp(nanos=-1))
    )
    assert refusal.code == "INVALID_ARGUMENT"
    assert refusal.reason == "INVALID_FIELD"
    assert set(refusal.fields) == {
        "notification.recipient",
        "notification.category",
        "notification.thread",
        "notification.expire_time",
    }


async def test_a_tenant_that_sends_too_fast_is_told_when_to_go_on(start: Start) -> None:
    tocsin = await start(quota_max_sends_per_second=5)
    batch = await tocsin.notifications.SendBatch(SendBatchRequest(items=[item() for _ in range(10)]))
    reasons = [Refusal.of(result.error).reason for result in batch.results if result.HasField("error")]
    assert 0 < len(reasons) <= 5
    assert set(reasons) == {"RATE_LIMITED"}


async def test_new_recipients_have_a_quota(start: Start) -> None:
    tocsin = await start(quota_max_recipients=2)
    await tocsin.send("one")
    await tocsin.send("two")
    refusal = await refused(tocsin.send("three"))
    assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
    assert refusal.metadata["quota"] == "max_recipients"
    await tocsin.send("one")


async def test_a_deadline_that_cannot_be_kept_writes_nothing(tocsin: Tocsin) -> None:
    with pytest.raises(Exception, match=r"(?i)deadline"):
        await tocsin.notifications.Send(SendRequest(notification=spec()), timeout=1e-6)
    assert await tocsin.titles() == []
