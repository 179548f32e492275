"""Preferences: what is said, what is refused, what follows from both layers, and leaving with a token."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from joserfc import jwt
from joserfc.jwk import OctKey

from tests.contract.conftest import Key, Refusal, Start, Tocsin, reason, refused
from tocsin.v1 import preference_service_pb2 as pb
from tocsin.v1 import recipient_service_pb2, tenant_service_pb2
from tocsin.v1.category_service_pb2 import Category, DeleteCategoryRequest, UpsertCategoryRequest
from tocsin.v1.notification_pb2 import (
    CHANNEL_EMAIL,
    CHANNEL_INBOX,
    CHANNEL_PUSH,
    CHANNEL_SMS,
    CHANNEL_UNSPECIFIED,
    DECISION_RULE_MANDATORY,
    DECISION_RULE_PREFERENCE,
)
from tocsin.v1.preference_service_pb2 import PreferenceChoice, PreferenceKey, Preferences
from tocsin.v1.recipient_service_pb2 import Recipient
from tocsin_server.domain.time import SECOND
from tocsin_server.rpc.convert.times import micros

SECRET = b"a secret of at least thirty-two bytes"

EVERY_DAY = pb.Weekday.values()[1:]
NIGHTS = pb.QuietHours(
    windows=[
        pb.QuietWindow(days=EVERY_DAY, start_time="22:00", end_time="07:00"),
        pb.QuietWindow(days=EVERY_DAY[5:], start_time="00:00", end_time="00:00"),
    ],
    action=pb.QUIET_ACTION_DROP,
    email=True,
)
ALWAYS = pb.QuietHours(
    windows=[pb.QuietWindow(days=EVERY_DAY, start_time="00:00", end_time="00:00")],
    action=pb.QUIET_ACTION_DEFER,
)


class Person:
    """Calls about one recipient's preferences; without a name, about the tenant's default."""

    def __init__(self, tocsin: Tocsin, name: str = "ada", key: Key | None = None) -> None:
        self.tocsin = tocsin
        self.name = name
        self.metadata = key.metadata if key else ()

    async def get(self) -> Preferences:
        request = pb.GetPreferencesRequest(recipient=self.name)
        return (await self.tocsin.preferences.GetPreferences(request, metadata=self.metadata)).preferences

    async def update(self, *paths: str, **fields: Any) -> pb.UpdatePreferencesResponse:
        mask = FieldMask(paths=paths) if paths else None
        request = pb.UpdatePreferencesRequest(recipient=self.name, update_mask=mask, **fields)
        return await self.tocsin.preferences.UpdatePreferences(request, metadata=self.metadata)

    async def choose(self, *choices: PreferenceChoice) -> Preferences:
        return (await self.update(set_choices=choices)).preferences

    async def resolve(self, *categories: str) -> pb.ResolvePreferencesResponse:
        request = pb.ResolvePreferencesRequest(recipient=self.name, categories=categories)
        return await self.tocsin.preferences.ResolvePreferences(request, metadata=self.metadata)

    async def cell(self, category: str, channel: int) -> pb.ResolvedPreference:
        cells = (await self.resolve(category)).preferences
        return next(cell for cell in cells if cell.channel == channel)

    async def token(self, category: str = "orders", channel: int = CHANNEL_EMAIL) -> str:
        request = pb.CreateUnsubscribeTokenRequest(
            recipient=self.name,
            category=category,
            channel=channel,  # type: ignore[arg-type]
        )
        created = await self.tocsin.preferences.CreateUnsubscribeToken(request, metadata=self.metadata)
        return created.token


def choice(
    category: str = "", channel: int = CHANNEL_UNSPECIFIED, *, allowed: bool = False
) -> PreferenceChoice:
    return PreferenceChoice(category=category, channel=channel, allowed=allowed)  # type: ignore[arg-type]


async def define(tocsin: Tocsin, name: str = "orders", *, metadata: Any = (), **fields: Any) -> None:
    request = UpsertCategoryRequest(category=Category(category=name, **fields))
    await tocsin.categories.UpsertCategory(request, metadata=metadata)


async def unsubscribe(tocsin: Tocsin, token: str, **options: Any) -> pb.UnsubscribeResponse:
    request = pb.UnsubscribeRequest(token=token, request_id=options.pop("request_id", ""))
    return await tocsin.preferences.Unsubscribe(request, **options)


@pytest.fixture
def ada(tocsin: Tocsin) -> Person:
    return Person(tocsin)


@pytest.fixture
def default(tocsin: Tocsin) -> Person:
    return Person(tocsin, "")


# --- writing and reading ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ada", ""])
async def test_preferences_are_kept_as_they_were_given(tocsin: Tocsin, name: str) -> None:
    await define(tocsin)
    person = Person(tocsin, name)
    assert await person.get() == Preferences()  # nobody has said anything, or exists
    said = Preferences(
        choices=[choice("", CHANNEL_SMS), choice("orders"), choice("orders", CHANNEL_SMS, allowed=True)],
        quiet_hours=NIGHTS,
        digest_time="08:30",
    )
    assert (await person.update(preferences=said)).preferences == said
    assert await person.get() == said
    assert await Person(tocsin, "bob").get() == Preferences()


async def test_a_mask_sets_only_what_it_names(ada: Person) -> None:
    await ada.update(preferences=Preferences(choices=[choice()], quiet_hours=NIGHTS, digest_time="08:30"))
    changed = await ada.update("digest_time", preferences=Preferences(digest_time="09:00"))
    assert changed.preferences == Preferences(choices=[choice()], quiet_hours=NIGHTS, digest_time="09:00")
    assert (await ada.update("quiet_hours")).preferences == Preferences(
        choices=[choice()], digest_time="09:00"
    )
    # Not said, and said to be never, are two things.
    never = Preferences(quiet_hours=pb.QuietHours(action=pb.QUIET_ACTION_DEFER))
    assert (await ada.update("quiet_hours", preferences=never)).preferences.HasField("quiet_hours")
    assert (await ada.update(preferences=Preferences())).preferences == Preferences()


async def test_single_choices_are_made_and_taken_back(tocsin: Tocsin, ada: Person) -> None:
    await define(tocsin)
    await ada.choose(choice("orders", CHANNEL_EMAIL), choice("", CHANNEL_PUSH))
    changed = await ada.choose(choice("orders", CHANNEL_EMAIL, allowed=True), choice("orders"))
    orders = [choice("orders"), choice("orders", CHANNEL_EMAIL, allowed=True)]
    assert list(changed.choices) == [choice("", CHANNEL_PUSH), *orders]
    keys = [PreferenceKey(channel=CHANNEL_PUSH), PreferenceKey(category="never-there")]
    assert list((await ada.update(clear_choices=keys)).preferences.choices) == orders
    # What is set whole comes first, then what is cleared, then what is set.
    both = await ada.update(
        preferences=Preferences(choices=[choice("orders"), choice("", CHANNEL_SMS)]),
        clear_choices=[PreferenceKey(category="orders"), PreferenceKey()],
        set_choices=[choice()],
    )
    assert list(both.preferences.choices) == [choice(), choice("", CHANNEL_SMS)]


async def test_a_repeated_request_is_answered_as_the_first_time(ada: Person) -> None:
    first = await ada.update(request_id="r", set_choices=[choice()])
    await ada.choose(choice(allowed=True))
    again = await ada.update(request_id="r", set_choices=[choice()])
    assert (again.preferences, again.replayed) == (first.preferences, True)
    assert (
        await reason(ada.update(request_id="r", set_choices=[choice("", CHANNEL_SMS)])) == "REQUEST_ID_REUSED"
    )


WINDOW: dict[str, Any] = {"start_time": "22:00", "end_time": "07:00"}


def window(**said: Any) -> Preferences:
    return Preferences(quiet_hours=pb.QuietHours(windows=[pb.QuietWindow(**WINDOW | said)]))


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        ({}, {"preferences"}),
        ({"preferences": window(start_time="24:00")}, {"preferences.quiet_hours.windows[0].start_time"}),
        ({"preferences": window(start_time="")}, {"preferences.quiet_hours.windows[0].start_time"}),
        ({"preferences": window(end_time="7:00")}, {"preferences.quiet_hours.windows[0].end_time"}),
        ({"preferences": window(days=[8])}, {"preferences.quiet_hours.windows[0].days[0]"}),
        ({"preferences": window(days=[1, 1])}, {"preferences.quiet_hours.windows[0].days"}),
        (
            {"preferences": Preferences(quiet_hours=pb.QuietHours(windows=[pb.QuietWindow(**WINDOW)] * 15))},
            {"preferences.quiet_hours.windows"},
        ),
        (
            {"preferences": Preferences(quiet_hours=pb.QuietHours(action=77))},  # type: ignore[arg-type]
            {"preferences.quiet_hours.action"},
        ),
        ({"preferences": Preferences(digest_time="25:00")}, {"preferences.digest_time"}),
        ({"preferences": Preferences(choices=[choice(), choice()])}, {"preferences.choices[1].category"}),
        ({"set_choices": [choice("a", 2), choice("a", 2)]}, {"set_choices[1].category"}),
        ({"set_choices": [choice("", 77)]}, {"set_choices[0].channel"}),
        ({"set_choices": [choice("a" * 129)]}, {"set_choices[0].category"}),
        ({"clear_choices": [PreferenceKey(channel=77)]}, {"clear_choices[0].channel"}),  # type: ignore[arg-type]
        ({"update_mask": FieldMask(paths=["choices", "locale"])}, {"update_mask.paths[1]"}),
        ({"recipient": "a\nb", "set_choices": [choice()]}, {"recipient"}),
        ({"recipient": "a" * 129, "set_choices": [choice()]}, {"recipient"}),
    ],
)
async def test_what_breaks_a_rule_is_refused(tocsin: Tocsin, said: dict[str, Any], fields: set[str]) -> None:
    call = tocsin.preferences.UpdatePreferences(pb.UpdatePreferencesRequest(**{"recipient": "ada"} | said))
    refusal = await refused(call)
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert set(refusal.fields) == fields


async def test_batching_is_not_built(ada: Person) -> None:
    batched = Preferences(quiet_hours=pb.QuietHours(action=pb.QUIET_ACTION_BATCH))
    assert await refused(ada.update(preferences=batched)) == Refusal(
        "UNIMPLEMENTED", "FEATURE_NOT_BUILT", {"field": "preferences.quiet_hours.action"}, []
    )


@pytest.mark.parametrize("name", ["ada", ""])
async def test_mandatory_and_unknown_categories_are_refused(tocsin: Tocsin, name: str) -> None:
    await define(tocsin, "security", mandatory=True)
    person = Person(tocsin, name)
    assert await refused(person.choose(choice("security", CHANNEL_EMAIL))) == Refusal(
        "FAILED_PRECONDITION", "CATEGORY_MANDATORY", {"category": "security"}, []
    )
    assert await refused(person.choose(choice("nothing"))) == Refusal(
        "NOT_FOUND", "CATEGORY_NOT_FOUND", {"category": "nothing"}, []
    )
    await person.choose(choice("security", allowed=True), choice())


async def test_there_are_so_many_choices(ada: Person) -> None:
    await ada.choose(choice("", CHANNEL_SMS))
    for number in range(1_000):
        await define(ada.tocsin, f"c{number}")
    many = [choice(f"c{number}") for number in range(1_000)]
    assert await refused(ada.choose(*many)) == Refusal(
        "RESOURCE_EXHAUSTED", "LIMIT_REACHED", {"limit": "1000"}, []
    )
    assert await refused(define(ada.tocsin, "one-more")) == Refusal(
        "RESOURCE_EXHAUSTED", "LIMIT_REACHED", {"limit": "1000"}, []
    )
    await ada.update(preferences=Preferences(choices=many))


async def test_a_time_zone_is_checked_when_it_is_written(tocsin: Tocsin) -> None:
    async def upserted(zone: str) -> recipient_service_pb2.UpsertRecipientResult:
        item = recipient_service_pb2.UpsertRecipientItem(recipient=Recipient(recipient="ada", time_zone=zone))
        request = recipient_service_pb2.UpsertRecipientsRequest(items=[item])
        return (await tocsin.recipients.UpsertRecipients(request)).results[0]

    for zone in ("Europe/Atlantis", "europe/lisbon", "../UTC", "Europe"):
        assert Refusal.of((await upserted(zone)).error).fields == ["items[0].recipient.time_zone"]
    assert (await upserted("Europe/Lisbon")).recipient.time_zone == "Europe/Lisbon"


async def test_preferences_are_exported_and_erased_with_their_recipient(tocsin: Tocsin, ada: Person) -> None:
    said = await ada.choose(choice("", CHANNEL_SMS))
    parts = tocsin.recipients.ExportRecipient(recipient_service_pb2.ExportRecipientRequest(recipient="ada"))
    exported = {part.WhichOneof("part"): part async for part in parts}
    assert exported["preferences"].preferences == said
    await tocsin.recipients.DeleteRecipient(recipient_service_pb2.DeleteRecipientRequest(recipient="ada"))
    assert await ada.get() == Preferences()


# --- resolving --------------------------------------------------------------------------------------------------------


async def test_every_cell_names_the_layer_that_decides(tocsin: Tocsin, ada: Person, default: Person) -> None:
    await define(tocsin, "orders")
    await define(tocsin, "security", mandatory=True)
    await ada.choose(choice("orders", CHANNEL_EMAIL), choice("", CHANNEL_PUSH))
    await default.choose(choice("orders"), choice("", CHANNEL_SMS, allowed=True))
    resolved = await ada.resolve()
    cells = {(cell.category, int(cell.channel)): cell for cell in resolved.preferences}
    assert list(cells) == [(name, channel) for name in ("orders", "security") for channel in range(1, 7)]

    def decided(name: str, channel: int) -> tuple[bool, int, str, str]:
        cell = cells[name, channel]
        assert cell.text
        return (cell.allowed, cell.rule, cell.layer, cell.key)

    preference = DECISION_RULE_PREFERENCE
    assert decided("orders", CHANNEL_EMAIL) == (False, preference, "recipient", "orders EMAIL")
    assert decided("orders", CHANNEL_PUSH) == (False, preference, "recipient", "* PUSH")
    assert decided("orders", CHANNEL_INBOX) == (False, preference, "tenant", "orders *")
    assert decided("orders", CHANNEL_SMS) == (False, preference, "tenant", "orders *")
    for channel in range(1, 7):
        assert decided("security", channel) == (True, DECISION_RULE_MANDATORY, "category", "security")


async def test_named_categories_need_not_be_defined(ada: Person, default: Person) -> None:
    assert not (await ada.resolve()).preferences
    await default.choose(choice("", CHANNEL_SMS))
    cells = (await ada.resolve("news", "a")).preferences
    assert [(cell.category, cell.allowed, cell.layer) for cell in cells if cell.channel == CHANNEL_SMS] == [
        ("a", False, "tenant"),
        ("news", False, "tenant"),
    ]
    assert (await ada.cell("news", CHANNEL_EMAIL)).layer == "default"


async def test_a_caller_sees_what_it_has_changed(tocsin: Tocsin, ada: Person, default: Person) -> None:
    """Whatever is kept in memory: each change is followed by a look."""
    for allowed in (False, True, False):
        await default.choose(choice("", CHANNEL_SMS, allowed=allowed))
        assert (await ada.cell("orders", CHANNEL_SMS)).allowed is allowed
    for mandatory in (True, False):
        await define(tocsin, "orders", mandatory=mandatory)
        assert (await ada.cell("orders", CHANNEL_SMS)).allowed is mandatory
    await tocsin.categories.DeleteCategory(DeleteCategoryRequest(category="orders"))
    assert not (await ada.resolve()).preferences


async def test_whose_quiet_hours_and_digest_time_hold(ada: Person, default: Person) -> None:
    nothing = await ada.resolve()
    assert not nothing.HasField("quiet_hours")
    assert (nothing.quiet_hours_layer, nothing.digest_time_layer) == ("default", "default")
    await default.update(preferences=Preferences(quiet_hours=ALWAYS, digest_time="08:00"))
    tenants = await ada.resolve()
    assert (tenants.quiet_hours, tenants.quiet_hours_layer) == (ALWAYS, "tenant")
    assert (tenants.digest_time, tenants.digest_time_layer) == ("08:00", "tenant")
    now = ada.tocsin.clock.now()
    assert micros(tenants.quiet_until) > now
    own = Preferences(quiet_hours=pb.QuietHours(action=pb.QUIET_ACTION_DEFER), digest_time="09:00")
    await ada.update(preferences=own)
    hers = await ada.resolve()
    assert (hers.quiet_hours, hers.quiet_hours_layer) == (own.quiet_hours, "recipient")
    assert (hers.digest_time, hers.digest_time_layer) == ("09:00", "recipient")
    assert not hers.HasField("quiet_until")  # never


async def test_a_recipient_is_needed_to_resolve(tocsin: Tocsin) -> None:
    assert set((await refused(Person(tocsin, "").resolve())).fields) == {"recipient"}
    assert (await refused(Person(tocsin).resolve("a b"))).fields == ["categories[0]"]


# --- who may ----------------------------------------------------------------------------------------------------------


async def test_a_key_reaches_its_own_recipients_and_categories_only(tocsin: Tocsin, ada: Person) -> None:
    for name in ("orders", "news"):
        await define(tocsin, name)
    await ada.choose(choice("orders"), choice("news"), choice("", CHANNEL_SMS))
    scopes = ("preferences:read", "preferences:write", "categories:write")
    root = await tocsin.create_key("admin")
    narrow = await tocsin.create_key(*scopes, categories=["orders*"], metadata=root.metadata)
    hers = Person(tocsin, "ada", narrow)
    assert list((await hers.get()).choices) == [choice("", CHANNEL_SMS), choice("orders")]
    assert {cell.category for cell in (await hers.resolve()).preferences} == {"orders"}
    shown = await hers.choose(choice("orders", allowed=True))
    assert list(shown.choices) == [choice("", CHANNEL_SMS), choice("orders", allowed=True)]
    for call in (
        hers.choose(choice("news")),
        hers.choose(choice()),  # every category
        hers.update(clear_choices=[PreferenceKey(category="news")]),
        hers.update("choices"),  # takes back those about any category
        hers.resolve("news"),
        hers.token("news"),
    ):
        assert await reason(call) == "CATEGORY_NOT_ALLOWED"
    few = await tocsin.create_key(*scopes, recipients=["ada"], metadata=root.metadata)
    await Person(tocsin, "ada", few).choose(choice())
    for name in ("bob", ""):
        other = Person(tocsin, name, few)
        for call in (other.get(), other.choose(choice())):
            assert await refused(call) == Refusal(
                "PERMISSION_DENIED", "RECIPIENT_NOT_ALLOWED", {"recipient": name}, []
            )
    assert await reason(Person(tocsin, "bob", few).token()) == "RECIPIENT_NOT_ALLOWED"
    assert await reason(Person(tocsin, "bob", few).resolve()) == "RECIPIENT_NOT_ALLOWED"


async def test_the_default_is_changed_by_who_may_change_categories(tocsin: Tocsin) -> None:
    key = await tocsin.create_key("preferences:read", "preferences:write")
    default = Person(tocsin, "", key)
    assert await default.get() == Preferences()
    assert await refused(default.choose(choice())) == Refusal(
        "PERMISSION_DENIED", "SCOPE_MISSING", {"scope": "categories:write"}, []
    )


@pytest.fixture
async def signed_in(start: Start, tmp_path: Path) -> Callable[..., Person]:
    """An end user on a server that takes their tokens."""
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    tocsin = await start(jwt_secret_file=secret)

    def person(name: str, about: str | None = None) -> Person:
        claims = {"sub": name, "exp": tocsin.clock.now() // SECOND + 60}
        token = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET))
        key = Key("", (("authorization", f"Bearer {token}"),))
        return Person(tocsin, name if about is None else about, key)

    return person


async def test_end_users_reach_their_own_preferences_only(signed_in: Callable[..., Person]) -> None:
    ada = signed_in("ada")
    said = await ada.choose(choice("", CHANNEL_SMS))
    assert await ada.get() == said
    assert (await ada.resolve()).quiet_hours_layer == "default"
    for about in ("bob", ""):
        other = signed_in("ada", about)
        for call in (other.get(), other.choose(choice())):
            assert await reason(call) == "RECIPIENT_NOT_ALLOWED"
    assert await reason(define(ada.tocsin, metadata=ada.metadata)) == "SCOPE_MISSING"


# --- leaving with a token ---------------------------------------------------------------------------------------------


async def test_a_token_denies_one_category_on_one_channel(tocsin: Tocsin, ada: Person) -> None:
    token = await ada.token()
    left = await unsubscribe(tocsin, token)
    assert left == pb.UnsubscribeResponse(recipient="ada", category="orders", channel=CHANNEL_EMAIL)
    assert list((await ada.get()).choices) == [choice("orders", CHANNEL_EMAIL)]
    assert await ada.token() == token  # the same for the same
    assert len({token, await ada.token("news"), await ada.token("orders", CHANNEL_SMS)}) == 3
    # Again it changes nothing, with a request id or without; later it denies again.
    assert await unsubscribe(tocsin, token) == left
    assert not (await unsubscribe(tocsin, token, request_id="r")).replayed
    await ada.choose(choice("", CHANNEL_SMS))
    await ada.update(preferences=Preferences())
    assert (await unsubscribe(tocsin, token, request_id="r")).replayed
    assert await ada.get() == Preferences()
    await unsubscribe(tocsin, token)
    assert list((await ada.get()).choices) == [choice("orders", CHANNEL_EMAIL)]


async def test_a_token_is_the_only_credential_that_is_looked_at(tocsin: Tocsin) -> None:
    key = await tocsin.create_key("preferences:read", "preferences:write")
    ada = Person(tocsin, "ada", key)
    token = await ada.token()
    await unsubscribe(tocsin, token)
    await unsubscribe(tocsin, token, metadata=(("authorization", "Bearer nonsense"),))
    assert len((await ada.get()).choices) == 1


@pytest.mark.parametrize("spoil", ["", "x", "x" * 1_024, "not base64!", "é", "AAAA"])
async def test_what_is_no_token_is_refused(tocsin: Tocsin, spoil: str) -> None:
    refusal = await refused(unsubscribe(tocsin, spoil))
    reasons = {"INVALID_FIELD"} if not spoil else {"UNSUBSCRIBE_TOKEN_INVALID"}
    assert (refusal.code, {refusal.reason}) == ("INVALID_ARGUMENT", reasons)


async def test_a_changed_token_is_refused(tocsin: Tocsin, ada: Person) -> None:
    token = await ada.token()
    for place in range(len(token)):
        other = "A" if token[place] != "A" else "B"
        changed = token[:place] + other + token[place + 1 :]
        assert await reason(unsubscribe(tocsin, changed)) == "UNSUBSCRIBE_TOKEN_INVALID"
    assert await ada.get() == Preferences()


async def test_no_token_leads_out_of_a_mandatory_category(tocsin: Tocsin, ada: Person) -> None:
    token = await ada.token("security")
    await define(tocsin, "security", mandatory=True)
    mandatory = Refusal("FAILED_PRECONDITION", "CATEGORY_MANDATORY", {"category": "security"}, [])
    assert await refused(ada.token("security")) == mandatory
    assert await refused(unsubscribe(tocsin, token)) == mandatory


async def test_a_token_counts_in_its_own_tenant_while_that_is_served(tocsin: Tocsin) -> None:
    root = await tocsin.create_key("admin", "operator")
    create = tenant_service_pb2.CreateTenantRequest(tenant="acme")
    await tocsin.tenants.CreateTenant(create, metadata=root.metadata)
    key = await tocsin.create_key("admin", tenant="acme", metadata=root.metadata)
    acmes = Person(tocsin, "ada", key)
    token = await acmes.token()
    await unsubscribe(tocsin, token)
    assert len((await acmes.get()).choices) == 1
    assert await Person(tocsin, "ada", root).get() == Preferences()
    suspend = tenant_service_pb2.SuspendTenantRequest(tenant="acme")
    await tocsin.tenants.SuspendTenant(suspend, metadata=root.metadata)
    assert await refused(unsubscribe(tocsin, token)) == Refusal(
        "PERMISSION_DENIED", "TENANT_SUSPENDED", {"tenant": "acme"}, []
    )


async def test_whoever_leaves_is_created_within_the_quota(start: Start) -> None:
    tocsin = await start(quota_max_recipients=1)
    await tocsin.send("bob")
    ada = Person(tocsin)
    refusal = await refused(unsubscribe(tocsin, await ada.token()))
    assert refusal.reason == "QUOTA_EXCEEDED"
    assert await reason(ada.choose(choice())) == "QUOTA_EXCEEDED"


async def test_a_token_is_made_for_a_recipient_a_category_and_a_channel(tocsin: Tocsin) -> None:
    call = tocsin.preferences.CreateUnsubscribeToken(pb.CreateUnsubscribeTokenRequest())
    assert set((await refused(call)).fields) == {"recipient", "category", "channel"}
    longest = Person(tocsin, "😀" * 128)
    token = await longest.token("c" * 128)
    assert len(token) <= 1_024
    assert (await unsubscribe(tocsin, token)).recipient == longest.name
