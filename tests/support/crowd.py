"""Recipients of several kinds, broadcasts to them, and what storage has of these in the end."""

import asyncio
import random
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

import grpc

from tests.support.calls import CALL_TIMEOUT_S, answered
from tests.support.postgres import PostgresServer
from tests.support.tenants import Metadata
from tests.support.wire import REQUEST_ID
from tocsin.v1 import broadcast_service_pb2 as pb
from tocsin.v1 import notification_pb2 as notification
from tocsin.v1 import preference_service_pb2 as preferences
from tocsin.v1 import recipient_service_pb2 as recipients
from tocsin.v1.broadcast_service_pb2_grpc import BroadcastServiceStub
from tocsin.v1.category_service_pb2 import Category, UpsertCategoryRequest
from tocsin.v1.category_service_pb2_grpc import CategoryServiceStub
from tocsin.v1.preference_service_pb2_grpc import PreferenceServiceStub
from tocsin.v1.recipient_service_pb2_grpc import RecipientServiceStub

CATEGORY = "news"
CALLS_AT_ONCE, PER_CALL = 32, 1_000

EVERYONE = pb.Audience(everyone=True)

# Nothing of this is marked, retracted or removed, so that each entry has the revision that it entered at.
_DRIFTED = """
    SELECT i.tenant, i.recipient, i.revision, i.unread, i.unseen, i.total, n.revisions
    FROM inboxes AS i LEFT JOIN (
        SELECT tenant, recipient, array_agg(revision ORDER BY revision) AS revisions
        FROM notifications WHERE revision > 0 GROUP BY tenant, recipient) AS n USING (tenant, recipient)
    WHERE coalesce(n.revisions, '{}') <> ARRAY(SELECT generate_series(1, i.revision))
        OR (i.unread, i.unseen, i.total) <> (i.revision, i.revision, i.revision)"""

_HOLDERS = "SELECT recipient FROM notifications WHERE tenant = %s AND thread = %s AND revision > 0"

_UNFINISHED = "SELECT count(*) FROM broadcasts WHERE finish_time IS NULL"


class Kind(Enum):
    """What is known of a recipient that makes a difference."""

    PLAIN = auto()
    LOCAL = auto()
    """With a locale and one of some time zones, by which it is of another class."""
    DENIED = auto()
    """Does not want the category."""
    EMAIL = auto()
    """Gets it by e-mail as well: one that a broadcast drafts by itself."""
    QUIET = auto()
    """The same, but that e-mail has to wait: it is always quiet."""


_SHARES = {Kind.PLAIN: 60, Kind.LOCAL: 20, Kind.DENIED: 8, Kind.EMAIL: 8, Kind.QUIET: 4}


@dataclass(frozen=True, slots=True)
class Crowd:
    """Recipients of one tenant."""

    kinds: Mapping[str, Kind]
    metadata: Metadata = ()
    """Of every call."""

    @classmethod
    def drawn(cls, count: int, rng: random.Random, metadata: Metadata = ()) -> "Crowd":
        """Of every kind some."""
        kinds = rng.choices(list(_SHARES), list(_SHARES.values()), k=count)
        return cls({f"user-{number:05}": kind for number, kind in enumerate(kinds)}, metadata)

    def of(self, *kinds: Kind) -> list[str]:
        """Those of some kinds, in order."""
        return [key for key, kind in self.kinds.items() if kind in kinds]

    @property
    def reached(self) -> set[str]:
        """Those whom a broadcast to everyone reaches."""
        return {key for key, kind in self.kinds.items() if kind is not Kind.DENIED}

    async def come(self, channel: grpc.aio.Channel) -> None:
        """They come to be, with all that they say."""
        stub, prefer = RecipientServiceStub(channel), PreferenceServiceStub(channel)
        category = UpsertCategoryRequest(category=Category(category=CATEGORY))
        await CategoryServiceStub(channel).UpsertCategory(
            category, metadata=self.metadata, timeout=CALL_TIMEOUT_S
        )
        items = [recipients.UpsertRecipientItem(recipient=_profile(*each)) for each in self.kinds.items()]
        for start in range(0, len(items), PER_CALL):
            request = recipients.UpsertRecipientsRequest(items=items[start : start + PER_CALL])
            await stub.UpsertRecipients(request, metadata=self.metadata, timeout=CALL_TIMEOUT_S)
        said = [_preferences(key, self.kinds[key]) for key in self.of(Kind.DENIED, Kind.QUIET)]
        for start in range(0, len(said), CALLS_AT_ONCE):
            calls = (
                prefer.UpdatePreferences(each, metadata=self.metadata, timeout=CALL_TIMEOUT_S)
                for each in said[start : start + CALLS_AT_ONCE]
            )
            await asyncio.gather(*calls)

    async def told(
        self, channel: grpc.aio.Channel, name: str, audience: pb.Audience = EVERYONE
    ) -> pb.Broadcast:
        """A broadcast of this name, which is its thread, too."""
        request = pb.CreateBroadcastRequest(
            request_id=name,
            audience=audience,
            notification=notification.NotificationSpec(
                category=CATEGORY,
                thread=name,
                channels=[notification.CHANNEL_INBOX, notification.CHANNEL_EMAIL],
                content=notification.Content(simple=notification.SimpleContent(title=name)),
                attributes={REQUEST_ID: name},
            ),
        )
        stub = BroadcastServiceStub(channel)
        return (
            await answered(
                lambda: stub.CreateBroadcast(request, metadata=self.metadata, timeout=CALL_TIMEOUT_S)
            )
        ).broadcast

    async def got(self, channel: grpc.aio.Channel, broadcast: pb.Broadcast) -> pb.Broadcast:
        """A broadcast as it is now."""
        request = pb.GetBroadcastRequest(broadcast_id=broadcast.broadcast_id)
        stub = BroadcastServiceStub(channel)
        return (
            await answered(lambda: stub.GetBroadcast(request, metadata=self.metadata, timeout=CALL_TIMEOUT_S))
        ).broadcast

    def check(self, broadcast: pb.Broadcast, audience: Iterable[str] | None = None) -> None:
        """Everybody who is meant has had one turn, and what came of it is what the kinds say."""
        count = Counter(self.kinds[key] for key in (self.kinds if audience is None else audience))
        progress = broadcast.progress
        assert broadcast.state == pb.BROADCAST_STATE_COMPLETED, broadcast
        assert progress.targeted_count == progress.processed_count == count.total(), progress
        assert progress.delivered_count == count.total() - count[Kind.DENIED], progress
        assert progress.deferred_count == count[Kind.QUIET], progress
        assert {each.rule: each.count for each in progress.suppressed} == {
            notification.DECISION_RULE_PREFERENCE: count[Kind.DENIED]
        }
        assert not progress.failed_count, progress


class Stored:
    """What the tables say, when nothing happens any more."""

    def __init__(self, postgres: PostgresServer) -> None:
        self._postgres = postgres

    def drifted(self) -> list[tuple[object, ...]]:
        """Inboxes whose revisions are not one after the other, or whose counts are not those of their entries."""
        with self._postgres.connect() as connection:
            return connection.execute(_DRIFTED).fetchall()

    def holders(self, thread: str, tenant: str = "default") -> Counter[str]:
        """How many entries of a thread, as of a broadcast of this name, each recipient has."""
        with self._postgres.connect() as connection:
            return Counter(key for (key,) in connection.execute(_HOLDERS, (tenant, thread)))

    @property
    def unfinished(self) -> int:
        """Broadcasts that have not come to their end."""
        with self._postgres.connect() as connection:
            row = connection.execute(_UNFINISHED).fetchone()
            assert row is not None
            return int(row[0])

    @property
    def deadlocks(self) -> int:
        """How often some have waited for each other, by the server's log."""
        return (self._postgres.folder / "log").read_text().count("deadlock detected")


def _profile(key: str, kind: Kind) -> recipients.Recipient:
    profile = recipients.Recipient(recipient=key)
    match kind:
        case Kind.LOCAL:
            profile.locale = "pt"
            profile.time_zone = f"Etc/GMT{zlib.crc32(key.encode()) % 13:+}"
        case Kind.EMAIL | Kind.QUIET:
            profile.addresses.add(channel=notification.CHANNEL_EMAIL, value=f"{key}@example.com")
    return profile


def _preferences(key: str, kind: Kind) -> preferences.UpdatePreferencesRequest:
    if kind is Kind.DENIED:
        denied = preferences.PreferenceChoice(category=CATEGORY, allowed=False)
        return preferences.UpdatePreferencesRequest(recipient=key, set_choices=[denied])
    always = preferences.QuietWindow(start_time="00:00", end_time="00:00")
    quiet = preferences.QuietHours(windows=[always], email=True)
    return preferences.UpdatePreferencesRequest(
        recipient=key, preferences=preferences.Preferences(quiet_hours=quiet)
    )
