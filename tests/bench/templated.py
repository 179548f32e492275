"""How fast notifications are taken that have something decided and rendered about them: `send_template`.

Every recipient has addresses, a language and a zone; half have denied e-mail about what they are sent, the others may
have one a day, so that after the first of each what happens is an entry and a decision. Categories, templates, quiet
hours and throttles are set as they would be.
"""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from google.protobuf.struct_pb2 import Struct

import tocsin
from tests.bench.payloads import Requests, recipients
from tests.bench.results import Row
from tests.bench.sending import SEND, NotArrived, fill, unary_row
from tests.bench.setting import Setting, connections
from tests.support.waiting import eventually
from tocsin.v1.category_service_pb2 import ThrottleOverflow, ThrottleScope
from tocsin.v1.notification_pb2 import (
    CHANNEL_EMAIL,
    CHANNEL_INBOX,
    CHANNEL_PUSH,
    DISPOSITION_STORED,
    Actor,
    Content,
    DecisionRule,
    NotificationSpec,
    SimpleContent,
    TemplateRef,
)
from tocsin.v1.notification_service_pb2 import DeliveryState, SendResponse
from tocsin.v1.preference_service_pb2 import Weekday
from tocsin.values import duration, enum_name
from tocsin_server.cli.default_templates import create_missing

CATEGORIES = ("comments", "mentions", "releases", "tasks", "orders", "approvals", "reports")
SAMPLE = 200
"""Sends whose answers are looked at, and inboxes, one in so many."""

_PLACES = (("en-GB", "Europe/London"), ("de", "Europe/Berlin"), ("en-US", "America/New_York"), ("", ""))
_CALLS_AT_ONCE = 500
_TIMEOUT_S = 60.0


async def send_template(setting: Setting) -> list[Row]:
    """`send_unary`, but what is sent is rendered, and preferences and a throttle decide about it."""
    keys = recipients()
    requests = Requests(keys, spec_of=spec)
    async with (
        setting.server({"TOCSIN_LOG_CHANNELS": "email,push"}) as server,
        tocsin.connect(server.address, timeout=_TIMEOUT_S) as client,
        connections(server.address, 1) as (connection,),
    ):
        await _define(client)
        await _introduce(client, keys)
        await fill(connection, [requests.item() for _ in keys])
        await eventually(lambda: _all_went_out(client), "the first e-mails", _TIMEOUT_S)
        measured = await unary_row(setting, "send_template", 0.35, server, requests)
        decided: Counter[str] = Counter()
        for _ in range(SAMPLE):
            answer = SendResponse.FromString(await connection.unary(SEND, requests.item()))
            if answer.result.disposition != DISPOSITION_STORED:
                raise NotArrived(f"{answer}")
            decided.update(enum_name(DecisionRule, each.rule).lower() for each in answer.result.decisions)
        await _check_what_is_shown(client, keys[:: len(keys) // SAMPLE])
    if decided.total() != SAMPLE or not decided["preference"] or not decided["throttle"]:
        raise NotArrived(f"of {SAMPLE} was decided {decided}")
    measured.extra.update({f"{rule}_share": count / SAMPLE for rule, count in sorted(decided.items())})
    return [measured]


def spec(recipient: str, number: int) -> NotificationSpec:
    """The notification of a number: 180 to 430 bytes; half show plain text and half something richer."""
    made = NotificationSpec(recipient=recipient)
    kind = number % 8
    made.category = CATEGORIES[min(kind, 6)]
    if kind < 4:
        made.thread = f"document/{number % 997}"
        made.actor.CopyFrom(Actor(id=f"user-{number % 5_000:06d}", name="Ada Byron"))
        data: dict[str, Any] = {
            "document": "Quarterly plan",
            "section": number % 40,
            "text": "Could you take a look before Thursday? I moved the figures there.",
        }
        made.template.CopyFrom(_ref("comment", data))
    elif kind == 4:
        made.attributes["order_id"] = f"{number % 1_000_000:09d}"
        items = [
            {"name": "Notebook", "price": number % 1_000 / 8},
            {"name": "Pencils", "price": number % 700 / 10},
        ]
        order = {"number": f"{number % 1_000_000:09d}", "currency": "EUR", "items": items}
        url = "https://shop.example.com/track"
        made.template.CopyFrom(
            _ref("order-shipped", {"order": order, "eta": "2027-03-04", "tracking_url": url})
        )
    elif kind == 5:
        data = {
            "id": f"{number % 9_999}",
            "subject": "Expense report",
            "amount": number % 5_000,
            "currency": "EUR",
        }
        made.template.CopyFrom(_ref("approval", data))
    else:
        projects = [
            {"name": f"Project {line}", "done": line, "share": number * line % 100 / 100}
            for line in (1, 2, 3)
        ]
        made.template.CopyFrom(
            _ref("weekly-summary", {"items": projects, "url": "https://app.example.com/week"})
        )
    return made


async def _define(client: tocsin.Client) -> None:
    """Templates, categories with a throttle, and the tenant's preferences."""
    await create_missing(client)
    text = SimpleContent(
        title="{{ actor.name }} commented on “{{ data.document }}”",
        body="{% if data.section > 0 %}Section {{ data.section }}: {% endif %}{{ data.text | truncate: 200 }}",
    )
    bodies = [tocsin.TemplateBody(locale=locale, content=Content(simple=text)) for locale in ("", "de")]
    await client.templates.create_version("comment", tocsin.TemplateDefinition(bodies=bodies), activate=True)
    one_mail_a_day = tocsin.Throttle(
        scope=ThrottleScope.THROTTLE_SCOPE_CHANNEL,
        max=1,
        window=duration(timedelta(days=1)),
        overflow=ThrottleOverflow.THROTTLE_OVERFLOW_DROP,
        channels=[CHANNEL_EMAIL],
    )
    for category in CATEGORIES:
        await client.categories.upsert(
            tocsin.Category(
                category=category, channels=[CHANNEL_INBOX, CHANNEL_EMAIL], throttles=[one_mail_a_day]
            )
        )
    # Nights of another day: they are looked for, and nothing is measured that depends on the hour.
    day = Weekday.ValueType((datetime.now(UTC) + timedelta(days=3)).isoweekday())
    night = tocsin.QuietWindow(days=[day], start_time="22:00", end_time="07:00")
    await client.preferences.update(
        "", tocsin.Preferences(quiet_hours=tocsin.QuietHours(windows=[night], email=True))
    )


async def _introduce(client: tocsin.Client, keys: list[str]) -> None:
    """Profiles, and what half of them want."""
    profiles = (
        tocsin.Recipient(
            recipient=key,
            locale=_PLACES[number % len(_PLACES)][0],
            time_zone=_PLACES[number % len(_PLACES)][1],
            attributes={"plan": "pro"},
            addresses=[
                tocsin.Address(channel=CHANNEL_EMAIL, value=f"{key}@example.com"),
                tocsin.Address(channel=CHANNEL_PUSH, value=f"device-of-{key}"),
            ],
        )
        for number, key in enumerate(keys)
    )
    while some := list(islice(profiles, 1_000)):
        for outcome in await client.recipients.upsert(some):
            if outcome.error is not None:
                raise outcome.error
    no_mail = tocsin.Preferences(
        choices=[
            tocsin.PreferenceChoice(category=category, channel=CHANNEL_EMAIL, allowed=False)
            for category in CATEGORIES
        ]
    )
    half = keys[::2]
    for start in range(0, len(half), _CALLS_AT_ONCE):
        some_keys = half[start : start + _CALLS_AT_ONCE]
        await asyncio.gather(*(client.preferences.update(key, no_mail) for key in some_keys))


async def _all_went_out(client: tocsin.Client) -> bool:
    """Whether no delivery of the latest notifications waits any more: those that came first went first."""
    latest: list[str] = []
    async for status in client.notifications.all(page_size=SAMPLE):
        latest.append(status.notification.id)
        if len(latest) == SAMPLE:
            break
    found = await asyncio.gather(*map(client.notifications.get, latest))
    return all(
        delivery.state == DeliveryState.DELIVERY_STATE_SENT for each in found for delivery in each.deliveries
    )


async def _check_what_is_shown(client: tocsin.Client, keys: list[str]) -> None:
    """Raises NotArrived for an entry that was not rendered."""
    for key in keys:
        async for entry in await client.inbox.entries(key):
            kind = entry.content.WhichOneof("kind")
            title = getattr(entry.content, kind).title if kind else ""
            if not title or "{{" in title:
                raise NotArrived(f"{key} was shown {entry.content}")


def _ref(name: str, data: dict[str, Any]) -> TemplateRef:
    struct = Struct()
    struct.update(data)
    return TemplateRef(name=name, data=struct)
