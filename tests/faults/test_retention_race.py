"""Fault 13: old entries are removed while subscribers resume from positions around the floor."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack

import grpc

from tests.support.calls import channel_to, reason_of
from tests.support.load import Sender, cancelled
from tests.support.oracle import Oracle
from tests.support.processes import Servers
from tests.support.subscriber import Subscriber
from tests.support.waiting import eventually
from tests.support.wire import read_inbox
from tocsin.v1.inbox_service_pb2 import MARK_SEEN, MarkEntriesRequest
from tocsin.v1.inbox_service_pb2_grpc import InboxServiceStub

RECIPIENT = "ada"
NOTIFICATIONS_PER_ROUND = 20
# So many begin late: at least the one, until some have been reset, at most the other.
LATE_MIN, LATE_MAX, RESETS_MIN = 20, 100, 3
# How far around the floor they begin, in revisions; every other one begins anywhere.
NEAR = 30
SETTINGS = {
    # An entry expires at this age, which changes it, and is removed when that is as old again.
    "TOCSIN_RETENTION": "1s",
    "TOCSIN_PRUNE_AFTER": "1s",
    "TOCSIN_SWEEP_INTERVAL": "20ms",
}


async def test_a_resume_near_the_floor_is_complete_or_reset(servers: Servers, rng: random.Random) -> None:
    """One subscriber is there all the time. Others begin, one after another, at one of the cursors that it was given.

    They go on until everything has been removed. Whatever they were not told to be missing, by a reset, they have.
    """
    server = await servers.start(SETTINGS)
    oracle = Oracle()
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        channel = await stack.enter_async_context(channel_to(server.address))
        first = Subscriber(channel, oracle, "first", [RECIPIENT], rng, kept_cursors=100_000)
        subscribers = [first]
        running = [tasks.create_task(first.run())]

        def resets() -> int:
            return sum(oracle.was_reset(subscriber.name, RECIPIENT) for subscriber in subscribers)

        sender = Sender(channel, oracle, "sender", [RECIPIENT], rng)
        for number in range(LATE_MAX):
            await sender.run(NOTIFICATIONS_PER_ROUND)
            await eventually(lambda: len(first.cursors(RECIPIENT)) > 1, "a cursor")
            floor = (await read_inbox(channel, RECIPIENT, pruned=True)).floor
            cursor, revision = choose_cursor(first.cursors(RECIPIENT), floor, rng)
            late = Subscriber(channel, oracle, f"late-{number}", [RECIPIENT], rng, expects_resets=True)
            late.start_from(RECIPIENT, cursor, revision)
            subscribers.append(late)
            running.append(tasks.create_task(late.run()))
            if number >= LATE_MIN and resets() >= RESETS_MIN:
                break

        async def all_removed() -> bool:
            return not (await read_inbox(channel, RECIPIENT)).entries

        await eventually(all_removed, "retention to remove everything")
        # Each has heard of the end when it has been told twice more that there is nothing.
        heard = [subscriber.message_count for subscriber in subscribers]
        await eventually(
            lambda: all(
                subscriber.message_count >= before + 2
                for subscriber, before in zip(subscribers, heard, strict=True)
            ),
            "two more heartbeats",
        )
        await cancelled(running)
        inbox = await read_inbox(channel, RECIPIENT, pruned=True)

        assert oracle.violations([inbox]) == []
        assert resets() >= RESETS_MIN


def choose_cursor(cursors: Sequence[tuple[str, int]], floor: int, rng: random.Random) -> tuple[str, int]:
    """One of the cursors, every other time one near the floor if there is one."""
    given = [(cursor, revision) for cursor, revision in cursors if cursor]
    near = [(cursor, revision) for cursor, revision in given if abs(revision - floor) <= NEAR]
    return rng.choice(near if near and rng.random() < 0.5 else given)


async def test_marking_up_to_a_position_below_the_floor_is_refused(
    servers: Servers, rng: random.Random
) -> None:
    server = await servers.start(SETTINGS)
    oracle = Oracle()
    async with channel_to(server.address) as channel, asyncio.TaskGroup() as tasks:
        reader = Subscriber(channel, oracle, "reader", [RECIPIENT], rng)
        running = tasks.create_task(reader.run())
        await Sender(channel, oracle, "sender", [RECIPIENT], rng).run(3)
        (cursor, _), *_ = await eventually(lambda: reader.cursors(RECIPIENT)[1:], "a cursor")
        inbox = InboxServiceStub(channel)
        request = MarkEntriesRequest(recipient=RECIPIENT, mark=MARK_SEEN, up_to_cursor=cursor)

        async def refusal() -> grpc.aio.AioRpcError | None:
            try:
                await inbox.MarkEntries(request)
            except grpc.aio.AioRpcError as error:
                return error
            return None

        refused = await eventually(refusal, "the floor to pass the cursor")
        assert refused is not None
        assert refused.code() == grpc.StatusCode.OUT_OF_RANGE
        assert reason_of(refused) == "CURSOR_EXPIRED"
        await cancelled([running])
