"""Deliveries as rows: planned, claimed, recorded, and closed or removed with their notification."""

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

from msgspec import msgpack

from tocsin_server.domain.bodies import ChannelBody
from tocsin_server.domain.commands import (
    ClaimDeliveries,
    ClaimedDelivery,
    ClaimReceipt,
    RecordDelivery,
    RecordOutcome,
)
from tocsin_server.domain.delivery import (
    EVENTS,
    OPEN,
    Delivery,
    DeliveryState,
    NewDelivery,
    claimed,
    recorded,
)
from tocsin_server.domain.notification import Channel, Event
from tocsin_server.domain.retry import RETRIES
from tocsin_server.domain.sending import Draft, PlannedDelivery
from tocsin_server.domain.tenant import TenantState
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import field_names, replace
from tocsin_server.service.ports import DeliveryBacklog
from tocsin_server.store.pool import ReadPool
from tocsin_server.store.sql import Connection, Insert, Update
from tocsin_server.store.transaction import Transaction

_COLUMNS = field_names(Delivery)
_MUTABLE = _COLUMNS[_COLUMNS.index("state") :]

_INSERT = Insert("deliveries", _COLUMNS[1:])

_UPDATE = Update("deliveries", "pk", _MUTABLE)

_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM deliveries"

# The hint keeps SQLite from reading all of a tenant's. What another replica is claiming is left to it.
_SELECT_DUE = f"""
    {_SELECT} INDEXED BY deliveries_by_claim_time
    WHERE claim_time <= ?
        AND EXISTS (SELECT 1 FROM tenants WHERE name = deliveries.tenant AND tenants.state {{in_keys}})
    ORDER BY claim_time LIMIT {{limit}} {{skip_locked}}"""

# Whoever locks several takes them in this order.
_LOCK_BY_PK = f"{_SELECT} WHERE pk {{in_keys}} ORDER BY pk {{for_update}}"

_LOCK_BY_NOTIFICATION = (
    f"{_SELECT} WHERE tenant = ? AND notification_id {{in_keys}} ORDER BY pk {{for_update}}"
)

_SELECT_SHOWN = """
    SELECT d.pk, b.body, c.body, n.trace FROM deliveries AS d
    LEFT JOIN contents AS b ON b.id = d.body_id
    LEFT JOIN notifications AS n ON n.tenant = d.tenant AND n.id = d.notification_id
    LEFT JOIN contents AS c ON c.id = n.content_id
    WHERE d.pk {in_keys}"""

_DELETE = "DELETE FROM deliveries WHERE pk {in_keys}"

_DELETE_BODIES = "DELETE FROM contents WHERE id {in_keys}"

# What never goes out has interrupted nobody.
_GIVE_BACK_SLOT = """
    DELETE FROM throttle_slots
    WHERE tenant = ? AND recipient = ? AND due_time = ? AND notification_id = ? AND channel = ?"""

_SELECT_OF_NOTIFICATION = f"{_SELECT} WHERE tenant = ? AND notification_id = ? ORDER BY pk LIMIT ?"

# A CROSS JOIN keeps SQLite to this order: by the index of claim times.
_SELECT_BACKLOG = f"""
    SELECT min(claim_time), count(CASE WHEN claim_time <= :now THEN 1 END) FROM (
        SELECT d.claim_time FROM deliveries AS d CROSS JOIN tenants
        WHERE tenants.name = d.tenant AND tenants.state = {int(TenantState.ACTIVE)} AND d.claim_time <= :until
        ORDER BY d.claim_time LIMIT :most) AS earliest"""

_decode_body = msgpack.Decoder(ChannelBody).decode


def new_delivery(draft: Draft, planned: PlannedDelivery, body_id: int | None) -> NewDelivery:
    """A delivery of a draft's notification, as its plan has it."""
    return NewDelivery(
        draft.tenant,
        draft.id,
        draft.recipient,
        planned.channel,
        planned.address,
        planned.provider,
        planned.due_time,
        planned.deferred,
        body_id,
        draft.expire_time,
    )


def add_deliveries(transaction: Transaction, deliveries: Sequence[NewDelivery]) -> None:
    """Writes deliveries that were planned. The rows of their notifications must say `has_deliveries`: without, nothing
    looks for them when the notification ends."""
    transaction.connection.insert(_INSERT, [_new_row(delivery, transaction.now) for delivery in deliveries])
    for delivery in deliveries:
        if not delivery.deferred:
            transaction.wake_deliveries(delivery.due_time)


def claim_deliveries(transaction: Transaction, commands: Sequence[ClaimDeliveries]) -> list[ClaimReceipt]:
    """Claims for each command in turn."""
    return [_claim(transaction, command) for command in commands]


def record_deliveries(transaction: Transaction, commands: Sequence[RecordDelivery]) -> list[RecordOutcome]:
    """Records each in turn: of two for one claim the first counts."""
    rows = transaction.connection.rows_in(_LOCK_BY_PK, (), [command.pk for command in commands])
    # The embedded engine gives the key of a row that is gone to another's.
    known = {(delivery.pk, delivery.notification_id): delivery for delivery in map(_delivery, rows)}
    changed: dict[int, Delivery] = {}
    outcomes: list[RecordOutcome] = []
    for command in commands:
        before = known.get((command.pk, command.notification_id))
        if before is None or before.state is not DeliveryState.CLAIMED:
            outcomes.append(RecordOutcome.CLOSED)
        elif before.fence != command.fence:
            outcomes.append(RecordOutcome.OVERTAKEN)
        else:
            after = recorded(before, command.attempted, RETRIES, transaction.now, command.jitter)
            known[command.pk, command.notification_id] = changed[command.pk] = after
            _announce(transaction, after)
            outcomes.append(RecordOutcome.RECORDED)
    _write(transaction.connection, changed.values())
    return outcomes


def close_deliveries(
    transaction: Transaction, tenant: str, ids: Sequence[bytes], close: Callable[[Delivery, Micros], Delivery]
) -> None:
    """Closes what is open of notifications that have come to their end, and drops the bodies of all. The recipients'
    inboxes are locked."""
    found = [_delivery(row) for row in transaction.connection.rows_in(_LOCK_BY_NOTIFICATION, (tenant,), ids)]
    changed: list[Delivery] = []
    slots: set[tuple[Any, ...]] = set()
    for before in found:
        if before.state is DeliveryState.PENDING and before.claim_time is None:
            slots.add(
                (tenant, before.recipient, before.due_time, before.notification_id, int(before.channel))
            )
        after = close(before, transaction.now) if before.state in OPEN else before
        if after.state is not before.state:
            _announce(transaction, after)
        changed.append(replace(after, body_id=None))
    for slot in sorted(slots):
        transaction.connection.execute(_GIVE_BACK_SLOT, slot)
    _write(transaction.connection, changed)
    _drop_bodies(transaction.connection, [delivery.body_id for delivery in found])


def replace_bodies(transaction: Transaction, tenant: str, id: bytes, bodies: Sequence[ChannelBody]) -> None:
    """Has deliveries that have not gone out show the content of their notification, as it is by now, but for what
    these bodies say."""
    rows = transaction.connection.rows_in(_LOCK_BY_NOTIFICATION, (tenant,), (id,))
    found = [_delivery(row) for row in rows]
    open = {delivery.channel for delivery in found if delivery.state in OPEN}
    ids = add_bodies(transaction, bodies, open)
    _write(
        transaction.connection,
        [replace(delivery, body_id=ids.get(delivery.channel)) for delivery in found],
    )
    _drop_bodies(transaction.connection, [delivery.body_id for delivery in found])


def add_bodies(
    transaction: Transaction, bodies: Iterable[ChannelBody], channels: Container[Channel]
) -> dict[Channel, int]:
    """Stores what these channels show of their own; the ids of the contents."""
    used = [body for body in bodies if body.channel in channels]
    if not used:
        return {}
    ids = transaction.add_contents([msgpack.encode(body) for body in used])
    return dict(zip((body.channel for body in used), ids, strict=True))


def remove_deliveries(connection: Connection, tenant: str, ids: Sequence[bytes]) -> None:
    """Removes all deliveries of notifications that are removed."""
    found = [_delivery(row) for row in connection.rows_in(_LOCK_BY_NOTIFICATION, (tenant,), ids)]
    connection.rows_in(_DELETE, (), [delivery.pk for delivery in found])
    _drop_bodies(connection, [delivery.body_id for delivery in found])


def _claim(transaction: Transaction, command: ClaimDeliveries) -> ClaimReceipt:
    connection, now = transaction.connection, transaction.now
    due = _SELECT_DUE.replace("{limit}", str(command.limit))
    rows = connection.rows_in(due, (now,), (int(TenantState.ACTIVE),))
    after = [claimed(_delivery(row), RETRIES, command.lease, now) for row in rows]
    _write(connection, after)
    taken = {delivery.pk: delivery for delivery in after if delivery.state is DeliveryState.CLAIMED}
    for delivery in after:
        if delivery.pk not in taken:
            _announce(transaction, delivery)
    shown = {pk: rest for pk, *rest in connection.rows_in(_SELECT_SHOWN, (), list(taken))}
    return ClaimReceipt(
        tuple(_claimed(delivery, *shown[pk]) for pk, delivery in taken.items()), len(after) - len(taken)
    )


def _claimed(
    delivery: Delivery, body: bytes | None, content: bytes | None, trace: bytes | None
) -> ClaimedDelivery:
    return ClaimedDelivery(
        delivery, None if body is None else _decode_body(body), content, trace if trace is not None else b""
    )


def _announce(transaction: Transaction, delivery: Delivery) -> None:
    """The step that its new state is, and the time from which it can be claimed again."""
    event = Event(
        EVENTS[delivery.state],
        transaction.now,
        channel=delivery.channel,
        detail=delivery.detail or delivery.message_id,
    )
    transaction.add_event(delivery.tenant, delivery.notification_id, event)
    if delivery.claim_time is not None:
        transaction.wake_deliveries(delivery.claim_time)


def _write(connection: Connection, deliveries: Iterable[Delivery]) -> None:
    rows = [(delivery.pk, *(getattr(delivery, column) for column in _MUTABLE)) for delivery in deliveries]
    connection.update(_UPDATE, rows)


def _drop_bodies(connection: Connection, body_ids: Iterable[int | None]) -> None:
    connection.rows_in(_DELETE_BODIES, (), sorted({id for id in body_ids if id is not None}))


def _new_row(delivery: NewDelivery, now: Micros) -> tuple[Any, ...]:
    values = {
        "state": int(DeliveryState.PENDING),
        "claim_time": None if delivery.deferred else delivery.due_time,
        "fence": 0,
        "attempts": 0,
        "detail": "",
        "message_id": "",
        "create_time": now,
        "change_time": now,
    }
    return tuple(values[column] if column in values else getattr(delivery, column) for column in _COLUMNS[1:])


def _delivery(row: Sequence[Any]) -> Delivery:
    delivery = Delivery(*row)
    return replace(delivery, channel=Channel(delivery.channel), state=DeliveryState(delivery.state))


class DeliveryRows:
    """Implements `ports.DeliveryReader`."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool

    async def deliveries(self, tenant: str, notification_id: bytes, limit: int) -> list[Delivery]:
        """See `ports.DeliveryReader`."""
        rows = await self._pool.run(
            lambda connection: connection.execute(
                _SELECT_OF_NOTIFICATION, (tenant, notification_id, limit)
            ).fetchall()
        )
        return [_delivery(row) for row in rows]

    async def delivery_backlog(self, now: Micros, until: Micros, most: int) -> DeliveryBacklog:
        """See `ports.DeliveryReader`."""
        asked = {"now": now, "until": until, "most": most}
        earliest, due = await self._pool.run(
            lambda connection: connection.execute(_SELECT_BACKLOG, asked).fetchone()
        )
        return DeliveryBacklog(earliest, due)
