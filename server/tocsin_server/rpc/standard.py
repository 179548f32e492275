"""The two services that every gRPC server has: health, to be found fit by, and reflection, to be explored by.

They are served without credentials and past the pipeline, from the same generic handler as all the rest: registered
with the server they would keep a pending accept each and slow down every call.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from tocsin_server.domain.errors import ServerDraining
from tocsin_server.rpc.errors import abort
from tocsin_server.rpc.streams import Handler

Serve = Callable[[Any, Any], Awaitable[None]]

_REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
"""The same messages as v1alpha under another name, which newer tools ask for first."""

LIVENESS = "liveness"
"""A name to ask health for that serves as long as the process answers, whatever storage does and while it drains: for
whoever would restart the process, which mends neither."""

_SET_TIMEOUT_SECONDS = 1.0


class StandardServices:
    """Health and reflection for services of the given full names."""

    def __init__(self, services: Sequence[str], closed: asyncio.Event) -> None:
        self._closed = closed
        self._services = ("", *services)
        self._health = HealthServicer()
        self._reflection = ReflectionServicer(
            (*services, health.SERVICE_NAME, reflection.SERVICE_NAME, _REFLECTION_V1)
        )

    async def set_serving(self, serving: bool) -> None:
        """What health says from now on, of the server and of each service."""
        response = health_pb2.HealthCheckResponse
        status = response.SERVING if serving else response.NOT_SERVING
        # The servicer writes to its watchers under a lock, so that one who does not read could hold this up.
        with suppress(TimeoutError):
            async with asyncio.timeout(_SET_TIMEOUT_SECONDS):
                await self._health.set(LIVENESS, response.SERVING)
                await asyncio.gather(*(self._health.set(service, status) for service in self._services))

    def handlers(self) -> dict[str, Handler]:
        """A handler for each RPC by its full name."""
        reflect = grpc.stream_stream_rpc_method_handler(
            self._until_closed(self._reflect),
            reflection_pb2.ServerReflectionRequest.FromString,
            reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        return {
            f"/{health.SERVICE_NAME}/Check": grpc.unary_unary_rpc_method_handler(
                self._health.Check,
                health_pb2.HealthCheckRequest.FromString,
                health_pb2.HealthCheckResponse.SerializeToString,
            ),
            f"/{health.SERVICE_NAME}/Watch": grpc.unary_stream_rpc_method_handler(
                self._until_closed(self._health.Watch),
                health_pb2.HealthCheckRequest.FromString,
                health_pb2.HealthCheckResponse.SerializeToString,
            ),
            f"/{reflection.SERVICE_NAME}/ServerReflectionInfo": reflect,
            f"/{_REFLECTION_V1}/ServerReflectionInfo": reflect,
        }

    async def _reflect(self, requests: Any, context: Any) -> None:
        responses: Any = self._reflection.ServerReflectionInfo(requests, context)
        async for response in responses:
            await context.write(response)

    def _until_closed(self, serve: Serve) -> Serve:
        """The same call, but ended when the server closes; neither of these ends by itself."""

        async def call(request: Any, context: Any) -> None:
            serving = asyncio.ensure_future(serve(request, context))
            closing = asyncio.ensure_future(self._closed.wait())
            try:
                await asyncio.wait((serving, closing), return_when=asyncio.FIRST_COMPLETED)
                if not serving.done():
                    await abort(context, ServerDraining())
                await serving
            finally:
                serving.cancel()
                closing.cancel()

        return call
