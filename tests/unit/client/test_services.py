"""The calls that are not about streams: what reaches the server, and what comes back."""

from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

import tocsin
from tests.unit.client.fake_server import UNAVAILABLE, Failure, FakeServer, StreamCall
from tocsin.v1.broadcast_service_pb2 import (
    BROADCAST_STATE_COMPLETED,
    BROADCAST_STATE_PENDING,
    BROADCAST_STATE_RUNNING,
    Broadcast,
    CreateBroadcastResponse,
    GetBroadcastResponse,
)
from tocsin.v1.category_service_pb2 import (
    DeleteCategoryResponse,
    GetCategoryResponse,
    ListCategoriesResponse,
    UpsertCategoryResponse,
)
from tocsin.v1.inbox_service_pb2 import (
    EntryView,
    GetSummaryResponse,
    InteractionKind,
    ListEntriesRequest,
    ListEntriesResponse,
    Mark,
    MarkEntriesResponse,
    RecipientSummary,
    RecordInteractionResponse,
    Summary,
)
from tocsin.v1.notification_pb2 import Channel, NotificationState
from tocsin.v1.notification_service_pb2 import (
    CancelNotificationsResponse,
    CancelOutcome,
    CancelResult,
    GetNotificationResponse,
    ListNotificationsRequest,
    ListNotificationsResponse,
    NotificationStatus,
    ReviseNotificationResponse,
)
from tocsin.v1.preference_service_pb2 import (
    CreateUnsubscribeTokenResponse,
    GetPreferencesResponse,
    ResolvePreferencesResponse,
    UnsubscribeResponse,
    UpdatePreferencesResponse,
)
from tocsin.v1.recipient_service_pb2 import (
    DeleteRecipientResponse,
    ExportRecipientResponse,
    GetRecipientResponse,
    ListRecipientsResponse,
    UpsertRecipientItem,
    UpsertRecipientResult,
    UpsertRecipientsResponse,
)
from tocsin.v1.system_service_pb2 import (
    ApiKey,
    CreateApiKeyResponse,
    ListApiKeysResponse,
    ListSessionsResponse,
    RevokeApiKeyResponse,
    Session,
    TerminateSessionResponse,
)
from tocsin.v1.template_service_pb2 import (
    ActivateTemplateVersionResponse,
    CreateTemplateVersionResponse,
    GetTemplateResponse,
    ListTemplatesResponse,
    RenderTemplateResponse,
    Template,
)
from tocsin.v1.tenant_service_pb2 import (
    CreateTenantResponse,
    DeleteTenantResponse,
    GetTenantResponse,
    ListTenantsResponse,
    Quotas,
    SuspendTenantResponse,
    Tenant,
    UpdateQuotasResponse,
)

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
ACME = Tenant(tenant="acme")


# --- inbox ------------------------------------------------------------------------------------------------------------


async def test_entries_come_page_by_page_with_the_snapshot_of_the_first(
    client: tocsin.Client, server: FakeServer
) -> None:
    pages = {
        "": ListEntriesResponse(
            entries=[tocsin.Notification(id="3"), tocsin.Notification(id="2")],
            next_page_token="p2",
            cursor="c3",
            summary=Summary(unread=2),
        ),
        "p2": ListEntriesResponse(next_page_token="p3"),  # an empty page need not be the last
        "p3": ListEntriesResponse(entries=[tocsin.Notification(id="1")]),
    }

    async def page(request: ListEntriesRequest) -> ListEntriesResponse:
        return pages[request.page_token]

    server.answer("ListEntries", page)
    entries = await client.inbox.entries("ada", view="unread", categories=["build"], thread="t", page_size=2)
    assert (entries.cursor, entries.summary.unread) == ("c3", 2)
    assert len(server.requests["ListEntries"]) == 1
    assert [entry.id async for entry in entries] == ["3", "2", "1"]
    assert [entry.id async for entry in entries] == ["3", "2", "1"]
    first, second = server.requests["ListEntries"][:2]
    assert (first.recipient, first.view, first.categories) == ("ada", EntryView.ENTRY_VIEW_UNREAD, ["build"])
    assert (first.thread, first.page_size) == ("t", 2)
    first.page_token = "p2"
    assert second == first


async def test_summaries_of_one_and_of_many(client: tocsin.Client, server: FakeServer) -> None:
    ada = RecipientSummary(recipient="ada", summary=Summary(unread=3), cursor="a3")
    server.answer("GetSummary", GetSummaryResponse(summaries=[ada]))
    assert await client.inbox.summary("ada") == ada
    assert await client.inbox.summaries(["ada"], max_staleness=1.5) == [ada]
    exact, stale = server.requests["GetSummary"]
    assert exact.max_staleness.ToMilliseconds() == 0
    assert stale.max_staleness.ToMilliseconds() == 1_500


@pytest.mark.parametrize(
    ("selection", "kind"),
    [
        ({"ids": ["1", "2"]}, "notifications"),
        ({"thread": "t"}, "thread"),
        ({"up_to_cursor": "c"}, "up_to_cursor"),
    ],
)
async def test_entries_are_marked_by_one_selection(
    client: tocsin.Client, server: FakeServer, selection: dict[str, Any], kind: str
) -> None:
    server.answer("MarkEntries", UNAVAILABLE, MarkEntriesResponse(changed_count=2))
    assert (await client.inbox.mark("ada", "snoozed", snooze_until=NOON, **selection)).changed_count == 2
    lost, repeated = server.requests["MarkEntries"]
    assert lost == repeated
    assert lost.WhichOneof("selection") == kind
    assert (lost.mark, lost.snooze_until.ToSeconds()) == (Mark.MARK_SNOOZED, NOON.timestamp())


@pytest.mark.parametrize("selection", [{}, {"ids": ["1"], "thread": "t"}])
async def test_no_selection_and_two_selections_are_refused(
    client: tocsin.Client, selection: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="one of"):
        await client.inbox.mark("ada", "read", **selection)


async def test_an_interaction_is_recorded(client: tocsin.Client, server: FakeServer) -> None:
    server.answer("RecordInteraction", RecordInteractionResponse(cursor="c"))
    await client.inbox.interact("ada", "n1", "clicked", action_id="approve", inputs={"why": "fine"})
    (request,) = server.requests["RecordInteraction"]
    assert request.request_id
    assert request.kind == InteractionKind.INTERACTION_KIND_CLICKED
    assert (request.recipient, request.notification_id, request.action_id) == ("ada", "n1", "approve")
    assert request.inputs == {"why": "fine"}


# --- notifications ----------------------------------------------------------------------------------------------------


async def test_a_notification_and_its_timeline(client: tocsin.Client, server: FakeServer) -> None:
    answer = GetNotificationResponse(state=NotificationState.NOTIFICATION_STATE_STORED)
    server.answer("GetNotification", answer)
    assert await client.notifications.get("n1") == answer
    assert server.requests["GetNotification"][0].notification_id == "n1"


async def test_notifications_that_match_every_filter(client: tocsin.Client, server: FakeServer) -> None:
    def status(id: str) -> NotificationStatus:
        return NotificationStatus(notification=tocsin.Notification(id=id))

    server.answer(
        "ListNotifications",
        ListNotificationsResponse(notifications=[status("2")], next_page_token="more"),
        ListNotificationsResponse(notifications=[status("1")]),
    )
    found = client.notifications.all(
        recipient="ada", category="build", states=["scheduled"], start_time=NOON, end_time=NOON
    )
    assert [item.notification.id async for item in found] == ["2", "1"]
    first, second = server.requests["ListNotifications"]
    expected = ListNotificationsRequest(
        recipient="ada", category="build", states=[NotificationState.NOTIFICATION_STATE_SCHEDULED]
    )
    expected.start_time.FromDatetime(NOON)
    expected.end_time.FromDatetime(NOON)
    assert first == expected
    assert second.page_token == "more"


async def test_cancelling_says_for_each_what_was_done(client: tocsin.Client, server: FakeServer) -> None:
    results = [CancelResult(notification_id="n1", outcome=CancelOutcome.CANCEL_OUTCOME_RETRACTED)]
    server.answer("CancelNotifications", CancelNotificationsResponse(results=results))
    assert await client.notifications.cancel(["n1"]) == results
    assert await client.notifications.cancel_thread("ada", "t", request_id="mine") == results
    by_id, by_thread = server.requests["CancelNotifications"]
    assert list(by_id.notifications.ids) == ["n1"]
    assert (by_thread.thread.recipient, by_thread.thread.thread, by_thread.request_id) == ("ada", "t", "mine")


async def test_revising_replaces_the_content(client: tocsin.Client, server: FakeServer) -> None:
    server.answer("ReviseNotification", ReviseNotificationResponse(cursor="c"))
    await client.notifications.revise("n1", ("New title", ""), renotify=True)
    (request,) = server.requests["ReviseNotification"]
    assert (request.notification_id, request.content.simple.title, request.renotify) == (
        "n1",
        "New title",
        True,
    )


# --- recipients -------------------------------------------------------------------------------------------------------


async def test_recipients_are_upserted_each_on_its_own(client: tocsin.Client, server: FakeServer) -> None:
    ada = tocsin.Recipient(recipient="ada", locale="pt-BR")
    refused = Failure(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD").status
    server.answer(
        "UpsertRecipients",
        UpsertRecipientsResponse(
            results=[
                UpsertRecipientResult(recipient=ada, replayed=True),
                UpsertRecipientResult(error=refused),
                UpsertRecipientResult(recipient=ada),
            ]
        ),
    )
    mine = UpsertRecipientItem(request_id="mine", recipient=ada)
    done, bad, _ = await client.recipients.upsert(
        [ada, mine, UpsertRecipientItem(recipient=ada)], fields=["locale"]
    )
    assert done == tocsin.UpsertOutcome(ada, replayed=True)
    assert isinstance(bad.error, tocsin.InvalidRequestError)
    items = server.requests["UpsertRecipients"][0].items
    assert items[1] == mine
    assert [bool(item.request_id) for item in items] == [True, True, True]
    assert [list(item.update_mask.paths) for item in items] == [["locale"], [], []]


async def test_no_recipients_are_not_sent(client: tocsin.Client, server: FakeServer) -> None:
    assert await client.recipients.upsert([]) == []
    assert not server.requests["UpsertRecipients"]


async def test_recipients_are_read_listed_and_deleted(client: tocsin.Client, server: FakeServer) -> None:
    ada = tocsin.Recipient(recipient="ada")
    server.answer("GetRecipient", GetRecipientResponse(recipient=ada))
    server.answer("ListRecipients", ListRecipientsResponse(recipients=[ada]))
    server.answer("DeleteRecipient", DeleteRecipientResponse(erased_count=3))
    assert await client.recipients.get("ada") == ada
    assert [r async for r in client.recipients.all(key_prefix="a")] == [ada]
    assert (await client.recipients.delete("ada")).erased_count == 3
    assert server.requests["ListRecipients"][0].key_prefix == "a"


async def test_an_export_comes_part_by_part(client: tocsin.Client, server: FakeServer) -> None:
    parts = [
        ExportRecipientResponse(recipient=tocsin.Recipient(recipient="ada")),
        ExportRecipientResponse(summary=Summary(total=1)),
    ]

    async def sends(call: StreamCall[Any, Any]) -> None:
        for part in parts:
            await call.send(part)

    server.script("ExportRecipient", sends)
    assert [part async for part in client.recipients.export("ada")] == parts


async def test_an_export_that_fails_raises(client: tocsin.Client, server: FakeServer) -> None:
    async def fails(call: StreamCall[Any, Any]) -> None:
        await call.fail(
            Failure(grpc.StatusCode.NOT_FOUND, "RECIPIENT_NOT_FOUND", metadata={"recipient": "ada"})
        )

    server.script("ExportRecipient", fails)
    with pytest.raises(tocsin.NotFoundError) as caught:
        await anext(client.recipients.export("ada"))
    assert caught.value.metadata == {"recipient": "ada"}


# --- system -----------------------------------------------------------------------------------------------------------


async def test_sessions_are_listed_and_terminated(client: tocsin.Client, server: FakeServer) -> None:
    server.answer("ListSessions", ListSessionsResponse(sessions=[Session(session_id="s1")]))
    server.answer("TerminateSession", TerminateSessionResponse())
    sessions = client.system.sessions(recipient="ada", all_tenants=True)
    assert [session.session_id async for session in sessions] == ["s1"]
    await client.system.terminate_session("s1")
    (request,) = server.requests["ListSessions"]
    assert (request.recipient, request.all_tenants) == ("ada", True)
    assert server.requests["TerminateSession"][0].session_id == "s1"


async def test_api_keys_are_created_listed_and_revoked(client: tocsin.Client, server: FakeServer) -> None:
    key = ApiKey(api_key_id="k1")
    server.answer("CreateApiKey", CreateApiKeyResponse(api_key=key, secret="tsk_1"))
    server.answer("ListApiKeys", ListApiKeysResponse(api_keys=[key]))
    server.answer("RevokeApiKey", RevokeApiKeyResponse(api_key=key))
    created = await client.system.create_api_key(
        "CI", ["send"], recipients=["team-*"], categories=["build"], expire_time=NOON, tenant="acme"
    )
    assert created.secret == "tsk_1"
    assert [listed async for listed in client.system.api_keys()] == [key]
    assert await client.system.revoke_api_key("k1") == key
    (request,) = server.requests["CreateApiKey"]
    assert (request.display_name, request.scopes, request.recipients) == ("CI", ["send"], ["team-*"])
    assert (request.categories, request.tenant) == (["build"], "acme")
    assert request.expire_time.ToSeconds() == NOON.timestamp()


# --- tenants ----------------------------------------------------------------------------------------------------------


async def test_tenants_from_creation_to_deletion(client: tocsin.Client, server: FakeServer) -> None:
    server.answer("CreateTenant", CreateTenantResponse(tenant=ACME))
    server.answer("GetTenant", GetTenantResponse(tenant=ACME))
    server.answer("ListTenants", ListTenantsResponse(tenants=[ACME]))
    server.answer("SuspendTenant", SuspendTenantResponse(tenant=ACME))
    server.answer("DeleteTenant", DeleteTenantResponse(tenant=ACME))
    server.answer("UpdateQuotas", UpdateQuotasResponse(tenant=ACME))
    quotas = Quotas(max_streams=5)
    assert await client.tenants.create("acme", display_name="Acme", quotas=quotas) == ACME
    assert await client.tenants.get("acme") == ACME
    assert [tenant async for tenant in client.tenants.all()] == [ACME]
    assert await client.tenants.suspend("acme") == ACME
    assert await client.tenants.resume("acme") == ACME
    assert await client.tenants.delete("acme") == ACME
    assert await client.tenants.update_quotas("acme", quotas, fields=["max_streams"]) == ACME
    assert [request.resume for request in server.requests["SuspendTenant"]] == [False, True]
    (update,) = server.requests["UpdateQuotas"]
    assert (update.quotas, list(update.update_mask.paths)) == (quotas, ["max_streams"])
    assert server.requests["CreateTenant"][0].quotas == quotas


# --- categories and preferences ---------------------------------------------------------------------------------------


async def test_categories_from_definition_to_deletion(client: tocsin.Client, server: FakeServer) -> None:
    orders = tocsin.Category(category="orders", mandatory=True)
    server.answer("UpsertCategory", UpsertCategoryResponse(category=orders))
    server.answer("GetCategory", GetCategoryResponse(category=orders))
    server.answer("ListCategories", ListCategoriesResponse(categories=[orders]))
    server.answer("DeleteCategory", DeleteCategoryResponse(category=orders))
    assert await client.categories.upsert(orders, fields=["mandatory"], request_id="r") == orders
    assert await client.categories.get("orders") == orders
    assert [category async for category in client.categories.all()] == [orders]
    assert await client.categories.delete("orders") == orders
    (upsert,) = server.requests["UpsertCategory"]
    assert (upsert.request_id, upsert.category, list(upsert.update_mask.paths)) == (
        "r",
        orders,
        ["mandatory"],
    )
    (delete,) = server.requests["DeleteCategory"]
    assert delete.category == "orders"
    assert delete.request_id


async def test_preferences_are_read_and_changed(client: tocsin.Client, server: FakeServer) -> None:
    said = tocsin.Preferences(digest_time="08:00")
    server.answer("GetPreferences", GetPreferencesResponse(preferences=said))
    server.answer("UpdatePreferences", UpdatePreferencesResponse(preferences=said))
    assert await client.preferences.get("ada") == said
    key = tocsin.PreferenceKey(category="orders")
    assert await client.preferences.update("ada", said, fields=["digest_time"], clear_choices=[key]) == said
    assert await client.preferences.deny("ada", category="orders", channel="email") == said
    assert await client.preferences.allow("") == said
    update, deny, allow = server.requests["UpdatePreferences"]
    assert (update.preferences, list(update.update_mask.paths)) == (said, ["digest_time"])
    assert list(update.clear_choices) == [key]
    denied = tocsin.PreferenceChoice(category="orders", channel=Channel.CHANNEL_EMAIL)
    assert (deny.recipient, list(deny.set_choices), deny.HasField("preferences")) == ("ada", [denied], False)
    assert (allow.recipient, list(allow.set_choices)) == ("", [tocsin.PreferenceChoice(allowed=True)])
    assert len({request.request_id for request in (update, deny, allow)}) == 3


async def test_preferences_are_resolved_and_left(client: tocsin.Client, server: FakeServer) -> None:
    resolved = ResolvePreferencesResponse(time_zone="Europe/Lisbon")
    left = UnsubscribeResponse(recipient="ada")
    server.answer("ResolvePreferences", resolved)
    server.answer("CreateUnsubscribeToken", CreateUnsubscribeTokenResponse(token="t"))
    server.answer("Unsubscribe", left)
    assert await client.preferences.resolve("ada", ["orders"]) == resolved
    assert await client.preferences.unsubscribe_token("ada", "orders", "email") == "t"
    assert await client.preferences.unsubscribe("t") == left
    (asked,) = server.requests["ResolvePreferences"]
    assert (asked.recipient, list(asked.categories)) == ("ada", ["orders"])
    (about,) = server.requests["CreateUnsubscribeToken"]
    assert (about.recipient, about.category, about.channel) == ("ada", "orders", Channel.CHANNEL_EMAIL)
    (redeemed,) = server.requests["Unsubscribe"]
    assert (redeemed.token, bool(redeemed.request_id)) == ("t", True)


# --- templates --------------------------------------------------------------------------------------------------------


async def test_templates_are_created_activated_and_shown(server: FakeServer, client: tocsin.Client) -> None:
    greeting = Template(name="greeting", active_version=1, latest_version=1)
    created = CreateTemplateVersionResponse(template=greeting, version=1)
    definition = tocsin.TemplateDefinition(
        bodies=[tocsin.TemplateBody(content=tocsin.Content(simple=tocsin.SimpleContent(title="Hi")))]
    )
    server.answer("CreateTemplateVersion", created)
    server.answer("GetTemplate", GetTemplateResponse(template=greeting))
    server.answer("ListTemplates", ListTemplatesResponse(templates=[greeting]))
    server.answer("ActivateTemplateVersion", ActivateTemplateVersionResponse(template=greeting))
    server.answer("RenderTemplate", RenderTemplateResponse(version=1))
    assert await client.templates.create_version("greeting", definition, activate=True) == created
    assert (await client.templates.get("greeting")).template == greeting
    assert [template async for template in client.templates.all()] == [greeting]
    assert await client.templates.activate("greeting", 1) == greeting
    assert (await client.templates.render("greeting", {"a": [1, None]}, version=1)).version == 1
    await client.templates.render(definition, {"b": 2}, recipient=tocsin.Recipient(recipient="ada"))
    (create,) = server.requests["CreateTemplateVersion"]
    assert (create.definition, create.activate, bool(create.request_id)) == (definition, True, True)
    stored, draft = server.requests["RenderTemplate"]
    assert (stored.template.version, dict(stored.template.data)["a"][1]) == (1, None)
    assert (draft.definition, dict(draft.data)) == (definition, {"b": 2})


# --- the package ------------------------------------------------------------------------------------------------------


def test_every_public_name_exists() -> None:
    assert sorted(tocsin.__all__) == list(tocsin.__all__)
    assert [name for name in tocsin.__all__ if not hasattr(tocsin, name)] == []


# --- broadcasts -------------------------------------------------------------------------------------------------------


async def test_a_broadcast_is_watched_to_its_end(client: tocsin.Client, server: FakeServer) -> None:
    server.answer("CreateBroadcast", CreateBroadcastResponse(broadcast=Broadcast(broadcast_id="b")))
    states = (BROADCAST_STATE_PENDING, BROADCAST_STATE_RUNNING, BROADCAST_STATE_COMPLETED)
    server.answer(
        "GetBroadcast", *(GetBroadcastResponse(broadcast=Broadcast(state=state)) for state in states)
    )
    made = await client.broadcasts.create(topic="news", category="c", content=("Title", ""))
    seen = [each.state async for each in client.broadcasts.watch(made.broadcast_id, interval=0)]
    assert seen == list(states)
    (request,) = server.requests["CreateBroadcast"]
    assert (request.audience.topic, request.notification.recipient) == ("news", "")
    with pytest.raises(ValueError, match="one of topic, filter and everyone"):
        await client.broadcasts.create(topic="news", everyone=True, category="c", content=("Title", ""))
