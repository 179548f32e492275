"""What recipients want, as it is written and as it is read with their profiles."""

import pytest

from tests.integration.store.conftest import MakeDesk
from tests.support.desk import Desk
from tests.support.stores import TurnedClock, stored
from tocsin_server.domain.category import CATEGORY_FIELDS, Category
from tocsin_server.domain.commands import (
    ChangePreferences,
    DeleteCategory,
    EraseRecipient,
    PreferencesReceipt,
    RequestKey,
    RequestSpace,
    UpsertCategory,
    UpsertRecipient,
)
from tocsin_server.domain.errors import CategoryMandatory, CategoryNotFound, LimitReached, QuotaExceeded
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.preferences import MAX_CHOICES, Choice, Preferences, PreferencesChange
from tocsin_server.domain.quiet_hours import QuietAction, QuietHours, QuietWindow
from tocsin_server.domain.recipient import PROFILE_FIELDS, Address, Profile, RecipientFacts
from tocsin_server.domain.tenant import Quotas
from tocsin_server.domain.time import HOUR
from tocsin_server.store.store import Store

QUIET = QuietHours((QuietWindow((1, 7), 1320, 420),), QuietAction.DROP, email=True)


async def change(
    desk: Desk, recipient: str = "ada", *, undefined: bool = False, **said: object
) -> Preferences:
    command = ChangePreferences(
        tenant=desk.tenant,
        recipient=recipient,
        change=PreferencesChange(**said),  # type: ignore[arg-type]
        undefined=undefined,
    )
    receipt = await desk.submit(command)
    assert receipt.recipient == recipient
    return receipt.preferences


async def define(desk: Desk, name: str, *, mandatory: bool = False) -> None:
    category = Category(name, mandatory=mandatory)
    await desk.submit(UpsertCategory(tenant=desk.tenant, category=category, fields=CATEGORY_FIELDS))


async def facts(store: Store, recipient: str = "ada") -> RecipientFacts:
    return (await store.recipients.profiles("default", [recipient]))[recipient]


async def test_preferences_come_back_as_they_were_stored(desk: Desk, store: Store) -> None:
    await define(desk, "orders")
    choices = (Choice(False), Choice(True, "orders", Channel.EMAIL))
    said = Preferences(choices, QUIET, "08:30")
    assert (
        await change(desk, values=said, fields=frozenset({"choices", "quiet_hours", "digest_time"})) == said
    )
    assert (await facts(store)).preferences == said
    after = await change(desk, made=(Choice(True, "orders"),), removed=(("", 0),))
    assert after.choices == (Choice(True, "orders"), Choice(True, "orders", Channel.EMAIL))
    assert (after.quiet_hours, after.digest_time) == (QUIET, "08:30")
    assert (await facts(store)).preferences == after
    assert await change(desk, fields=frozenset({"quiet_hours", "choices"})) == Preferences(
        digest_time="08:30"
    )


async def test_profiles_and_preferences_are_read_together(desk: Desk, store: Store) -> None:
    profile = Profile("de", "Europe/Zurich", {"a": "ä"}, (Address(Channel.EMAIL, "zoe@example.com"),))
    await desk.send("plain")
    await change(desk, "zoe", made=(Choice(False),))
    upserted = UpsertRecipient(tenant="default", recipient="zoe", profile=profile, fields=PROFILE_FIELDS)
    await desk.submit(upserted)
    found = await store.recipients.profiles("default", ["plain", "nobody", "zoe"])
    heads = await store.readers.heads("default", ["plain", "zoe"])
    assert found == {
        "plain": RecipientFacts(),
        "zoe": RecipientFacts(heads["zoe"].profile_version, profile, Preferences((Choice(False),))),
    }
    assert found["zoe"].version > 0
    assert await store.recipients.profiles("default", []) == {}
    assert await store.recipients.profiles("other", ["zoe"]) == {}


async def test_every_change_is_a_new_version_and_nothing_else_is(
    desk: Desk, store: Store, clock: TurnedClock
) -> None:
    await change(desk, made=(Choice(False),))
    first = (await facts(store)).version
    await change(desk, made=(Choice(False),))
    await desk.send()
    assert (await facts(store)).version == first
    await change(desk, made=(Choice(True),))  # at the same time
    second = (await facts(store)).version
    assert second > first
    await desk.submit(EraseRecipient(tenant="default", recipient="ada"))
    assert await store.recipients.profiles("default", ["ada"]) == {}
    clock.time += HOUR
    assert await change(desk, made=(Choice(False),)) == Preferences((Choice(False),))  # nothing of the old
    assert (await facts(store)).version not in (first, second)


async def test_preferences_do_not_touch_the_profile_nor_it_them(desk: Desk, store: Store) -> None:
    profile = Profile("pt-BR", "America/Sao_Paulo")
    command = UpsertRecipient(tenant="default", recipient="ada", profile=profile, fields=PROFILE_FIELDS)
    before = await desk.submit(command)
    await change(desk, made=(Choice(False),))
    assert await store.recipients.recipient("default", "ada") == before
    await desk.submit(
        UpsertRecipient(tenant="default", recipient="ada", profile=Profile(), fields=PROFILE_FIELDS)
    )
    assert (await facts(store)).preferences == Preferences((Choice(False),))


async def test_an_unknown_recipient_is_created_within_the_quota(
    clock: TurnedClock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    quotas = Quotas(1, 10, 10, 10, 1 << 20, 10)
    async with stored(tmp_path_factory.mktemp("store"), clock, quotas=quotas) as store:
        desk = Desk(store, clock)
        await change(desk, "ada", made=(Choice(False),))
        assert (await store.readers.heads("default", ["ada"]))["ada"].revision == 0
        with pytest.raises(QuotaExceeded):
            await change(desk, "bob", made=(Choice(False),))
        await change(desk, "ada", made=(Choice(True),))


async def test_what_must_not_be_written_is_not(desk: Desk, store: Store) -> None:
    await define(desk, "security", mandatory=True)
    await define(desk, "orders")
    with pytest.raises(CategoryMandatory) as mandatory:
        await change(desk, made=(Choice(True, "orders"), Choice(False, "security", Channel.EMAIL)))
    assert mandatory.value.metadata == {"category": "security"}
    with pytest.raises(CategoryNotFound) as unknown:
        await change(desk, values=Preferences((Choice(True, "nothing"),)), fields=frozenset({"choices"}))
    assert unknown.value.metadata == {"category": "nothing"}
    assert await store.recipients.profiles("default", ["ada"]) == {}  # nobody was created
    await change(desk, made=(Choice(True, "security"), Choice(False)))


async def test_a_category_may_be_denied_before_it_is_defined_but_not_a_mandatory_one(desk: Desk) -> None:
    await define(desk, "security", mandatory=True)
    denied = Choice(False, "news", Channel.EMAIL)
    assert (await change(desk, made=(denied,), undefined=True)).choices == (denied,)
    with pytest.raises(CategoryMandatory):
        await change(desk, made=(Choice(False, "security", Channel.EMAIL),), undefined=True)


async def test_what_is_there_already_may_stay(desk: Desk) -> None:
    await define(desk, "orders")
    await define(desk, "news")
    choices = (Choice(False, "news"), Choice(False, "orders"))
    await change(desk, made=choices)
    await desk.submit(DeleteCategory(tenant="default", name="news"))
    await define(desk, "orders", mandatory=True)
    more = Preferences((*choices, Choice(False, "", Channel.SMS)))
    await change(desk, values=more, fields=frozenset({"choices"}))
    with pytest.raises(CategoryNotFound):
        await change(desk, made=(Choice(True, "news"),))


async def test_there_are_so_many_choices(desk: Desk, store: Store) -> None:
    many = tuple(Choice(False, f"c{number}") for number in range(MAX_CHOICES))
    await change(desk, made=many, undefined=True)
    with pytest.raises(LimitReached):
        await change(desk, made=(Choice(True),))
    await change(desk, made=(Choice(True),), removed=(many[0].place,))
    assert len((await facts(store)).preferences.choices) == MAX_CHOICES


async def test_commands_of_one_transaction_see_each_other(
    desk: Desk, store: Store, make_desk: MakeDesk
) -> None:
    commands = [
        ChangePreferences(tenant=tenant, recipient=recipient, change=PreferencesChange(made=(choice,)))
        for tenant, recipient, choice in [
            ("default", "ada", Choice(False)),
            ("default", "bob", Choice(True)),
            ("other", "ada", Choice(True)),
            ("default", "ada", Choice(False, "", Channel.SMS)),
        ]
    ]
    answers = await store.writer.submit(commands)
    assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert (await facts(store)).preferences.choices == (Choice(False), Choice(False, "", Channel.SMS))
    assert (await facts(store, "bob")).preferences.choices == (Choice(True),)


async def test_a_receipt_is_erased_with_its_recipient(desk: Desk) -> None:
    command = ChangePreferences(
        tenant="default",
        request=RequestKey(RequestSpace.UPDATE_PREFERENCES, "r", b"1"),
        recipient="ada",
        change=PreferencesChange(made=(Choice(False),)),
    )
    first = await desk.submit(command)
    assert first == PreferencesReceipt("ada", Preferences((Choice(False),)))
    await change(desk, made=(Choice(True),))
    assert await desk.submit(command) == first  # replayed
    await desk.submit(EraseRecipient(tenant="default", recipient="ada"))
    await change(desk, made=(Choice(True, "", Channel.SMS),))
    again = await desk.submit(command)  # done anew
    assert again.preferences.choices == (Choice(False), Choice(True, "", Channel.SMS))
