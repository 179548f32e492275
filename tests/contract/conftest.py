"""The whole server, called as anybody calls it: over a connection, through generated stubs."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from tests.support.calls import DETAILS, channel_to
from tocsin.v1 import inbox_service_pb2, system_service_pb2
from tocsin.v1.broadcast_service_pb2_grpc import BroadcastServiceStub
from tocsin.v1.category_service_pb2_grpc import CategoryServiceStub
from tocsin.v1.inbox_service_pb2_grpc import InboxServiceStub
from tocsin.v1.notification_pb2 import Content, NotificationSpec, SimpleContent
from tocsin.v1.notification_service_pb2 import SendRequest, SendResult
from tocsin.v1.notification_service_pb2_grpc import NotificationServiceStub
from tocsin.v1.preference_service_pb2_grpc import PreferenceServiceStub
from tocsin.v1.recipient_service_pb2_grpc import RecipientServiceStub
from tocsin.v1.system_service_pb2_grpc import SystemServiceStub
from tocsin.v1.template_service_pb2_grpc import TemplateServiceStub
from tocsin.v1.tenant_service_pb2_grpc import TenantServiceStub
from tocsin.v1.topic_service_pb2_grpc import TopicServiceStub
from tocsin_server.bootstrap.serving import Server, bootstrap
from tocsin_server.domain.time import Micros
from tocsin_server.settings import Settings
from tocsin_server.store.clock import SystemClock


@dataclass(frozen=True)
class Refusal:
    """How a call or an item was refused."""

    code: str
    reason: str
    metadata: dict[str, str]
    fields: list[str]
    """The fields that break a rule."""

    @classmethod
    def of(cls, status: Status) -> "Refusal":
        """How an item was refused."""
        infos = [info for detail in status.details if detail.Unpack(info := ErrorInfo())]
        requests = [request for detail in status.details if detail.Unpack(request := BadRequest())]
        (info,) = infos
        assert info.domain == "tocsin"
        code = next(code.name for code in grpc.StatusCode if code.value[0] == status.code)
        fields = [violation.field for request in requests for violation in request.field_violations]
        return cls(code, info.reason, dict(info.metadata), fields)

    @classmethod
    def of_error(cls, error: grpc.aio.AioRpcError) -> "Refusal":
        """How a call failed; that its parts agree is checked, too."""
        status = Status.FromString(dict(error.trailing_metadata())[DETAILS])
        refusal = cls.of(status)
        assert status.message == error.details()
        assert refusal.code == error.code().name
        return refusal


async def refused(call: Awaitable[object]) -> Refusal:
    """Awaits a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return Refusal.of_error(error.value)


async def reason(call: Awaitable[object]) -> str:
    """The reason for which a call is refused."""
    return (await refused(call)).reason


class Caller:
    """Somebody on the same machine who calls."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.notifications = NotificationServiceStub(channel)
        self.inbox = InboxServiceStub(channel)
        self.recipients = RecipientServiceStub(channel)
        self.categories = CategoryServiceStub(channel)
        self.preferences = PreferenceServiceStub(channel)
        self.templates = TemplateServiceStub(channel)
        self.tenants = TenantServiceStub(channel)
        self.categories = CategoryServiceStub(channel)
        self.preferences = PreferenceServiceStub(channel)
        self.broadcasts = BroadcastServiceStub(channel)
        self.topics = TopicServiceStub(channel)
        self.system = SystemServiceStub(channel)

    async def send(self, recipient: str = "ada", title: str = "t", **fields: Any) -> SendResult:
        """Sends one notification; `request_id` apart, `fields` are those of the spec."""
        request_id = fields.pop("request_id", "")
        request = SendRequest(request_id=request_id, notification=spec(recipient, title, **fields))
        return (await self.notifications.Send(request)).result

    async def entries(self, recipient: str = "ada", **fields: Any) -> inbox_service_pb2.ListEntriesResponse:
        """A page of an inbox."""
        return await self.inbox.ListEntries(
            inbox_service_pb2.ListEntriesRequest(recipient=recipient, **fields)
        )

    async def titles(self, recipient: str = "ada", **fields: Any) -> list[str]:
        """What an inbox shows, newest first; empty for an inbox that does not exist."""
        try:
            return titles((await self.entries(recipient, **fields)).entries)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return []

    async def mark(
        self, mark: int, recipient: str = "ada", **fields: Any
    ) -> inbox_service_pb2.MarkEntriesResponse:
        """Marks entries."""
        request = inbox_service_pb2.MarkEntriesRequest(recipient=recipient, mark=mark, **fields)  # type: ignore[arg-type]
        return await self.inbox.MarkEntries(request)

    async def create_key(self, *scopes: str, **fields: Any) -> "Key":
        """Creates an API key. Once there is one, everybody needs one."""
        metadata = fields.pop("metadata", ())
        request = system_service_pb2.CreateApiKeyRequest(display_name="k", scopes=scopes, **fields)
        response = await self.system.CreateApiKey(request, metadata=metadata)
        return Key(response.api_key.api_key_id, (("authorization", f"Bearer {response.secret}"),))


@dataclass(frozen=True)
class Key:
    """An API key, and the metadata that goes with calls."""

    id: str
    metadata: tuple[tuple[str, str], ...]


@dataclass
class Tocsin(Caller):
    """A running server and somebody on the same machine who calls it."""

    server: Server
    clock: SystemClock

    def __init__(self, server: Server, clock: SystemClock, channel: grpc.aio.Channel) -> None:
        super().__init__(channel)
        self.server = server
        self.clock = clock

    def turn_clock(self, by: Micros) -> None:
        """Makes the server believe that time has passed; what falls due does so within a second."""
        self.clock.offset += by


def spec(recipient: str = "ada", title: str = "t", **fields: Any) -> NotificationSpec:
    """What to send; a simple content unless another is given."""
    content = fields.pop("content", None) or Content(simple=SimpleContent(title=title))
    return NotificationSpec(
        recipient=recipient, category=fields.pop("category", "orders"), content=content, **fields
    )


Start = Callable[..., Awaitable[Tocsin]]


@asynccontextmanager
async def running(folder: Path, callers: AsyncExitStack, **settings: Any) -> AsyncIterator[Tocsin]:
    """A server with its data in a folder. Its callers stay connected until `callers` is left."""
    clock = SystemClock()
    given: dict[str, Any] = {
        "database": str(folder / "tocsin.db"),
        "listen": "127.0.0.1:0",
        "drain_delay": 0.0,
        "drain_timeout": 2.0,
        "sweep_interval": 0.2,
        "poll_interval": 0.05,
    }
    async with bootstrap(Settings(**given | settings), {}, clock=clock) as server:
        channel = await callers.enter_async_context(channel_to(f"127.0.0.1:{server.port}"))
        yield Tocsin(server, clock, channel)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a server with settings of the test's choice."""
    async with AsyncExitStack() as stack:

        async def started(**settings: Any) -> Tocsin:
            callers = AsyncExitStack()
            tocsin = await stack.enter_async_context(running(tmp_path, callers, **settings))
            await stack.enter_async_context(callers)
            return tocsin

        yield started


@pytest.fixture
async def tocsin(start: Start) -> Tocsin:
    """A server with its usual settings."""
    return await start()


def titles(entries: Sequence[Any]) -> list[str]:
    """What notifications show."""
    return [entry.content.simple.title for entry in entries]
