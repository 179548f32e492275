"""Fault 15: the disk is full, or fails, or somebody else holds the database's lock."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import grpc
import pytest

from tests.support.calls import CALL_TIMEOUT_S, reason_of
from tests.support.load import Load, make_item
from tests.support.processes import ServerProcess, Servers, is_serving
from tests.support.storage import FullDisk, files_limited, locked
from tests.support.waiting import eventually
from tests.support.wire import ack_of
from tocsin.v1.notification_service_pb2 import SendRequest
from tocsin.v1.notification_service_pb2_grpc import NotificationServiceStub
from tocsin.v1.system_service_pb2 import COMPONENT_STATE_OK, GetStatusRequest
from tocsin.v1.system_service_pb2_grpc import SystemServiceStub

NOTIFICATIONS = 200
# Sends that storage does not take. A file may have room left for some.
REFUSALS, TRIES_MAX = 3, 2_000

Fault = Callable[[ServerProcess, FullDisk], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def disk_full(server: ServerProcess, disk: FullDisk) -> AsyncIterator[None]:
    with disk.full():
        yield


@asynccontextmanager
async def disk_failing(server: ServerProcess, disk: FullDisk) -> AsyncIterator[None]:
    with files_limited(server.pid, 64 << 10):
        yield


@asynccontextmanager
async def database_locked(server: ServerProcess, disk: FullDisk) -> AsyncIterator[None]:
    async with locked(server.database):
        yield


@pytest.mark.parametrize("fault", [disk_full, disk_failing, database_locked])
async def test_what_storage_does_not_take_is_refused_and_it_heals(
    servers: Servers, rng: random.Random, fault: Fault, diskfull_shim: Path, tmp_path: Path
) -> None:
    server = await servers.prepare()
    disk = FullDisk(diskfull_shim, folder=server.data, flag=tmp_path / "disk-is-full")
    await server.start(environment=disk.environment())
    async with Load(server.address, rng) as load:
        load.begin(NOTIFICATIONS)
        await load.finished()

        async with fault(server, disk):
            await send_until_refused(load, rng)
            await eventually(lambda: some_trouble(load), "the server to say that it is not well")
            # What is stored can be read all the while.
            await load.read_inboxes()
            load.begin(NOTIFICATIONS)

        await load.finished()
        await eventually(lambda: all_is_well(load), "the server to say that it is well again")
        assert server.running
        assert await load.violations() == []


async def send_until_refused(load: Load, rng: random.Random) -> None:
    """Send notifications that are not sent again, until enough of them have been refused."""
    stub = NotificationServiceStub(load.channel)
    refusals = 0
    for number in range(TRIES_MAX):
        item = make_item(f"once-{number}", rng.choice(load.recipients), body="x" * 10_000)
        load.oracle.asked(item.request_id, item.notification.recipient)
        request = SendRequest(request_id=item.request_id, notification=item.notification)
        try:
            reply = await stub.Send(request, timeout=CALL_TIMEOUT_S)
            load.oracle.acked(item.request_id, ack_of(reply.result), replayed=reply.result.replayed)
        except grpc.aio.AioRpcError as error:
            refusal = (error.code(), reason_of(error))
            load.oracle.refused(item.request_id, reason_of(error))
        else:
            continue
        assert refusal == (grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE")
        refusals += 1
        if refusals == REFUSALS:
            return
    pytest.fail(f"storage took {TRIES_MAX - refusals} notifications while it should have refused")


async def some_trouble(load: Load) -> bool:
    """Whether the status names trouble, or the health check says so."""
    return not await all_is_well(load)


async def all_is_well(load: Load) -> bool:
    """Whether the status names no trouble and the health check agrees."""
    status = await SystemServiceStub(load.channel).GetStatus(GetStatusRequest(), timeout=CALL_TIMEOUT_S)
    well = all(component.state == COMPONENT_STATE_OK for component in status.components)
    serving = await is_serving(load.channel, "tocsin.v1.NotificationService")
    return well and serving
