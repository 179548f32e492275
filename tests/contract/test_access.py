"""Who may call what: scopes, and how far a key reaches."""

from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor import MethodDescriptor

from tests.contract.conftest import Key, Refusal, Tocsin, reason, refused, spec
from tocsin.v1 import (
    category_service_pb2,
    inbox_service_pb2,
    notification_service_pb2,
    preference_service_pb2,
    recipient_service_pb2,
    system_service_pb2,
    template_service_pb2,
    tenant_service_pb2,
)
from tocsin_server.domain.access import Scope
from tocsin_server.domain.time import HOUR
from tocsin_server.rpc.convert.times import timestamp

FILES = (
    notification_service_pb2,
    inbox_service_pb2,
    recipient_service_pb2,
    category_service_pb2,
    preference_service_pb2,
    template_service_pb2,
    tenant_service_pb2,
    system_service_pb2,
)
METHODS = {
    method.full_name.removeprefix("tocsin.v1."): method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}

# The one scope that is enough for a call, beside `admin`, which has all but `operator`. None for a call whose request
# is its own credential.
SCOPES = {
    "NotificationService.Send": "send",
    "NotificationService.SendBatch": "send",
    "NotificationService.SendStream": "send",
    "NotificationService.PlanSend": "send",
    "NotificationService.GetNotification": "notifications:read",
    "NotificationService.ListNotifications": "notifications:read",
    "NotificationService.CancelNotifications": "send",
    "NotificationService.ReviseNotification": "send",
    "InboxService.Subscribe": "inbox:read",
    "InboxService.Attach": "inbox:read",
    "InboxService.Acknowledge": "inbox:read",
    "InboxService.ListEntries": "inbox:read",
    "InboxService.GetSummary": "inbox:read",
    "InboxService.MarkEntries": "inbox:write",
    "InboxService.RecordInteraction": "inbox:write",
    "RecipientService.UpsertRecipients": "recipients:write",
    "RecipientService.GetRecipient": "recipients:read",
    "RecipientService.ListRecipients": "recipients:read",
    "RecipientService.DeleteRecipient": "recipients:write",
    "RecipientService.ExportRecipient": "recipients:read",
    "CategoryService.UpsertCategory": "categories:write",
    "CategoryService.GetCategory": "categories:read",
    "CategoryService.ListCategories": "categories:read",
    "CategoryService.DeleteCategory": "categories:write",
    "PreferenceService.GetPreferences": "preferences:read",
    "PreferenceService.UpdatePreferences": "preferences:write",
    "PreferenceService.ResolvePreferences": "preferences:read",
    "PreferenceService.CreateUnsubscribeToken": "preferences:write",
    "PreferenceService.Unsubscribe": "",
    "TemplateService.CreateTemplateVersion": "admin",
    "TemplateService.GetTemplate": "send",
    "TemplateService.ListTemplates": "send",
    "TemplateService.ActivateTemplateVersion": "admin",
    "TemplateService.RenderTemplate": "send",
    "TenantService.CreateTenant": "operator",
    "TenantService.GetTenant": "operator",
    "TenantService.ListTenants": "operator",
    "TenantService.SuspendTenant": "operator",
    "TenantService.DeleteTenant": "operator",
    "TenantService.UpdateQuotas": "operator",
    "SystemService.GetStatus": "admin",
    "SystemService.ListSessions": "admin",
    "SystemService.TerminateSession": "admin",
    "SystemService.CreateApiKey": "admin",
    "SystemService.ListApiKeys": "admin",
    "SystemService.RevokeApiKey": "admin",
}


async def outcome(
    tocsin: Tocsin, method: MethodDescriptor, metadata: tuple[tuple[str, str], ...] = ()
) -> str:
    """What a call with bytes that are no request comes to: the last thing to be checked is the request."""
    assert method.containing_service is not None
    path = f"/{method.containing_service.full_name}/{method.name}"
    ask: Any = tocsin.channel.unary_stream(path)
    call = ask(b"\xff", metadata=metadata)
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return Refusal.of_error(error).reason
    return "OK"


def test_every_call_has_its_scope() -> None:
    assert SCOPES.keys() == METHODS.keys()


async def test_a_scope_is_enough_for_its_calls_and_for_no_others(tocsin: Tocsin) -> None:
    root = await tocsin.create_key("admin", "operator")
    for scope in Scope:
        key = await tocsin.create_key(scope, metadata=root.metadata)
        outcomes = {name: await outcome(tocsin, method, key.metadata) for name, method in METHODS.items()}
        allowed = {name for name, needed in SCOPES.items() if needed in (scope, "")}
        if scope is Scope.ADMIN:
            allowed = {name for name, needed in SCOPES.items() if needed != "operator"}
        assert {name for name, came_to in outcomes.items() if came_to == "MALFORMED_REQUEST"} == allowed
        assert {came_to for name, came_to in outcomes.items() if name not in allowed} == {"SCOPE_MISSING"}


async def test_once_there_is_a_key_everybody_needs_one(tocsin: Tocsin) -> None:
    assert {await outcome(tocsin, method) for method in METHODS.values()} == {"MALFORMED_REQUEST"}
    await tocsin.create_key("admin")
    for name, method in METHODS.items():
        expected = "CREDENTIALS_MISSING" if SCOPES[name] else "MALFORMED_REQUEST"
        assert await outcome(tocsin, method) == expected


@pytest.mark.parametrize(
    "authorization", ["Bearer tsk_0000_nonsense", "Bearer x", "Basic dXNlcjpwYXNz", "Bearer ", "Bearer a.b.c"]
)
async def test_what_is_no_credential_is_refused(tocsin: Tocsin, authorization: str) -> None:
    method = METHODS["SystemService.GetStatus"]
    assert await outcome(tocsin, method, (("authorization", authorization),)) == "CREDENTIALS_INVALID"


async def test_a_key_that_is_over_is_refused(tocsin: Tocsin) -> None:
    root = await tocsin.create_key("admin")
    expires = timestamp(tocsin.clock.now() + HOUR)
    expiring = await tocsin.create_key("send", metadata=root.metadata, expire_time=expires)
    revoked = await tocsin.create_key("send", metadata=root.metadata)
    request = system_service_pb2.RevokeApiKeyRequest(api_key_id=revoked.id)
    response = await tocsin.system.RevokeApiKey(request, metadata=root.metadata)
    assert response.api_key.HasField("revoke_time")
    method = METHODS["NotificationService.Send"]
    assert await outcome(tocsin, method, revoked.metadata) == "CREDENTIALS_REVOKED"
    assert await outcome(tocsin, method, expiring.metadata) == "MALFORMED_REQUEST"
    tocsin.turn_clock(HOUR)
    assert await outcome(tocsin, method, expiring.metadata) == "CREDENTIALS_EXPIRED"


@pytest.fixture
async def narrow(tocsin: Tocsin) -> Key:
    """A key that may act for some recipients and categories only."""
    await tocsin.send("ada", category="orders")
    await tocsin.send("ada", category="secret")
    scopes = (
        "send",
        "notifications:read",
        "inbox:read",
        "inbox:write",
        "recipients:read",
        "recipients:write",
    )
    return await tocsin.create_key(*scopes, recipients=["ada", "team-*"], categories=["orders*"])


@pytest.mark.parametrize(
    ("recipient", "category", "expected"),
    [
        ("ada", "orders", ""),
        ("team-7", "orders.shipped", ""),
        ("bob", "orders", "RECIPIENT_NOT_ALLOWED"),
        ("adam", "orders", "RECIPIENT_NOT_ALLOWED"),
        ("ada", "secret", "CATEGORY_NOT_ALLOWED"),
    ],
)
async def test_a_key_sends_no_farther_than_it_reaches(
    tocsin: Tocsin, narrow: Key, recipient: str, category: str, expected: str
) -> None:
    items = [notification_service_pb2.SendItem(notification=spec(recipient, category=category))]
    response = await tocsin.notifications.SendBatch(
        notification_service_pb2.SendBatchRequest(items=items), metadata=narrow.metadata
    )
    (result,) = response.results
    assert (Refusal.of(result.error).reason if result.HasField("error") else "") == expected


async def test_a_key_reads_no_farther_than_it_reaches(tocsin: Tocsin, narrow: Key) -> None:
    metadata = narrow.metadata
    listed = await tocsin.notifications.ListNotifications(
        notification_service_pb2.ListNotificationsRequest(), metadata=metadata
    )
    seen = [(status.notification.recipient, status.notification.category) for status in listed.notifications]
    assert seen == [("ada", "orders")]
    for call in (
        tocsin.inbox.ListEntries(inbox_service_pb2.ListEntriesRequest(recipient="bob"), metadata=metadata),
        tocsin.inbox.GetSummary(
            inbox_service_pb2.GetSummaryRequest(recipients=["ada", "bob"]), metadata=metadata
        ),
        tocsin.inbox.MarkEntries(
            inbox_service_pb2.MarkEntriesRequest(
                recipient="bob", mark=inbox_service_pb2.MARK_READ, thread="x"
            ),
            metadata=metadata,
        ),
        tocsin.recipients.GetRecipient(
            recipient_service_pb2.GetRecipientRequest(recipient="bob"), metadata=metadata
        ),
        tocsin.recipients.DeleteRecipient(
            recipient_service_pb2.DeleteRecipientRequest(recipient="bob"), metadata=metadata
        ),
    ):
        assert await refused(call) == Refusal(
            "PERMISSION_DENIED", "RECIPIENT_NOT_ALLOWED", {"recipient": "bob"}, []
        )


async def test_what_is_out_of_reach_does_not_show_that_it_exists(tocsin: Tocsin) -> None:
    id = (await tocsin.send("bob")).notification_id
    narrow = await tocsin.create_key("notifications:read", recipients=["ada"])
    request = notification_service_pb2.GetNotificationRequest(notification_id=id)
    call = tocsin.notifications.GetNotification(request, metadata=narrow.metadata)
    assert await reason(call) == "NOTIFICATION_NOT_FOUND"
