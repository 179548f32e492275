"""What settling needs that must be exact: slots of throttles, loaded and taken under the recipients' locks."""

from collections.abc import Collection, Iterable

from tocsin_server.domain.errors import DraftOutdated
from tocsin_server.domain.inbox import Inbox
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.sending import Draft, Plan, settle, since_when
from tocsin_server.domain.throttle import Slot
from tocsin_server.domain.time import Micros
from tocsin_server.store.sql import Blob, Connection, Insert, Select
from tocsin_server.store.transaction import InboxKey, Transaction

_SELECT_SLOTS = Select(
    ("recipient", "due_time", Blob("notification_id"), "channel", "category"),
    "FROM throttle_slots WHERE tenant = ? AND recipient {in_keys} AND due_time > ?",
)

_INSERT_SLOTS = Insert(
    "throttle_slots",
    ("tenant", "recipient", "due_time", "notification_id", "channel", "category"),
    "ON CONFLICT DO NOTHING",
)

_GIVE_BACK_SLOTS = """
    DELETE FROM throttle_slots
    WHERE tenant = ? AND recipient = ? AND due_time <= ? AND notification_id = ? AND channel {in_keys}"""


class Settling:
    """Settles drafts one after the other, each in sight of what the ones before it took."""

    def __init__(self, transaction: Transaction, drafts: Iterable[Draft]) -> None:
        """The recipients' inboxes are locked."""
        self._transaction = transaction
        self._slots = load_slots(transaction.connection, drafts, transaction.now)
        self._taken: list[tuple[str, str, Micros, bytes, int, str]] = []

    def settle(self, draft: Draft, *, any_profile: bool) -> Plan:
        """What becomes of a draft; its slots are taken, its inbox is not kept yet.

        Raises QuotaExceeded, DraftOutdated.
        """
        transaction = self._transaction
        inbox = transaction.inbox(draft.tenant, draft.recipient) or transaction.new_inbox(
            draft.tenant, draft.recipient
        )
        if not any_profile and not is_current(draft, inbox):
            raise DraftOutdated
        known = self._slots.setdefault((draft.tenant, draft.recipient), [])
        # What falls due again holds slots already: they are its own.
        others = [slot for slot in known if slot.notification_id != draft.id]
        plan = settle(draft, inbox, others, transaction.now)
        known += plan.slots
        self._taken += [
            (draft.tenant, draft.recipient, slot.due_time, slot.notification_id, slot.channel, slot.category)
            for slot in plan.slots
        ]
        return plan

    def give_back(self, draft: Draft, channels: Collection[Channel], until: Micros) -> None:
        """The notification no longer holds its slots of these channels up to that time: what they were for is settled
        anew. What went out on others still counts."""
        place = (draft.tenant, draft.recipient)
        self._transaction.connection.rows_in(_GIVE_BACK_SLOTS, (*place, until, draft.id), sorted(channels))
        self._slots[place] = [
            slot
            for slot in self._slots.get(place, ())
            if slot.notification_id != draft.id or slot.channel not in channels or slot.due_time > until
        ]

    def write(self) -> None:
        """Writes the slots that were taken."""
        self._transaction.connection.insert(_INSERT_SLOTS, self._taken)


def is_current(draft: Draft, inbox: Inbox) -> bool:
    """Whether the draft was made from the recipient's profile as it is."""
    return draft.profile_version == inbox.profile_version


def load_slots(connection: Connection, drafts: Iterable[Draft], now: Micros) -> dict[InboxKey, list[Slot]]:
    """The slots that have a bearing on drafts, by inbox."""
    wanted: dict[str, dict[str, Micros]] = {}
    for draft in drafts:
        since = since_when(draft, now)
        if since is not None:
            of_tenant = wanted.setdefault(draft.tenant, {})
            of_tenant[draft.recipient] = min(since, of_tenant.get(draft.recipient, since))
    found: dict[InboxKey, list[Slot]] = {}
    for tenant, recipients in wanted.items():
        rows = connection.select_in(_SELECT_SLOTS, (tenant,), list(recipients), (min(recipients.values()),))
        for recipient, due_time, id, channel, category in rows:
            found.setdefault((tenant, recipient), []).append(Slot(due_time, id, Channel(channel), category))
    return found
