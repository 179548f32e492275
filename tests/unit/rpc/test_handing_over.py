"""Servers that share a port: one that ends hands its callers over to the others."""

import asyncio

import grpc
import grpc.aio
import pytest

from tests.support.calls import answered
from tests.support.waiting import eventually
from tests.unit.rpc.conftest import serving
from tests.unit.rpc.test_pipeline import RAW
from tocsin_server.rpc.server import ServerOptions

SHARED = ServerOptions(share_port=True)


async def test_a_port_is_shared_only_where_that_is_meant() -> None:
    async with serving() as served:
        for options in (ServerOptions(), SHARED):
            with pytest.raises(OSError, match="cannot listen"):
                async with serving(listen=f"127.0.0.1:{served.port}", options=options):
                    pass


async def test_callers_go_to_another_and_what_is_in_work_is_answered() -> None:
    async with serving(options=SHARED) as ending:
        ending.sending.gate.clear()
        in_work = asyncio.ensure_future(ending.raw("Send", RAW))
        await eventually(lambda: ending.sending.calls, "the call")
        async with serving(options=SHARED, listen=f"127.0.0.1:{ending.port}") as other:
            ending.rpc.drain()
            ending.rpc.hand_over()
            await ending.channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
            for _ in range(10):
                await answered(lambda: ending.raw("Send", RAW))
            assert len(other.sending.calls) == 10
            assert not in_work.done()
            ending.sending.gate.set()
            await in_work
            await ending.rpc.stop(grace=5)
            assert len(ending.sending.calls) == 1


async def test_the_one_that_ends_cuts_what_does_not_come_to_an_end() -> None:
    async with serving(options=SHARED) as ending:
        ending.sending.gate.clear()
        in_work = asyncio.ensure_future(ending.raw("Send", RAW))
        await eventually(lambda: ending.sending.calls, "the call")
        ending.rpc.hand_over()
        async with asyncio.timeout(5):
            await ending.rpc.stop(grace=0.1)
        with pytest.raises(grpc.aio.AioRpcError):
            await in_work
