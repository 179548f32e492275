"""SystemService: the server's state, sessions, API keys."""

from tocsin.v1 import system_service_pb2 as pb
from tocsin_server.domain.access import ApiKey, Scope
from tocsin_server.rpc.convert.times import duration, micros, timestamp
from tocsin_server.service.api_keys import CreatedKey, KeyRequest
from tocsin_server.service.paging import Page
from tocsin_server.service.ports import SessionInfo
from tocsin_server.service.status import ComponentReport, QueueReport, ServerStatus


def status_message(status: ServerStatus) -> pb.GetStatusResponse:
    """How the server is."""
    return pb.GetStatusResponse(
        version=status.version,
        instance_id=status.instance_id,
        start_time=timestamp(status.start_time),
        components=map(_component_message, status.components),
        queues=map(_queue_message, status.queues),
        schema_version=status.schema_version,
        epoch=status.epoch.hex(),
        poll_interval=duration(status.streams.poll_interval),
        session_count=status.streams.sessions,
        attached_recipient_count=status.streams.recipients,
        draining=status.draining,
        event_loop_lag=duration(status.event_loop_lag),
        timer_lag=duration(status.timer_lag),
    )


def sessions_message(page: Page[SessionInfo]) -> pb.ListSessionsResponse:
    """A page of sessions."""
    return pb.ListSessionsResponse(
        sessions=map(_session_message, page.items),
        next_page_token=page.next_page_token,
    )


def key_request_from(request: pb.CreateApiKeyRequest) -> KeyRequest:
    """What a new key is to be able to do."""
    return KeyRequest(
        request.display_name,
        tuple(map(Scope, request.scopes)),
        tuple(request.recipients),
        tuple(request.categories),
        micros(request.expire_time) if request.HasField("expire_time") else None,
        request.tenant,
    )


def created_message(created: CreatedKey) -> pb.CreateApiKeyResponse:
    """A key and its secret."""
    return pb.CreateApiKeyResponse(
        api_key=key_message(created.key), secret=created.secret, replayed=created.replayed
    )


def keys_message(page: Page[ApiKey]) -> pb.ListApiKeysResponse:
    """A page of keys."""
    return pb.ListApiKeysResponse(api_keys=map(key_message, page.items), next_page_token=page.next_page_token)


def key_message(key: ApiKey) -> pb.ApiKey:
    """A key without its secret."""
    return pb.ApiKey(
        api_key_id=key.id,
        tenant=key.tenant,
        display_name=key.display_name,
        scopes=key.scopes,
        recipients=key.recipients,
        categories=key.categories,
        create_time=timestamp(key.create_time),
        expire_time=timestamp(key.expire_time),
        revoke_time=timestamp(key.revoke_time),
    )


def _component_message(report: ComponentReport) -> pb.Component:
    return pb.Component(
        name=report.name,
        state=pb.ComponentState.ValueType(report.state),
        since_time=timestamp(report.since),
        detail=report.detail,
        consequence=report.consequence,
    )


def _queue_message(report: QueueReport) -> pb.QueueStatus:
    return pb.QueueStatus(
        name=report.name,
        depth=report.depth,
        bytes=report.bytes,
        oldest_age=duration(report.oldest_age),
    )


def _session_message(session: SessionInfo) -> pb.Session:
    return pb.Session(
        session_id=session.id,
        tenant=session.tenant,
        kind=pb.SessionKind.ValueType(session.kind),
        consumer=session.consumer,
        principal=session.principal,
        peer=session.peer,
        recipient_count=session.recipient_count,
        recipients=session.recipients,
        create_time=timestamp(session.create_time),
        sent_count=session.sent_count,
        buffered_bytes=session.buffered_bytes,
        behind_count=session.behind_count,
        in_flight_count=session.in_flight_count,
        max_in_flight=session.max_in_flight,
        stalled_since=timestamp(session.stalled_since),
        drop_count=session.drop_count,
        instance_id=session.instance_id,
    )
