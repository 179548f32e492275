"""What the bench measures against: a server that does nothing but gRPC, as fast as Python does it.

`python raw_server.py PORT_FILE`. Handlers are added generically and work on bytes; uvloop. Instants in responses are
those of the monotonic clock, which all processes of a machine share.
"""

import asyncio
import gc
import struct
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import uvloop

ECHO = "/bench.Raw/Echo"
"""Unary: answers with the request."""
WRITES = "/bench.Raw/Writes"
"""Answers a request of two numbers, WRITES_REQUEST, with so many messages of so many bytes, one `write` each."""
IDLE = "/bench.Raw/Idle"
"""Answers with one message, and then with what is published."""
PUBLISH = "/bench.Raw/Publish"
"""Unary: writes the request to every idle stream, one after the other; answers with the instant before."""

WRITES_REQUEST = struct.Struct("!II")
INSTANT = struct.Struct("!d")

Context = grpc.aio.ServicerContext[bytes, bytes]


class Raw(grpc.GenericRpcHandler):
    """The handlers."""

    def __init__(self) -> None:
        self._idle: set[Context] = set()
        self._handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            ECHO: grpc.stream_unary_rpc_method_handler(self._echo),
            WRITES: grpc.stream_stream_rpc_method_handler(self._writes),
            IDLE: grpc.stream_stream_rpc_method_handler(self._stay),
            PUBLISH: grpc.stream_unary_rpc_method_handler(self._publish),
        }

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        return self._handlers.get(handler_call_details.method)

    async def _echo(self, _requests: object, context: Context) -> bytes:
        return await _read(context)

    async def _writes(self, _requests: object, context: Context) -> None:
        count, size = WRITES_REQUEST.unpack(await _read(context))
        message = bytes(size)
        for _ in range(count):
            await context.write(message)

    async def _stay(self, _requests: object, context: Context) -> None:
        await _read(context)
        await context.write(b"here")
        self._idle.add(context)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._idle.remove(context)

    async def _publish(self, _requests: object, context: Context) -> bytes:
        message = await _read(context)
        started = time.monotonic()
        for stream in self._idle:
            await stream.write(message)
        return INSTANT.pack(started)


async def _read(context: Context) -> bytes:
    message: Any = await context.read()
    assert isinstance(message, bytes)
    return message


async def _serve(port_file: Path) -> None:
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0), ("grpc.max_concurrent_streams", 10_000)))
    server.add_generic_rpc_handlers((Raw(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    gc.collect()
    temporary = port_file.with_suffix(".new")
    temporary.write_text(str(port), encoding="ascii")
    temporary.replace(port_file)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1])))
