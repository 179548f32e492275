"""The server itself: its state, its sessions, its keys."""

from typing import Any

import pytest

import tocsin_server
from tests.contract.conftest import Refusal, Start, Tocsin, reason, refused
from tests.contract.receiving import Receiver
from tests.support.waiting import eventually
from tocsin.v1 import inbox_service_pb2 as inbox
from tocsin.v1 import system_service_pb2 as pb
from tocsin.v1.tenant_service_pb2 import CreateTenantRequest
from tocsin_server.domain.time import HOUR
from tocsin_server.rpc.convert.times import micros, timestamp


async def status(tocsin: Tocsin) -> pb.GetStatusResponse:
    return await tocsin.system.GetStatus(pb.GetStatusRequest())


async def sessions(tocsin: Tocsin, **fields: Any) -> pb.ListSessionsResponse:
    return await tocsin.system.ListSessions(pb.ListSessionsRequest(**fields))


async def opened(tocsin: Tocsin, *recipients: str, **fields: Any) -> Receiver:
    positions = [inbox.Position(recipient=recipient) for recipient in recipients]
    receiver = Receiver(tocsin.inbox.Subscribe(inbox.SubscribeRequest(recipients=positions, **fields)))
    return await receiver.until(lambda receiver: receiver.session_id)


async def test_the_server_says_how_it_is(tocsin: Tocsin) -> None:
    await opened(tocsin, "ada", "bob")
    found = await status(tocsin)
    assert found.version == tocsin_server.__version__
    assert found.instance_id
    assert micros(found.start_time) <= tocsin.clock.now()
    assert {"storage", "credentials"} <= {component.name for component in found.components}
    assert {component.state for component in found.components} == {pb.COMPONENT_STATE_OK}
    assert [queue.name for queue in found.queues] == ["writer", "deliveries"]
    assert found.schema_version >= 1
    assert found.epoch
    assert found.HasField("poll_interval")
    assert (found.session_count, found.attached_recipient_count) == (1, 2)
    assert not found.draining


async def test_open_streams_are_listed(tocsin: Tocsin) -> None:
    receiver = await opened(tocsin, *(f"user-{n}" for n in range(20)), consumer="phone")
    await tocsin.send("user-3")
    await receiver.until(lambda receiver: receiver.entries)

    async def listed() -> pb.Session | None:
        (session,) = (await sessions(tocsin)).sessions
        return session if session.sent_count else None

    session = await eventually(listed, "the count")
    assert session is not None
    assert session.session_id == receiver.session_id
    assert session.tenant == "default"
    assert session.kind == pb.SESSION_KIND_SUBSCRIBE
    assert session.consumer == "phone"
    assert session.peer.startswith("ipv4:127.0.0.1:")
    assert session.recipient_count == 20
    assert len(session.recipients) == 10
    assert session.sent_count == 1
    assert session.instance_id == (await status(tocsin)).instance_id
    assert not session.HasField("stalled_since")


async def test_streams_are_found_by_recipient_and_page_by_page(tocsin: Tocsin) -> None:
    ids = [(await opened(tocsin, "ada" if n % 2 else "bob")).session_id for n in range(4)]
    first = await sessions(tocsin, page_size=3)
    rest = await sessions(tocsin, page_size=3, page_token=first.next_page_token)
    assert [session.session_id for page in (first, rest) for session in page.sessions] == sorted(ids)
    of_ada = await sessions(tocsin, recipient="ada")
    assert [session.session_id for session in of_ada.sessions] == sorted(ids[1::2])
    assert (
        await reason(sessions(tocsin, page_token=first.next_page_token, recipient="ada"))
        == "PAGE_TOKEN_INVALID"
    )


async def test_a_session_that_does_not_exist_is_not_found(tocsin: Tocsin) -> None:
    call = tocsin.system.TerminateSession(pb.TerminateSessionRequest(session_id="s"))
    assert await refused(call) == Refusal("NOT_FOUND", "SESSION_NOT_FOUND", {"session_id": "s"}, [])


async def test_an_administrator_reaches_the_sessions_of_its_tenant_only(tocsin: Tocsin) -> None:
    root = await tocsin.create_key("admin", "operator")
    await tocsin.tenants.CreateTenant(CreateTenantRequest(tenant="acme"), metadata=root.metadata)
    acme = await tocsin.create_key("admin", tenant="acme", metadata=root.metadata)
    request = inbox.SubscribeRequest(recipients=[inbox.Position(recipient="ada")])
    receiver = Receiver(tocsin.inbox.Subscribe(request, metadata=root.metadata))
    await receiver.until(lambda receiver: receiver.session_id)
    listed = await tocsin.system.ListSessions(pb.ListSessionsRequest(), metadata=acme.metadata)
    assert not listed.sessions
    terminate = pb.TerminateSessionRequest(session_id=receiver.session_id)
    assert (
        await reason(tocsin.system.TerminateSession(terminate, metadata=acme.metadata)) == "SESSION_NOT_FOUND"
    )
    everyones = pb.ListSessionsRequest(all_tenants=True)
    assert await reason(tocsin.system.ListSessions(everyones, metadata=acme.metadata)) == "SCOPE_MISSING"
    assert len((await tocsin.system.ListSessions(everyones, metadata=root.metadata)).sessions) == 1


# --- keys -------------------------------------------------------------------------------------------------------------


async def test_a_secret_is_shown_once(tocsin: Tocsin) -> None:
    expires = timestamp(tocsin.clock.now() + HOUR)
    request = pb.CreateApiKeyRequest(
        request_id="k",
        display_name="shop",
        scopes=["admin"],
        expire_time=expires,
    )
    created = await tocsin.system.CreateApiKey(request)
    metadata = (("authorization", f"Bearer {created.secret}"),)
    assert created.secret.startswith("tsk_")
    assert created.api_key == pb.ApiKey(
        api_key_id=created.api_key.api_key_id,
        tenant="default",
        display_name="shop",
        scopes=["admin"],
        create_time=created.api_key.create_time,
        expire_time=expires,
    )
    again = await tocsin.system.CreateApiKey(request, metadata=metadata)
    assert (again.secret, again.replayed) == ("", True)
    assert again.api_key == created.api_key
    listed = await tocsin.system.ListApiKeys(pb.ListApiKeysRequest(), metadata=metadata)
    assert list(listed.api_keys) == [created.api_key]
    assert created.secret not in str(listed)


async def test_keys_are_listed_newest_first(tocsin: Tocsin) -> None:
    root = await tocsin.create_key("admin")
    keys = [root.id] + [(await tocsin.create_key("send", metadata=root.metadata)).id for _ in range(3)]
    first = await tocsin.system.ListApiKeys(pb.ListApiKeysRequest(page_size=3), metadata=root.metadata)
    request = pb.ListApiKeysRequest(page_size=3, page_token=first.next_page_token)
    rest = await tocsin.system.ListApiKeys(request, metadata=root.metadata)
    assert [key.api_key_id for page in (first, rest) for key in page.api_keys] == keys[::-1]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"scopes": ["operator"]}, "SCOPE_MISSING"),
        ({"scopes": ["send"], "tenant": "acme"}, "SCOPE_MISSING"),
        ({"scopes": ["send"], "recipients": ["bob"]}, "RECIPIENT_NOT_ALLOWED"),
        ({"scopes": ["send"]}, "RECIPIENT_NOT_ALLOWED"),
        ({"scopes": ["send"], "recipients": ["team-*"]}, ""),
        ({"scopes": ["send"], "recipients": ["team-7*"]}, ""),
        ({"scopes": []}, "INVALID_FIELD"),
        ({"scopes": ["everything"]}, "INVALID_FIELD"),
        ({"scopes": ["send", "send"]}, "INVALID_FIELD"),
    ],
)
async def test_a_key_can_do_no_more_than_its_creator(
    tocsin: Tocsin, wanted: dict[str, Any], expected: str
) -> None:
    creator = await tocsin.create_key("admin", recipients=["ada", "team-*"])
    call = tocsin.system.CreateApiKey(
        pb.CreateApiKeyRequest(display_name="k", **wanted), metadata=creator.metadata
    )
    assert (await reason(call) if expected else bool((await call).secret) and "") == expected


async def test_keys_have_a_quota(start: Start) -> None:
    tocsin = await start(quota_max_api_keys=2)
    root = await tocsin.create_key("admin")
    other = await tocsin.create_key("send", metadata=root.metadata)
    refusal = await refused(tocsin.create_key("send", metadata=root.metadata))
    assert (refusal.reason, refusal.metadata["quota"]) == ("QUOTA_EXCEEDED", "max_api_keys")
    await tocsin.system.RevokeApiKey(pb.RevokeApiKeyRequest(api_key_id=other.id), metadata=root.metadata)
    await tocsin.create_key("send", metadata=root.metadata)


async def test_revoking_twice_is_fine_and_a_key_that_never_was_is_not_found(tocsin: Tocsin) -> None:
    root = await tocsin.create_key("admin")
    key = await tocsin.create_key("send", metadata=root.metadata)
    request = pb.RevokeApiKeyRequest(api_key_id=key.id)
    first = await tocsin.system.RevokeApiKey(request, metadata=root.metadata)
    again = await tocsin.system.RevokeApiKey(request, metadata=root.metadata)
    assert again.api_key == first.api_key
    unknown = pb.RevokeApiKeyRequest(api_key_id="none")
    refusal = await refused(tocsin.system.RevokeApiKey(unknown, metadata=root.metadata))
    assert refusal == Refusal("NOT_FOUND", "API_KEY_NOT_FOUND", {"api_key_id": "none"}, [])


async def test_a_process_without_a_clock_serves_and_does_nothing_at_a_time(start: Start) -> None:
    tocsin = await start(roles="api")
    assert not {"timers", "retention", "deliveries"} & {
        component.name for component in (await status(tocsin)).components
    }
    await tocsin.send(title="later", deliver_time=timestamp(tocsin.clock.now() + HOUR))
    tocsin.turn_clock(2 * HOUR)
    await tocsin.send(title="now")
    assert await tocsin.titles() == ["now"]


async def test_a_process_without_callers_says_how_it_is_and_nothing_else(start: Start) -> None:
    tocsin = await start(roles="clock")
    assert {"timers", "retention"} <= {component.name for component in (await status(tocsin)).components}
    assert await reason(tocsin.send()) == "FEATURE_NOT_BUILT"
