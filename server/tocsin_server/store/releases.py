"""What was kept for a time: read for its next draft, and its deferred deliveries once they met the rules again."""

from collections.abc import Sequence
from typing import Any

from msgspec import msgpack

from tocsin_server.domain.delivery import DeliveryState
from tocsin_server.domain.notification import (
    Channel,
    Decision,
    Event,
    EventKind,
    NotificationSpec,
    NotificationState,
    Outcome,
    Priority,
    Rule,
)
from tocsin_server.domain.sending import Draft, Kept, Plan, PlannedDelivery
from tocsin_server.domain.time import Micros
from tocsin_server.store.deliveries import add_deliveries, new_delivery
from tocsin_server.store.sql import Blob, Connection, Select, Update
from tocsin_server.store.transaction import Transaction

_WAITING = f"state = {int(DeliveryState.PENDING)} AND claim_time IS NULL"

_SELECT_KEPT = Select(
    (
        Blob("id"),
        "recipient",
        "category",
        "priority",
        "thread",
        "create_time",
        "expire_time",
        "state",
        Blob("spec", nullable=True),
    ),
    "FROM notifications WHERE tenant = ? AND id {in_keys}",
)

_SELECT_SPEC = "SELECT spec FROM notifications WHERE pk = ?"

_SELECT_WAITING = Select(
    (Blob("notification_id"), "channel"),
    f"FROM deliveries WHERE tenant = ? AND notification_id {{in_keys}} AND {_WAITING} AND due_time <= ?",
)

_SELECT_RELEASED = f"""
    SELECT pk, channel, address, body_id FROM deliveries
    WHERE tenant = ? AND notification_id = ? AND {_WAITING} AND due_time <= ? ORDER BY pk"""

_UPDATE = Update("deliveries", "pk", ("state", "due_time", "claim_time", "change_time"))

_decode_spec = msgpack.Decoder(NotificationSpec).decode


def read_kept(connection: Connection, tenant: str, ids: Sequence[bytes], until: Micros) -> list[Kept]:
    """Those of the ids that exist, with the channels of what was deferred until then at the latest."""
    waiting: dict[bytes, set[Channel]] = {}
    for id, channel in connection.select_in(_SELECT_WAITING, (tenant,), ids, (until,)):
        waiting.setdefault(id, set()).add(Channel(channel))
    rows = connection.select_in(_SELECT_KEPT, (tenant,), ids)
    return [_kept(row, tuple(sorted(waiting.get(row[0], ())))) for row in rows]


def kept_spec(connection: Connection, pk: int) -> NotificationSpec | None:
    """What was said of a notification, where that was kept."""
    (packed,) = connection.execute(_SELECT_SPEC, (pk,)).fetchone()
    return None if packed is None else _decode_spec(packed)


WaitingRow = tuple[int, int, str, int | None]
"""A deferred delivery: its key, channel, address, and what it shows of its own."""


def waiting_deliveries(connection: Connection, draft: Draft, until: Micros) -> list[WaitingRow]:
    """The deliveries of a notification that were deferred until then at the latest."""
    return connection.execute(_SELECT_RELEASED, (draft.tenant, draft.id, until)).fetchall()


def release_deliveries(
    transaction: Transaction, draft: Draft, plan: Plan, waiting: Sequence[WaitingRow]
) -> None:
    """Lets out, defers or ends deliveries that were deferred, as the plan says: to the addresses that there are now."""
    planned = {(each.channel, each.address): each for each in plan.deliveries}
    elsewhere = {each.channel for each in plan.deliveries}
    expired = draft.expire_time is not None and draft.expire_time <= transaction.now
    changed: list[tuple[Any, ...]] = []
    told: set[tuple[Channel, DeliveryState]] = set()
    body_ids: dict[Channel, int | None] = {}
    for pk, number, address, body_id in waiting:
        channel = Channel(number)
        body_ids[channel] = body_id
        found = planned.pop((channel, address), None)
        state, due_time, claim_time = _released(transaction, found, expired=expired)
        changed.append((pk, int(state), due_time, claim_time, transaction.now))
        if claim_time is None and (channel, state) not in told:
            told.add((channel, state))
            gone = found is None and channel in elsewhere
            _tell(transaction, draft, channel, state, (_gone(channel),) if gone else plan.decisions)
    transaction.connection.update(_UPDATE, changed)
    # The others have been made known, or active again, while it waited.
    add_deliveries(
        transaction,
        [
            new_delivery(draft, each, body_ids[each.channel])
            for each in planned.values()
            if each.channel in body_ids
        ],
    )


def _gone(channel: Channel) -> Decision:
    text = "The address is not active any more."
    return Decision(Rule.NO_ADDRESS, "recipient", "addresses", Outcome.SUPPRESSED, text, channel)


def _released(
    transaction: Transaction, planned: PlannedDelivery | None, *, expired: bool
) -> tuple[DeliveryState, Micros, Micros | None]:
    """The state, the due time and when it can be claimed."""
    if planned is None:
        return DeliveryState.EXPIRED if expired else DeliveryState.SUPPRESSED, transaction.now, None
    if planned.deferred:
        return DeliveryState.PENDING, planned.due_time, None
    transaction.wake_deliveries(planned.due_time)
    return DeliveryState.PENDING, planned.due_time, planned.due_time


_KINDS = {
    DeliveryState.PENDING: EventKind.DELIVERY_DEFERRED,
    DeliveryState.SUPPRESSED: EventKind.DELIVERY_SUPPRESSED,
    DeliveryState.EXPIRED: EventKind.DELIVERY_EXPIRED,
}


def _tell(
    transaction: Transaction,
    draft: Draft,
    channel: Channel,
    state: DeliveryState,
    decisions: Sequence[Decision],
) -> None:
    """The channel's step in the timeline, with why it does not go out now."""
    why = tuple(
        decision
        for decision in decisions
        if decision.channel in (channel, None) and decision.outcome is not Outcome.ALLOWED
    )
    event = Event(_KINDS[state], transaction.now, decisions=why, channel=channel)
    transaction.add_event(draft.tenant, draft.id, event)


def _kept(row: Sequence[Any], waiting: tuple[Channel, ...]) -> Kept:
    id, recipient, category, priority, thread, create_time, expire_time, state, packed = row
    spec = (
        _decode_spec(packed)
        if packed is not None
        # What was kept by a version that did not keep what was said.
        else NotificationSpec(recipient, category, Priority(priority), expire_time=expire_time, thread=thread)
    )
    return Kept(id, spec, create_time, waiting, state == NotificationState.SCHEDULED)
