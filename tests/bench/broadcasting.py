"""How fast a broadcast reaches inboxes, and what a Send costs meanwhile: `broadcast`, on each engine."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from tests.bench.backbone import Backbone
from tests.bench.http2 import Connection
from tests.bench.measuring import median, percentile
from tests.bench.payloads import Requests
from tests.bench.results import Pair, Row, row
from tests.bench.sending import SEND, NotArrived, latencies
from tests.bench.setting import Setting, connections, undisturbed
from tests.support.processes import ServerProcess
from tocsin.v1 import broadcast_service_pb2 as pb
from tocsin.v1.category_service_pb2 import Category, UpsertCategoryRequest
from tocsin.v1.notification_pb2 import Content, NotificationSpec, SimpleContent
from tocsin.v1.preference_service_pb2 import PreferenceChoice, UpdatePreferencesRequest
from tocsin.v1.recipient_service_pb2 import Recipient, UpsertRecipientItem, UpsertRecipientsRequest

UPSERT = "/tocsin.v1.RecipientService/UpsertRecipients"
DEFINE = "/tocsin.v1.CategoryService/UpsertCategory"
PREFER = "/tocsin.v1.PreferenceService/UpdatePreferences"
CREATE = "/tocsin.v1.BroadcastService/CreateBroadcast"
GET = "/tocsin.v1.BroadcastService/GetBroadcast"

CATEGORY = "news"
OWN_PREFERENCES_EVERY = 20
"""One recipient in so many has preferences of its own."""
SENDERS = 200
"""Recipients that are sent to meanwhile."""
IDLE_SENDS = 500
PER_CALL = 1_000
CALLS_AT_ONCE = 32
CHUNK = 20_000
"""Recipients of a transaction of the yardstick."""

_COUNT = """
    UPDATE inboxes SET revision = revision + 1, unread = unread + 1, unseen = unseen + 1, total = total + 1
    WHERE tenant = 'default' AND recipient > {after} AND recipient <= {upto} AND recipient IN (
        SELECT recipient FROM recipients WHERE tenant = 'default' AND recipient > {after} AND recipient <= {upto}
        AND preferences IS NULL)"""

_ENTER = """
    INSERT INTO notifications (tenant, id, recipient, category, priority, thread, state, status, revision,
        content_revision, content_id, envelope, trace, create_time, change_time, has_deliveries)
    SELECT r.tenant, {id}, r.recipient, 'news', 2, '', 2, 0, i.revision, i.revision, 1, {empty}, {empty}, 1, 1, 0
    FROM recipients AS r JOIN inboxes AS i ON i.tenant = r.tenant AND i.recipient = r.recipient
    WHERE r.tenant = 'default' AND r.recipient > {after} AND r.recipient <= {upto} AND r.preferences IS NULL
    ORDER BY r.recipient"""

_SQLITE = {"after": ":after", "upto": ":upto", "id": "randomblob(16)", "empty": "x''"}
_POSTGRES = {
    "after": "%(after)s",
    "upto": "%(upto)s",
    "id": "uuid_send(gen_random_uuid())",
    "empty": "''::bytea",
}


async def broadcast(setting: Setting) -> list[Row]:
    """Inboxes a second, beside the bare SQL on a copy of the database; and the p99 of Send, beside that when idle."""
    async with setting.server() as server:

        def bare() -> float:
            copy = setting.subfolder() / "copy.db"
            with closing(sqlite3.connect(server.database)) as source:
                source.execute("VACUUM INTO ?", (str(copy),))
            return _on_sqlite(copy)

        return await _measured(setting, "", server, lambda: None, bare)


async def broadcast_postgres(setting: Setting) -> list[Row]:
    """The same on Postgres, with Redis, where the bare SQL follows on the broadcast."""
    async with setting.backbone() as backbone, setting.server(backbone.settings) as server:
        return await _measured(setting, ".postgres", server, backbone.settle, lambda: _on_postgres(backbone))


async def _measured(
    setting: Setting,
    suffix: str,
    server: ServerProcess,
    settle: Callable[[], None],
    bare: Callable[[], float],
) -> list[Row]:
    count = setting.by_size(100_000, 1_000_000)
    keys = [f"user-{number:07}" for number in range(count)]
    pairs, idle, meanwhile = [], [], []
    async with connections(server.address, 2) as (sending, asking):
        await _fill(asking, keys)
        settle()
        requests = Requests(keys[:SENDERS])
        for _ in range(setting.rounds):
            with undisturbed():
                quiet = await latencies(sending, SEND, requests.request, IDLE_SENDS)
                busy: list[float] = []
                task = asyncio.create_task(_sends(sending, requests, busy))
                try:
                    rate = await _broadcast(asking, count)
                finally:
                    task.cancel()
            # Meanwhile the server asks whether the connections live, and would close them.
            pairs.append(Pair(rate, await asyncio.to_thread(bare)))
            idle.append(percentile(quiet, 0.99))
            meanwhile.append(percentile(busy, 0.99))
    slower = median(meanwhile) / median(idle)
    return [
        row(
            f"broadcast{suffix}",
            "inboxes/s",
            pairs,
            "at least",
            0.5,
            also=slower <= 5,
            also_bar="p99 of Send <= 5 x idle",
            recipients=count,
            send_p99_ms=1e3 * median(meanwhile),
            idle_send_p99_ms=1e3 * median(idle),
        )
    ]


async def _fill(connection: Connection, keys: Sequence[str]) -> None:
    """Everybody, and the preferences of some."""
    await connection.unary(
        DEFINE, UpsertCategoryRequest(category=Category(category=CATEGORY)).SerializeToString()
    )
    for start in range(0, len(keys), PER_CALL):
        items = (
            UpsertRecipientItem(
                recipient=Recipient(
                    recipient=key, locale="pt-BR", time_zone="Europe/Lisbon", attributes={"plan": "pro"}
                )
            )
            for key in keys[start : start + PER_CALL]
        )
        await connection.unary(UPSERT, UpsertRecipientsRequest(items=items).SerializeToString())
    own = keys[::OWN_PREFERENCES_EVERY]
    for start in range(0, len(own), CALLS_AT_ONCE):
        choice = PreferenceChoice(category=CATEGORY, allowed=False)
        requests = (
            UpdatePreferencesRequest(recipient=key, set_choices=[choice]).SerializeToString()
            for key in own[start : start + CALLS_AT_ONCE]
        )
        await asyncio.gather(*(connection.unary(PREFER, request) for request in requests))


async def _broadcast(connection: Connection, count: int) -> float:
    """Inboxes a second, from the call to its completion. Raises NotArrived."""
    content = Content(simple=SimpleContent(title="Version 2 is out", body="See what is new. " * 8))
    request = pb.CreateBroadcastRequest(
        audience=pb.Audience(everyone=True), notification=NotificationSpec(category=CATEGORY, content=content)
    )
    started = time.perf_counter()
    answer = await connection.unary(CREATE, request.SerializeToString())
    found = pb.CreateBroadcastResponse.FromString(answer).broadcast
    asked = pb.GetBroadcastRequest(broadcast_id=found.broadcast_id).SerializeToString()
    while found.state < pb.BROADCAST_STATE_COMPLETED:
        await asyncio.sleep(0.02)
        found = pb.GetBroadcastResponse.FromString(await connection.unary(GET, asked)).broadcast
    seconds = time.perf_counter() - started
    progress = found.progress
    if progress.processed_count != count or progress.delivered_count != count - -(
        -count // OWN_PREFERENCES_EVERY
    ):
        raise NotArrived(f"a broadcast to {count} came to {progress}")
    return progress.delivered_count / seconds


async def _sends(connection: Connection, requests: Requests, taken: list[float]) -> None:
    """One Send after the other, until cancelled."""
    while True:
        taken += await latencies(connection, SEND, requests.request, 1)


def _on_sqlite(path: Path) -> float:
    """Inboxes a second of the bare SQL."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode = wal", "synchronous = full", "cache_size = -65536"):
            connection.execute(f"PRAGMA {pragma}")
        (highest,) = connection.execute("SELECT max(recipient) FROM recipients").fetchone()
        after, entered, started = "", 0, time.perf_counter()
        while after < highest:
            upto = connection.execute(
                f"SELECT max(recipient) FROM (SELECT recipient FROM recipients WHERE tenant = 'default'"
                f" AND recipient > ? ORDER BY recipient LIMIT {CHUNK})",
                (after,),
            ).fetchone()[0]
            span = {"after": after, "upto": upto}
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_COUNT.format(**_SQLITE), span)
            entered += connection.execute(_ENTER.format(**_SQLITE), span).rowcount
            connection.execute("COMMIT")
            after = upto
        return entered / (time.perf_counter() - started)


def _on_postgres(backbone: Backbone) -> float:
    """Inboxes a second of the bare SQL."""
    with backbone.postgres.connect() as connection:
        highest = connection.execute("SELECT max(recipient) FROM recipients").fetchone()[0]  # type: ignore[index]
        after, entered, started = "", 0, time.perf_counter()
        while after < highest:
            upto = connection.execute(
                "SELECT max(recipient) FROM (SELECT recipient FROM recipients WHERE tenant = 'default'"
                " AND recipient > %s ORDER BY recipient LIMIT %s) AS page",
                (after, CHUNK // 2),
            ).fetchone()[0]  # type: ignore[index]
            span = {"after": after, "upto": upto}
            with connection.transaction():
                connection.execute(_COUNT.format(**_POSTGRES).encode(), span)
                entered += connection.execute(_ENTER.format(**_POSTGRES).encode(), span).rowcount
            after = upto
        return entered / (time.perf_counter() - started)
