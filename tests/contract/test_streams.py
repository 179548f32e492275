"""Subscribe and Attach: what was missed, then what happens, and nothing skipped."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from tests.contract.conftest import Key, Refusal, Start, Tocsin, reason, refused, running, spec
from tests.contract.receiving import Receiver
from tests.support.waiting import eventually
from tocsin.v1 import error_reason_pb2
from tocsin.v1 import inbox_service_pb2 as pb
from tocsin.v1 import notification_service_pb2 as notifications
from tocsin.v1 import system_service_pb2 as system
from tocsin.v1 import tenant_service_pb2 as tenants
from tocsin.v1 import topic_service_pb2 as topics
from tocsin.v1.notification_pb2 import NotificationIds
from tocsin.v1.recipient_service_pb2 import DeleteRecipientRequest
from tocsin_server.domain.time import HOUR
from tocsin_server.rpc.convert.times import timestamp

INVALID = error_reason_pb2.ERROR_REASON_CURSOR_INVALID
MISMATCH = error_reason_pb2.ERROR_REASON_CURSOR_MISMATCH
INCARNATION = error_reason_pb2.ERROR_REASON_INCARNATION_CHANGED
LIMIT = error_reason_pb2.ERROR_REASON_LIMIT_REACHED
NOT_ALLOWED = error_reason_pb2.ERROR_REASON_RECIPIENT_NOT_ALLOWED


def at(recipient: str, cursor: str = "") -> pb.Position:
    return pb.Position(recipient=recipient, cursor=cursor)


def subscribe(tocsin: Tocsin, *positions: pb.Position, key: Key | None = None, **fields: Any) -> Receiver:
    request = pb.SubscribeRequest(recipients=positions or [at("ada")], **fields)
    return Receiver(tocsin.inbox.Subscribe(request, metadata=key.metadata if key else None))


class Gateway(Receiver):
    """A receiver that can also ask for things."""

    async def ask(self, **request: Any) -> None:
        await self.call.write(pb.AttachRequest(**request))


async def attach(tocsin: Tocsin, *positions: pb.Position, **fields: Any) -> Gateway:
    gateway = Gateway(tocsin.inbox.Attach())
    await gateway.ask(start=pb.AttachStart(recipients=positions, **fields))
    await gateway.until(lambda receiver: receiver.session_id)
    return gateway


async def live(tocsin: Tocsin, **fields: Any) -> Receiver:
    """A subscriber to ada's inbox that is known to be at its head."""
    receiver = subscribe(tocsin, start=pb.START_BEGINNING, **fields)
    await tocsin.send(title="marker")
    return await receiver.until(lambda receiver: "marker" in receiver.titles)


# --- where a stream starts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begin", "expected"),
    [
        (pb.START_UNSPECIFIED, ["new"]),
        (pb.START_NOW, ["new"]),
        (pb.START_UNREAD, ["2", "3", "new"]),
        (pb.START_BEGINNING, ["2", "3", "1", "new"]),  # by their last change, which was the mark
    ],
)
async def test_a_stream_starts_where_it_is_asked_to(tocsin: Tocsin, begin: int, expected: list[str]) -> None:
    for title in ("1", "2", "3"):
        await tocsin.send(title=title, thread=title)
    await tocsin.mark(pb.MARK_READ, thread="1")
    receiver = subscribe(tocsin, start=begin)
    await receiver.until(lambda receiver: len(receiver.titles) == len(expected) - 1 and receiver.summaries)
    await tocsin.send(title="new")
    await receiver.got(*expected)


async def test_a_stream_goes_on_from_a_cursor(tocsin: Tocsin) -> None:
    first = await tocsin.send(title="1")
    await tocsin.send(title="2")
    receiver = subscribe(tocsin, at("ada", first.cursor))
    await receiver.got("2")
    await tocsin.send(title="3")
    await receiver.got("2", "3")
    resumed = subscribe(tocsin, at("ada", receiver.cursors["ada"]))
    await tocsin.send(title="4")
    await resumed.got("4")


async def test_all_pages_and_a_stream_from_their_cursor_are_everything(tocsin: Tocsin) -> None:
    await tocsin.send(title="1")
    page = await tocsin.entries()
    await tocsin.send(title="2")
    receiver = subscribe(tocsin, at("ada", page.cursor))
    await tocsin.send(title="3")
    await receiver.got("2", "3")


async def test_an_unknown_recipient_is_followed_until_it_comes(tocsin: Tocsin) -> None:
    receiver = subscribe(tocsin)
    await receiver.until(lambda receiver: receiver.session_id)
    await tocsin.send(title="first")
    await receiver.got("first")
    assert receiver.entries[0].revision == 1
    assert not receiver.resets


async def test_many_changes_are_all_seen_once_and_in_order(tocsin: Tocsin) -> None:
    receiver = subscribe(tocsin, start=pb.START_BEGINNING)

    async def sender(name: str) -> None:
        for n in range(40):
            await tocsin.send(title=f"{name}{n}")

    await asyncio.gather(*(sender(name) for name in "abcde"))
    await receiver.until(lambda receiver: len(receiver.entries) >= 200)
    assert [entry.revision for entry in receiver.entries] == list(range(1, 201))


# --- what happens -----------------------------------------------------------------------------------------------------


async def test_every_change_is_told_in_its_latest_state(tocsin: Tocsin) -> None:
    receiver = await live(tocsin)
    sent = await tocsin.send(title="x", thread="x")
    await receiver.until(lambda receiver: len(receiver.entries) == 2)
    await tocsin.mark(pb.MARK_READ, thread="x")
    await receiver.until(lambda receiver: len(receiver.entries) == 3)
    await tocsin.notifications.ReviseNotification(
        notifications.ReviseNotificationRequest(
            notification_id=sent.notification_id, content=spec(title="y").content
        )
    )
    await receiver.until(lambda receiver: len(receiver.entries) == 4)
    await tocsin.notifications.CancelNotifications(
        notifications.CancelNotificationsRequest(notifications=NotificationIds(ids=[sent.notification_id]))
    )
    await receiver.until(lambda receiver: len(receiver.entries) == 5)
    assert receiver.titles == ["marker", "x", "x", "y", ""]
    assert [entry.revision for entry in receiver.entries] == [1, 2, 3, 4, 5]
    states = [entry.state for entry in receiver.entries[1:]]
    assert [(state.read, state.retracted) for state in states] == [
        (False, False),
        (True, False),
        (True, False),
        (True, True),
    ]


async def test_a_summary_follows_what_changed_the_counts(tocsin: Tocsin) -> None:
    receiver = await live(tocsin)
    await tocsin.send(thread="x")
    await receiver.until(
        lambda receiver: receiver.summaries.get("ada") == pb.Summary(unread=2, unseen=2, total=2)
    )
    await tocsin.mark(pb.MARK_READ, thread="x")
    await receiver.until(
        lambda receiver: receiver.summaries["ada"] == pb.Summary(unread=1, unseen=1, total=2)
    )


async def test_what_wakes_up_by_itself_is_told(tocsin: Tocsin) -> None:
    receiver = await live(tocsin)
    await tocsin.send(title="scheduled", deliver_time=timestamp(tocsin.clock.now() + HOUR))
    tocsin.turn_clock(HOUR)
    await receiver.got("marker", "scheduled")


async def test_a_filter_hides_and_the_cursor_moves_past_it(tocsin: Tocsin) -> None:
    receiver = subscribe(
        tocsin, start=pb.START_BEGINNING, categories=["billing"], heartbeat_interval=Duration(seconds=1)
    )
    await tocsin.send(title="billed", category="billing")
    await receiver.got("billed")
    after_billed = receiver.cursors["ada"]
    await tocsin.send(title="hidden", category="orders")
    await receiver.until(lambda receiver: receiver.cursors["ada"] != after_billed)
    assert receiver.titles == ["billed"]
    # Another filter needs another cursor.
    other = subscribe(tocsin, at("ada", receiver.cursors["ada"]), start=pb.START_BEGINNING)
    await other.until(lambda receiver: receiver.resets)
    assert other.resets[0].reset.reason == MISMATCH
    await other.got("billed", "hidden")


async def test_a_quiet_stream_has_a_heartbeat(tocsin: Tocsin) -> None:
    receiver = subscribe(tocsin, heartbeat_interval=Duration(seconds=1))
    await receiver.until(lambda receiver: receiver.progress)
    await receiver.until(lambda receiver: len(receiver.progress) == 2)
    assert not receiver.progress[-1].positions
    assert receiver.progress[-1].time.seconds > 0


async def test_one_stream_carries_many_recipients(tocsin: Tocsin) -> None:
    recipients = [f"user-{n}" for n in range(500)]
    receiver = subscribe(tocsin, *map(at, recipients), start=pb.START_BEGINNING)
    items = [notifications.SendItem(notification=spec(recipient)) for recipient in recipients]
    await tocsin.notifications.SendBatch(notifications.SendBatchRequest(items=items))
    await receiver.until(lambda receiver: len(receiver.entries) == 500)
    assert {entry.recipient for entry in receiver.entries} == set(recipients)
    assert receiver.cursors.keys() == set(recipients)


# --- resets -----------------------------------------------------------------------------------------------------------


async def test_a_bad_cursor_resets_one_recipient_and_no_other(tocsin: Tocsin) -> None:
    await tocsin.send("ada", "ada's")
    good = (await tocsin.send("bob", "bob's")).cursor
    await tocsin.send("bob", "bob's next")
    receiver = subscribe(
        tocsin, at("ada", good), at("bob", good), at("eve", "nonsense"), start=pb.START_BEGINNING
    )
    await receiver.until(lambda receiver: len(receiver.resets) == 2 and len(receiver.entries) == 2)
    assert {reset.recipient: reset.reset.reason for reset in receiver.resets} == {
        "ada": MISMATCH,
        "eve": INVALID,
    }
    assert sorted(receiver.titles) == ["ada's", "bob's next"]


async def test_a_recipient_that_was_erased_starts_anew(tocsin: Tocsin) -> None:
    receiver = await live(tocsin)
    old = receiver.cursors["ada"]
    await tocsin.recipients.DeleteRecipient(DeleteRecipientRequest(recipient="ada"))
    await receiver.until(lambda receiver: receiver.resets)
    assert receiver.resets[0].reset.reason == INCARNATION
    await tocsin.send(title="again")
    await receiver.got("marker", "again")
    assert receiver.entries[-1].revision == 1
    resumed = subscribe(tocsin, at("ada", old), start=pb.START_BEGINNING)
    await resumed.got("again")
    assert [reset.reset.reason for reset in resumed.resets] == [INCARNATION]


# --- named consumers --------------------------------------------------------------------------------------------------


async def test_a_named_consumer_goes_on_from_what_it_acknowledged(tocsin: Tocsin) -> None:
    await tocsin.send(title="1")
    second = await tocsin.send(title="2")
    await tocsin.send(title="3")
    await tocsin.inbox.Acknowledge(
        pb.AcknowledgeRequest(consumer="phone", positions=[at("ada", second.cursor)])
    )
    await subscribe(tocsin, consumer="phone", start=pb.START_BEGINNING).got("3")
    # Who never acknowledged starts as it says.
    await subscribe(tocsin, consumer="tablet", start=pb.START_BEGINNING).got("1", "2", "3")


async def test_all_sessions_of_a_consumer_receive_everything(tocsin: Tocsin) -> None:
    one = await live(tocsin, consumer="phone")
    other = await live(tocsin, consumer="phone")
    await tocsin.send(title="x")
    await one.until(lambda receiver: receiver.titles[-1] == "x")
    await other.until(lambda receiver: receiver.titles[-1] == "x")


# --- gateways ---------------------------------------------------------------------------------------------------------


async def test_recipients_come_and_go(tocsin: Tocsin) -> None:
    gateway = await attach(tocsin, at("ada"), start=pb.START_BEGINNING)
    await gateway.ask(add=pb.AttachAdd(recipients=[at("bob")]))
    await tocsin.send("bob", "to bob")
    await gateway.got("to bob")
    await gateway.ask(remove=pb.AttachRemove(recipients=["bob"]))

    async def only_ada() -> bool:
        (session,) = (await tocsin.system.ListSessions(system.ListSessionsRequest())).sessions
        return list(session.recipients) == ["ada"]

    await eventually(only_ada, "bob to be gone")
    await tocsin.send("bob", "unheard")
    await tocsin.send("ada", "to ada")
    await gateway.got("to bob", "to ada")
    # Coming back with a cursor, it misses nothing.
    await gateway.ask(add=pb.AttachAdd(recipients=[at("bob", gateway.cursors["bob"])]))
    await gateway.got("to bob", "to ada", "unheard")


async def test_credit_bounds_what_is_not_acknowledged(tocsin: Tocsin) -> None:
    gateway = await attach(tocsin, at("ada"), start=pb.START_BEGINNING, max_in_flight=2)
    for n in range(6):
        await tocsin.send(title=str(n))

    async def stalled() -> bool:
        (session,) = (await tocsin.system.ListSessions(system.ListSessionsRequest())).sessions
        return session.in_flight_count == 2 and session.HasField("stalled_since")

    await eventually(stalled, "the stall")
    await gateway.got("0", "1")
    assert gateway.titles == ["0", "1"]
    await gateway.ask(acknowledge=pb.AttachAcknowledge(positions=[at("ada", gateway.cursors["ada"])]))
    await gateway.got("0", "1", "2", "3")
    assert len(gateway.titles) == 4
    await gateway.ask(credit=pb.AttachCredit(max_in_flight=0))
    await gateway.got(*map(str, range(6)))


async def test_a_gateways_acknowledgements_are_its_consumers(tocsin: Tocsin) -> None:
    gateway = await attach(tocsin, at("ada"), start=pb.START_BEGINNING, consumer="gateway")
    await tocsin.send(title="1")
    await gateway.got("1")
    await gateway.ask(acknowledge=pb.AttachAcknowledge(positions=[at("ada", gateway.cursors["ada"])]))
    await tocsin.send(title="2")

    async def resumed() -> bool:
        receiver = subscribe(tocsin, consumer="gateway", start=pb.START_BEGINNING)
        await receiver.until(lambda receiver: receiver.titles)
        receiver.call.cancel()
        return receiver.titles[0] == "2"

    await eventually(resumed, "the position to be recorded")


async def test_too_many_recipients_are_left_out_one_by_one(start: Start) -> None:
    tocsin = await start(max_recipients_per_attach=2, max_recipients_per_subscribe=2)
    gateway = await attach(tocsin, at("ada"), at("bob"), at("eve"), start=pb.START_BEGINNING)
    await tocsin.send("ada", "in")
    await gateway.until(lambda receiver: receiver.resets and receiver.titles)
    assert [(reset.recipient, reset.reset.reason) for reset in gateway.resets] == [("eve", LIMIT)]


async def test_a_gateway_must_begin_with_its_start(tocsin: Tocsin) -> None:
    gateway = Gateway(tocsin.inbox.Attach())
    await gateway.ask(credit=pb.AttachCredit(max_in_flight=1))
    assert (await gateway.end()) == Refusal(
        "INVALID_ARGUMENT", "INVALID_FIELD", {"violations": "1"}, ["start"]
    )


# --- how a stream ends ------------------------------------------------------------------------------------------------


async def test_an_operator_ends_a_stream(tocsin: Tocsin) -> None:
    receiver = await live(tocsin)
    await tocsin.system.TerminateSession(system.TerminateSessionRequest(session_id=receiver.session_id))
    assert (await receiver.end()).reason == "SESSION_TERMINATED"


async def test_a_revoked_key_ends_its_streams(tocsin: Tocsin) -> None:
    admin = await tocsin.create_key("admin")
    reader = await tocsin.create_key("inbox:read", metadata=admin.metadata)
    receiver = subscribe(tocsin, key=reader)
    await receiver.until(lambda receiver: receiver.session_id)
    await tocsin.system.RevokeApiKey(
        system.RevokeApiKeyRequest(api_key_id=reader.id), metadata=admin.metadata
    )
    async with asyncio.timeout(2):
        assert (await receiver.end()).reason == "CREDENTIALS_REVOKED"


async def test_an_expired_key_ends_its_streams(tocsin: Tocsin) -> None:
    admin = await tocsin.create_key("admin")
    expires = timestamp(tocsin.clock.now() + HOUR)
    reader = await tocsin.create_key("inbox:read", metadata=admin.metadata, expire_time=expires)
    receiver = subscribe(tocsin, key=reader)
    await receiver.until(lambda receiver: receiver.session_id)
    tocsin.turn_clock(HOUR)
    assert (await receiver.end()).reason == "CREDENTIALS_EXPIRED"


async def test_a_suspended_tenants_streams_end(tocsin: Tocsin) -> None:
    operator = await tocsin.create_key("admin", "operator")
    await tocsin.tenants.CreateTenant(tenants.CreateTenantRequest(tenant="acme"), metadata=operator.metadata)
    reader = await tocsin.create_key("inbox:read", tenant="acme", metadata=operator.metadata)
    receiver = subscribe(tocsin, key=reader)
    await receiver.until(lambda receiver: receiver.session_id)
    await tocsin.tenants.SuspendTenant(
        tenants.SuspendTenantRequest(tenant="acme"), metadata=operator.metadata
    )
    assert (await receiver.end()).reason == "TENANT_SUSPENDED"


async def test_a_revoked_key_sends_no_more_over_its_open_streams(tocsin: Tocsin) -> None:
    admin = await tocsin.create_key("admin")
    sender = await tocsin.create_key("send", "recipients:write", metadata=admin.metadata)
    await tocsin.topics.CreateTopic(topics.CreateTopicRequest(topic="news"), metadata=sender.metadata)
    sending = tocsin.notifications.SendStream(metadata=sender.metadata)
    items = [notifications.SendItem(notification=spec(title="before"))]
    await sending.write(notifications.SendStreamRequest(items=items))
    answer = await sending.read()
    assert answer.results[0].WhichOneof("outcome") == "result"  # type: ignore[attr-defined]
    adding = tocsin.topics.AddMembers(metadata=sender.metadata)
    await adding.write(topics.AddMembersRequest(topic="news", recipients=["ada"]))
    quiet = tocsin.notifications.SendStream(metadata=sender.metadata)

    await tocsin.system.RevokeApiKey(
        system.RevokeApiKeyRequest(api_key_id=sender.id), metadata=admin.metadata
    )
    async with asyncio.timeout(2):
        assert await reason(sending.read()) == "CREDENTIALS_REVOKED"
        assert await reason(quiet.read()) == "CREDENTIALS_REVOKED"
        refusal = await refused(adding)
    assert (refusal.reason, refusal.metadata["messages"]) == ("CREDENTIALS_REVOKED", "1")


async def test_a_suspended_tenants_senders_are_cut_off(tocsin: Tocsin) -> None:
    operator = await tocsin.create_key("admin", "operator")
    await tocsin.tenants.CreateTenant(tenants.CreateTenantRequest(tenant="acme"), metadata=operator.metadata)
    sender = await tocsin.create_key("send", tenant="acme", metadata=operator.metadata)
    sending = tocsin.notifications.SendStream(metadata=sender.metadata)
    await sending.write(notifications.SendStreamRequest(items=[notifications.SendItem(notification=spec())]))
    await sending.read()
    await tocsin.tenants.SuspendTenant(
        tenants.SuspendTenantRequest(tenant="acme"), metadata=operator.metadata
    )
    async with asyncio.timeout(2):
        assert await reason(sending.read()) == "TENANT_SUSPENDED"


async def test_a_recipient_that_a_key_may_not_follow_is_left_out(tocsin: Tocsin) -> None:
    reader = await tocsin.create_key("inbox:read", "send", recipients=["ada"])
    receiver = subscribe(tocsin, at("ada"), at("bob"), key=reader)
    await receiver.until(lambda receiver: receiver.resets)
    assert [(reset.recipient, reset.reset.reason) for reset in receiver.resets] == [("bob", NOT_ALLOWED)]
    await tocsin.notifications.Send(notifications.SendRequest(notification=spec()), metadata=reader.metadata)
    await receiver.until(lambda receiver: receiver.entries)


async def test_streams_of_a_key_are_limited(start: Start) -> None:
    tocsin = await start(max_streams_per_key=2)
    receivers = [await live(tocsin) for _ in range(2)]
    third = subscribe(tocsin)
    assert (await third.end()) == Refusal("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS", {"limit": "2"}, [])
    receivers[0].call.cancel()
    await eventually(lambda: tocsin.server.sessions.count == 1, "room")
    await live(tocsin)


async def test_a_server_that_stops_says_so_to_every_stream(tmp_path: Path) -> None:
    async with AsyncExitStack() as callers:
        async with running(tmp_path, callers) as tocsin:
            sending = tocsin.notifications.SendStream()
            await sending.write(
                notifications.SendStreamRequest(items=[notifications.SendItem(notification=spec())])
            )
            await sending.read()
            streams = [
                await live(tocsin),
                await live(tocsin),
                await attach(tocsin, at("ada")),
                Receiver(sending),
            ]
            ends = [asyncio.ensure_future(stream.end()) for stream in streams]
        refusals = await asyncio.gather(*ends)
    assert {(refusal.code, refusal.reason) for refusal in refusals} == {("UNAVAILABLE", "SERVER_DRAINING")}
