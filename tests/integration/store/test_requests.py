"""A request that is repeated gets its first receipt, whatever kind it is, and however the world has changed."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.contents import simple
from tests.support.desk import Desk, key
from tests.support.stores import START, TurnedClock, stored
from tocsin_server.domain.access import ApiKey, Scope
from tocsin_server.domain.audience import FilterAudience
from tocsin_server.domain.broadcast import BroadcastState
from tocsin_server.domain.category import CATEGORY_FIELDS, Category, Overflow, Throttle, ThrottleScope
from tocsin_server.domain.commands import (
    ActivateTemplateVersion,
    AddMembers,
    Answer,
    ByIds,
    CancelNotifications,
    ChangePreferences,
    ChangeTenant,
    Command,
    CreateApiKey,
    CreateBroadcast,
    CreateTemplateVersion,
    CreateTenant,
    CreateTopic,
    DeleteCategory,
    DeleteTopic,
    EraseRecipient,
    FinishBroadcast,
    MarkEntries,
    Recall,
    RecordInteraction,
    RemoveMembers,
    RequestKey,
    RequestSpace,
    ReviseNotification,
    RevokeApiKey,
    UpsertCategory,
    UpsertRecipient,
)
from tocsin_server.domain.errors import NotFound, RequestIdReused
from tocsin_server.domain.inbox import InteractionKind, Mark
from tocsin_server.domain.notification import Channel, NotificationSpec, TemplateRef
from tocsin_server.domain.preferences import Choice, Preferences, PreferencesChange
from tocsin_server.domain.quiet_hours import QuietHours, QuietWindow
from tocsin_server.domain.recipient import PROFILE_FIELDS, Address, Profile
from tocsin_server.domain.tenant import Quotas, TenantState
from tocsin_server.domain.time import HOUR
from tocsin_server.domain.value import replace
from tocsin_server.store.store import Store

Make = Callable[[Desk, RequestKey], Awaitable[Command[Any]]]

PROFILE = Profile("pt-PT", "Europe/Lisbon", {"plan": "gold"}, (Address(Channel.EMAIL, "ada@example.com"),))
API_KEY = ApiKey(
    "k1", "default", "Shop", (Scope.SEND, Scope.ADMIN), ("ada",), ("orders",), START, START + HOUR
)


async def send(desk: Desk, request: RequestKey) -> Command[Any]:
    return desk.sending(request=request, deliver_time=START + HOUR)


async def cancel(desk: Desk, request: RequestKey) -> Command[Any]:
    ids = (await desk.send_many(1))[0], bytes(16)
    return CancelNotifications(tenant=desk.tenant, request=request, ids=ids)


async def revise(desk: Desk, request: RequestKey) -> Command[Any]:
    (id,) = await desk.send_many(1)
    content = simple("Anew").shown
    return ReviseNotification(tenant=desk.tenant, request=request, id=id, content=content, renotify=True)


async def mark(desk: Desk, request: RequestKey) -> Command[Any]:
    ids = await desk.send_many(2)
    return MarkEntries(
        tenant=desk.tenant, request=request, recipient="ada", mark=Mark.READ, selection=ByIds(tuple(ids))
    )


async def interact(desk: Desk, request: RequestKey) -> Command[Any]:
    (id,) = await desk.send_many(1)
    return RecordInteraction(
        tenant=desk.tenant,
        request=request,
        recipient="ada",
        notification_id=id,
        kind=InteractionKind.CLICKED,
        action_id="open",
        inputs={"size": "M"},
    )


async def upsert(desk: Desk, request: RequestKey) -> Command[Any]:
    return UpsertRecipient(
        tenant=desk.tenant, request=request, recipient="ada", profile=PROFILE, fields=PROFILE_FIELDS
    )


async def delete(desk: Desk, request: RequestKey) -> Command[Any]:
    await desk.send_many(2)
    return EraseRecipient(tenant=desk.tenant, request=request, recipient="ada")


async def create_tenant(desk: Desk, request: RequestKey) -> Command[Any]:
    return CreateTenant(
        tenant=desk.tenant, request=request, name="new", display_name="New", quotas=Quotas(max_streams=3)
    )


async def change_tenant(desk: Desk, request: RequestKey) -> Command[Any]:
    create = CreateTenant(tenant=desk.tenant, name="new", display_name="New", quotas=Quotas())
    await desk.submit(create)
    return ChangeTenant(tenant=desk.tenant, request=request, name="new", state=TenantState.SUSPENDED)


async def create_key(desk: Desk, request: RequestKey) -> Command[Any]:
    return CreateApiKey(tenant=desk.tenant, request=request, key=API_KEY, secret_hash=bytes(32))


async def revoke_key(desk: Desk, request: RequestKey) -> Command[Any]:
    await desk.submit(CreateApiKey(tenant=desk.tenant, key=API_KEY, secret_hash=bytes(32)))
    return RevokeApiKey(tenant=desk.tenant, request=request, key_id="k1", key_tenant="default")


async def upsert_category(desk: Desk, request: RequestKey) -> Command[Any]:
    throttle = Throttle(ThrottleScope.CHANNEL, 3, HOUR, Overflow.DEFER)
    category = Category("orders", "Orders", channels=(Channel.PUSH,), throttles=(throttle,), retention=HOUR)
    return UpsertCategory(tenant=desk.tenant, request=request, category=category, fields=CATEGORY_FIELDS)


async def delete_category(desk: Desk, request: RequestKey) -> Command[Any]:
    defined = UpsertCategory(tenant=desk.tenant, category=Category("orders"), fields=CATEGORY_FIELDS)
    await desk.submit(defined)
    return DeleteCategory(tenant=desk.tenant, request=request, name="orders")


async def change_preferences(desk: Desk, request: RequestKey) -> Command[Any]:
    quiet = QuietHours((QuietWindow((1, 7), 1320, 420),), email=True)
    change = PreferencesChange(
        Preferences(quiet_hours=quiet), frozenset({"quiet_hours"}), made=(Choice(False, "", Channel.SMS),)
    )
    return ChangePreferences(tenant=desk.tenant, request=request, recipient="ada", change=change)


async def create_template_version(desk: Desk, request: RequestKey) -> Command[Any]:
    return CreateTemplateVersion(
        tenant=desk.tenant, request=request, name="t", definition=b"d", activate=True
    )


async def activate_template_version(desk: Desk, request: RequestKey) -> Command[Any]:
    await desk.submit(CreateTemplateVersion(tenant=desk.tenant, name="t", definition=b"d", activate=False))
    return ActivateTemplateVersion(tenant=desk.tenant, request=request, name="t", version=1)


async def create_topic(desk: Desk, request: RequestKey | None = None) -> Command[Any]:
    return CreateTopic(tenant=desk.tenant, request=request, topic="news", display_name="News")


async def delete_topic(desk: Desk, request: RequestKey) -> Command[Any]:
    await desk.submit(await create_topic(desk))
    return DeleteTopic(tenant=desk.tenant, request=request, topic="news")


async def add_members(desk: Desk, request: RequestKey) -> Command[Any]:
    await desk.submit(await create_topic(desk))
    return AddMembers(tenant=desk.tenant, request=request, topic="news", recipients=("ada", "bob"))


async def remove_members(desk: Desk, request: RequestKey) -> Command[Any]:
    await desk.submit(await create_topic(desk))
    await desk.add_members("news", "ada")
    return RemoveMembers(tenant=desk.tenant, request=request, topic="news", recipients=("ada", "bob"))


async def create_broadcast(desk: Desk, request: RequestKey | None = None) -> Command[Any]:
    spec = NotificationSpec("", "news", template=TemplateRef("t", 1, {"n": 1}))
    return CreateBroadcast(
        tenant=desk.tenant,
        request=request,
        id=bytes(16),
        audience=FilterAudience("locale = de"),
        spec=spec,
        content=None,
        trace=b"",
        start_time=START + HOUR,
    )


async def cancel_broadcast(desk: Desk, request: RequestKey) -> Command[Any]:
    await desk.submit(await create_broadcast(desk))
    return FinishBroadcast(tenant=desk.tenant, request=request, id=bytes(16), state=BroadcastState.CANCELLED)


MAKERS: dict[RequestSpace, Make] = {
    RequestSpace.SEND: send,
    RequestSpace.CANCEL: cancel,
    RequestSpace.REVISE: revise,
    RequestSpace.MARK: mark,
    RequestSpace.INTERACT: interact,
    RequestSpace.UPSERT_RECIPIENT: upsert,
    RequestSpace.DELETE_RECIPIENT: delete,
    RequestSpace.CREATE_TENANT: create_tenant,
    RequestSpace.SUSPEND_TENANT: change_tenant,
    RequestSpace.DELETE_TENANT: change_tenant,
    RequestSpace.UPDATE_QUOTAS: change_tenant,
    RequestSpace.CREATE_API_KEY: create_key,
    RequestSpace.REVOKE_API_KEY: revoke_key,
    RequestSpace.CREATE_BROADCAST: create_broadcast,
    RequestSpace.CANCEL_BROADCAST: cancel_broadcast,
    RequestSpace.CREATE_TOPIC: create_topic,
    RequestSpace.DELETE_TOPIC: delete_topic,
    RequestSpace.ADD_MEMBERS: add_members,
    RequestSpace.REMOVE_MEMBERS: remove_members,
    RequestSpace.UPSERT_CATEGORY: upsert_category,
    RequestSpace.DELETE_CATEGORY: delete_category,
    RequestSpace.UPDATE_PREFERENCES: change_preferences,
    RequestSpace.UNSUBSCRIBE: change_preferences,
    RequestSpace.CREATE_TEMPLATE_VERSION: create_template_version,
    RequestSpace.ACTIVATE_TEMPLATE_VERSION: activate_template_version,
}


def test_every_space_is_tried() -> None:
    assert set(MAKERS) == set(RequestSpace)


@pytest.mark.parametrize("space", RequestSpace)
async def test_a_repeat_gets_the_first_receipt(
    desk: Desk, store: Store, clock: TurnedClock, space: RequestSpace
) -> None:
    command = await MAKERS[space](desk, key(space, "r"))
    (first,) = await store.writer.submit((command,))
    assert isinstance(first, Answer)
    assert not first.replayed
    clock.time += HOUR
    again = await store.writer.submit((command, command))
    assert again == [Answer(first.receipt, replayed=True)] * 2
    assert type(again[0].receipt) is type(first.receipt)  # type: ignore[union-attr]
    recall: Recall[Any] = Recall(tenant="default", request=key(space, "r"))
    assert await store.writer.submit((recall,)) == [Answer(first.receipt, replayed=True)]


async def test_what_was_not_committed_cannot_be_recalled(desk: Desk, store: Store) -> None:
    await store.writer.submit((await send(desk, key(RequestSpace.SEND, "r")),))
    recalls: list[Recall[Any]] = [
        Recall(tenant="default", request=key(RequestSpace.SEND, "other")),
        Recall(tenant="default", request=key(RequestSpace.MARK, "r")),
        Recall(tenant="other", request=key(RequestSpace.SEND, "r")),
        Recall(tenant="default", request=key(RequestSpace.SEND, "r", "else")),
    ]
    outcomes = await store.writer.submit(recalls)
    assert [type(outcome) for outcome in outcomes] == [NotFound, NotFound, NotFound, RequestIdReused]
    # Nor is that it was asked for.
    (answer,) = await store.writer.submit((await send(desk, key(RequestSpace.SEND, "other")),))
    assert isinstance(answer, Answer)
    assert not answer.replayed


async def test_an_erased_recipient_leaves_no_receipt(desk: Desk, store: Store) -> None:
    """Nor of what was asked for at the same time, just before and just after."""
    before, after = [await upsert(desk, key(RequestSpace.UPSERT_RECIPIENT, id)) for id in ("r", "s")]
    erase = EraseRecipient(tenant="default", recipient="ada")
    for answer in await store.writer.submit((before, erase, after)):
        assert isinstance(answer, Answer)
        assert not answer.replayed
    again, kept = await store.writer.submit((before, after))
    assert isinstance(again, Answer)
    assert isinstance(kept, Answer)
    assert (again.replayed, kept.replayed) == (False, True)


async def test_only_the_last_chunk_is_an_answer(desk: Desk, store: Store) -> None:
    """A mark of very many that stops half-way is not done, and its repeat does the rest."""
    ids = await desk.send_many(1_500)
    command = MarkEntries(
        tenant="default",
        request=key(RequestSpace.MARK, "r"),
        recipient="ada",
        mark=Mark.READ,
        selection=ByIds(tuple(ids)),
    )
    (first,) = await store.writer.submit((command,))
    (repeat,) = await store.writer.submit((command,))
    assert isinstance(first, Answer)
    assert isinstance(repeat, Answer)
    assert (first.receipt.more, repeat.receipt.more, repeat.replayed) == (True, False, False)
    assert (first.receipt.changed_count, repeat.receipt.changed_count) == (1_000, 500)
    assert await store.writer.submit((command,)) == [Answer(repeat.receipt, replayed=True)]


async def test_a_new_version_of_fingerprints_tells_nothing_apart(desk: Desk, store: Store) -> None:
    """After an upgrade a repeat must not be refused because its meaning is hashed in another way."""
    command = desk.sending(request=key(RequestSpace.SEND, "r"))
    (first,) = await store.writer.submit((command,))
    newer = RequestKey(RequestSpace.SEND, "r", b"\x02" + bytes(16))
    (again,) = await store.writer.submit((replace(command, request=newer),))
    assert isinstance(first, Answer)
    assert again == Answer(first.receipt, replayed=True)


async def test_receipts_outlive_the_process(
    tmp_path: Path, clock: TurnedClock, database_url: str | None
) -> None:
    receipts = []
    for _ in range(2):
        async with stored(tmp_path, clock, url=database_url) as store:
            desk = Desk(store, clock)
            receipts.append(await desk.submit(desk.sending(request=key(RequestSpace.SEND, "r"))))
    assert receipts[0] == receipts[1]
