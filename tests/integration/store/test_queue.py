"""The queue before the writer: every tenant has its turn, and each its bound."""

import asyncio

import pytest

from tocsin_server.domain.commands import SMALL_COMMAND_BYTES, Probe
from tocsin_server.domain.errors import QueueFull, StorageUnavailable
from tocsin_server.store.queue import COMMANDS_PER_TURN, CommandQueue, Queued, Ticket

NO_END = 1 << 40


@pytest.fixture
def queue() -> CommandQueue:
    return CommandQueue()


def items(tenant: str, count: int) -> list[Queued]:
    loop = asyncio.new_event_loop()
    ticket = Ticket(loop.create_future(), [None] * count, count)
    loop.close()
    command = Probe(tenant=tenant)
    return [Queued(command, ticket, index, None, command.payload_bytes) for index in range(count)]


def put(queue: CommandQueue, tenant: str, count: int, max_bytes: int = NO_END) -> None:
    queue.put(items(tenant, count), tenant, max_bytes)
    queue.release()


def taken(queue: CommandQueue, most: int = 1_000, most_bytes: int = NO_END) -> list[tuple[str, int]]:
    """Runs of one tenant, and how long each is."""
    runs: list[tuple[str, int]] = []
    for item in queue.take(most, most_bytes):
        tenant = item.command.tenant
        if runs and runs[-1][0] == tenant:
            runs[-1] = (tenant, runs[-1][1] + 1)
        else:
            runs.append((tenant, 1))
    return runs


def test_a_busy_tenant_does_not_keep_others_waiting(queue: CommandQueue) -> None:
    put(queue, "busy", 1_000)
    put(queue, "quiet", 1)
    assert taken(queue, 300) == [
        ("busy", COMMANDS_PER_TURN),
        ("quiet", 1),
        ("busy", 300 - COMMANDS_PER_TURN - 1),
    ]


def test_turns_go_on_in_the_next_group(queue: CommandQueue) -> None:
    for tenant in ("a", "b", "c"):
        put(queue, tenant, 200)
    assert taken(queue, COMMANDS_PER_TURN) == [("a", COMMANDS_PER_TURN)]
    put(queue, "d", 1)
    assert taken(queue, 2 * COMMANDS_PER_TURN + 1) == [
        ("b", COMMANDS_PER_TURN), ("c", COMMANDS_PER_TURN), ("a", 1),
    ]  # fmt: skip
    assert dict(taken(queue)) == {"d": 1, "a": 71, "b": 72, "c": 72}


def test_commands_of_a_tenant_stay_in_their_order(queue: CommandQueue) -> None:
    put(queue, "a", 300)
    put(queue, "b", 300)
    group = queue.take(1_000, NO_END)
    for tenant in ("a", "b"):
        assert [item.index for item in group if item.command.tenant == tenant] == list(range(300))


def test_a_group_is_bounded_in_bytes(queue: CommandQueue) -> None:
    put(queue, "a", 10)
    put(queue, "b", 10)
    assert taken(queue, most_bytes=3 * SMALL_COMMAND_BYTES) == [("a", 3)]
    assert taken(queue, most_bytes=1) == [("b", 1)], "never less than one"
    assert queue.depth().commands == 16
    assert queue.depth().bytes == 16 * SMALL_COMMAND_BYTES


def test_a_tenant_is_bounded_in_bytes_all_or_nothing(queue: CommandQueue) -> None:
    limit = 5 * SMALL_COMMAND_BYTES
    put(queue, "a", 3, limit)
    with pytest.raises(QueueFull):
        put(queue, "a", 3, limit)
    assert queue.depth().commands == 3
    put(queue, "a", 2, limit)
    put(queue, "b", 5, limit)
    assert dict(taken(queue)) == {"a": 5, "b": 5}
    put(queue, "a", 50, limit)  # an empty queue takes any
    assert taken(queue) == [("a", 50)]
    assert (queue.depth().commands, queue.depth().bytes, queue.depth().oldest_age) == (0, 0, 0)


def test_what_is_put_back_comes_first(queue: CommandQueue) -> None:
    put(queue, "a", 4)
    group = queue.take(2, NO_END)
    queue.put_back(group)
    assert queue.depth().bytes == 4 * SMALL_COMMAND_BYTES
    assert [item.index for item in queue.take(9, NO_END)] == [0, 1, 2, 3]


def test_a_closed_queue_gives_what_it_has_and_takes_no_more(queue: CommandQueue) -> None:
    put(queue, "a", 2)
    queue.close()
    with pytest.raises(StorageUnavailable):
        put(queue, "a", 1)
    assert taken(queue) == [("a", 2)]
    assert taken(queue) == []
