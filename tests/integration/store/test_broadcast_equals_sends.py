"""A broadcast to N recipients decides what N Sends decide, one by one."""

import random
from collections import Counter
from typing import Any, NamedTuple

import pytest

from tests.support.broadcasting import Station
from tests.support.contents import simple
from tests.support.desk import CODEC
from tests.support.senders import facts_of, sending_on
from tests.support.stores import START, TurnedClock
from tocsin_server.domain.access import Principal, Scope
from tocsin_server.domain.broadcast import suppressed_by
from tocsin_server.domain.category import Category, Overflow, Throttle, ThrottleScope
from tocsin_server.domain.commands import (
    ChangeDefaultPreferences,
    ChangePreferences,
    CreateTemplateVersion,
    CreateTenant,
    SendReceipt,
    UpsertCategory,
    UpsertRecipient,
)
from tocsin_server.domain.content import Content
from tocsin_server.domain.entry import NotificationFilter
from tocsin_server.domain.notification import (
    Channel,
    Decision,
    Disposition,
    NotificationSpec,
    NotificationState,
    Outcome,
    Priority,
    TemplateRef,
)
from tocsin_server.domain.preferences import Choice, Preferences, PreferencesChange
from tocsin_server.domain.quiet_hours import QuietAction, QuietHours, QuietWindow
from tocsin_server.domain.recipient import PROFILE_FIELDS, Address, AddressState, Profile
from tocsin_server.domain.template import TemplateBody, TemplateDefinition
from tocsin_server.domain.tenant import Quotas
from tocsin_server.domain.time import DAY, HOUR, Micros
from tocsin_server.domain.value import replace
from tocsin_server.service.cursors import Cursors
from tocsin_server.service.sending import SendRequest, SendResult
from tocsin_server.store.store import Store

PROVIDERS = {Channel.EMAIL: "log", Channel.PUSH: "log"}
CATEGORIES = ("orders", "news", "security", "undefined")
RECIPIENTS = 40
ALL_DAY = QuietWindow((1, 2, 3, 4, 5, 6, 7), 0, 0)
NIGHT = QuietWindow((1, 2, 3, 4, 5, 6, 7), 20 * 60, 8 * 60)


class Got(NamedTuple):
    """What a recipient has of a notification."""

    content: bytes | None
    category: str
    decisions: tuple[Decision, ...]
    deliveries: tuple[tuple[Channel, str, Micros], ...]
    revision: int
    unread: int


class World:
    """Two tenants that are alike: one is sent to, one is broadcast to."""

    def __init__(self, store: Store, clock: TurnedClock, rng: random.Random) -> None:
        self.store = store
        self.clock = clock
        self.rng = rng
        self.keys = [f"user-{number:03}" for number in range(RECIPIENTS)]
        self.sent = Station(store, clock, "sent", PROVIDERS)
        self.broadcast = Station(store, clock, "broadcast", PROVIDERS)
        self.stations = (self.sent, self.broadcast)
        cursors = Cursors(store.facts)
        self.sending = sending_on(store, cursors, clock, facts=facts_of(store, PROVIDERS))
        self.principal = Principal("sent", "", frozenset({Scope.SEND}))

    async def settle_down(self) -> None:
        """Tenants, categories, people and what they want."""
        for station in self.stations:
            tenant = station.desk.tenant
            create = CreateTenant(tenant="default", name=tenant, display_name="", quotas=Quotas())
            await self.store.writer.submit([create])
        for command in (*self._policy(), *self._people()):
            for station in self.stations:
                await station.desk.submit(replace(command, tenant=station.desk.tenant))

    def _policy(self) -> list[Any]:
        rng = self.rng
        throttle = Throttle(
            rng.choice(list(ThrottleScope)), 1, HOUR, rng.choice([Overflow.DROP, Overflow.DEFER])
        )
        both = (Channel.INBOX, Channel.PUSH)
        categories = (
            Category("orders", channels=rng.choice([both, (Channel.INBOX,)])),
            Category("news", throttles=(throttle,), channels=rng.choice([both, (Channel.PUSH,)])),
            Category("security", mandatory=True, channels=(Channel.INBOX, Channel.EMAIL)),
        )
        fields = frozenset({"channels", "throttles", "mandatory"})
        definition = CODEC.encode_definition(
            TemplateDefinition(
                (
                    TemplateBody("", titled("Hello all")),
                    TemplateBody("pt", titled("Olá {{ recipient.attributes.name }}")),
                )
            )
        )
        change = PreferencesChange(made=self._choices(1))
        return [
            *(UpsertCategory(tenant="", category=each, fields=fields) for each in categories),
            CreateTemplateVersion(tenant="", name="t", definition=definition, activate=True),
            ChangeDefaultPreferences(tenant="", change=change),
        ]

    def _people(self) -> list[Any]:
        rng = self.rng
        commands: list[Any] = []
        for key in self.keys:
            addresses = tuple(
                Address(channel, f"{key}-{number}", rng.choice([AddressState.ACTIVE, AddressState.BOUNCED]))
                for channel in (Channel.EMAIL, Channel.PUSH)
                for number in range(rng.choice([0, 0, 1, 2]))
            )
            zone = rng.choice(["", "Europe/Lisbon", "Asia/Tokyo"])
            profile = Profile(rng.choice(["", "pt", "de"]), zone, {"name": key}, addresses)
            commands.append(UpsertRecipient(tenant="", recipient=key, profile=profile, fields=PROFILE_FIELDS))
            windows = rng.choice([(), (ALL_DAY,), (NIGHT,)])
            action = rng.choice([QuietAction.DEFER, QuietAction.DROP])
            quiet = QuietHours(windows, action, email=rng.random() < 0.5) if rng.random() < 0.3 else None
            change = PreferencesChange(
                Preferences(quiet_hours=quiet), frozenset({"quiet_hours"}), made=self._choices(2)
            )
            commands.append(ChangePreferences(tenant="", recipient=key, change=change))
        return commands

    def _choices(self, most: int) -> tuple[Choice, ...]:
        channels = (None, Channel.INBOX, Channel.PUSH)
        places = {
            (self.rng.choice(["", "orders", "news"]), self.rng.choice(channels))
            for _ in range(self.rng.randint(0, most))
        }
        return tuple(Choice(self.rng.random() < 0.4, *place) for place in sorted(places, key=str))

    def spec(self) -> tuple[NotificationSpec, str | None]:
        """What is sent, and the text that it shows; None: a template."""
        rng = self.rng
        channels = rng.choice([(), (), (Channel.INBOX,), (Channel.INBOX, Channel.EMAIL, Channel.PUSH)])
        text = rng.choice(["Hello", None])
        spec = NotificationSpec(
            "",
            rng.choice(CATEGORIES),
            rng.choice([Priority.UNSPECIFIED, Priority.HIGH, Priority.URGENT]),
            channels,
            expire_time=rng.choice([None, None, self.clock.time + 2 * HOUR, self.clock.time - 1]),
            template=TemplateRef("t", 0, {}) if text is None else None,
        )
        return spec, text

    async def send_all(self, spec: NotificationSpec, text: str | None) -> list[SendReceipt]:
        """N Sends."""
        content = None if text is None else simple(text)
        requests = [SendRequest("", replace(spec, recipient=key), content) for key in self.keys]
        outcomes = await self.sending.send(self.principal, requests)
        results = [outcome for outcome in outcomes if isinstance(outcome, SendResult)]
        assert len(results) == len(outcomes)
        return [result.receipt for result in results]

    async def got(self, station: Station) -> dict[str, list[Got]]:
        """What everybody has, in the order in which it came; without what was suppressed."""
        desk, found = station.desk, {}
        for key in self.keys:
            inbox = await desk.check_counts(key)
            listed = await self.store.readers.notifications(
                desk.tenant, NotificationFilter(recipient=key), None, 1_000
            )
            found[key] = [
                Got(
                    entry.content,
                    entry.category,
                    (await self.store.readers.timeline(desk.tenant, entry.id, 10))[0].decisions,
                    tuple(
                        (each.channel, each.address, each.due_time)
                        for each in await self.store.deliveries.deliveries(desk.tenant, entry.id, 100)
                    ),
                    entry.revision,
                    inbox.counts.unread,
                )
                for entry in reversed(listed)
                if entry.state != NotificationState.SUPPRESSED
            ]
        return found


def titled(title: str) -> Content:
    return CODEC.content(simple(title).shown)


@pytest.mark.parametrize("seed", range(12))
async def test_a_broadcast_is_as_many_sends(store: Store, clock: TurnedClock, seed: int) -> None:
    world = World(store, clock, random.Random(seed))
    clock.time = START + world.rng.randrange(DAY)
    await world.settle_down()
    for _ in range(4):
        clock.time += 1_000
        spec, text = world.spec()
        receipts = await world.send_all(spec, text)
        progress = (await world.broadcast.delivered(spec=spec, text=text)).progress
        stored = [each for each in receipts if each.disposition is Disposition.STORED]
        assert progress.processed == len(receipts)
        assert progress.delivered == len(stored)
        assert progress.deferred == sum(
            any(decision.outcome is Outcome.DEFERRED for decision in each.decisions) for each in stored
        )
        assert progress.suppressed == Counter(
            suppressed_by(each.decisions) for each in receipts if each.disposition is Disposition.SUPPRESSED
        )
        assert await world.got(world.broadcast) == await world.got(world.sent)
