"""How every call is made: one deadline over all its attempts, retries, typed errors."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import grpc

from tocsin.channel import ApiKeySource, Stubs, TLSConfig, open_channel, with_api_key
from tocsin.errors import ClosedError, ServerError, TocsinError, error_from_rpc
from tocsin.retry import RetryPolicy

__all__ = ("Transport",)

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
ItemT = TypeVar("ItemT")


class Page(Protocol):
    """What is used of the response of a list call."""

    @property
    def next_page_token(self) -> str: ...


PageT = TypeVar("PageT", bound=Page)


class Dependent(Protocol):
    """What has to be closed before the channel is."""

    async def aclose(self) -> None: ...


class Transport:
    """A channel with the client's ways of calling. Shared by all that belongs to one `Client`."""

    def __init__(
        self,
        target: str,
        *,
        api_key: ApiKeySource | None,
        tls: TLSConfig | None,
        timeout: float,
        retry: RetryPolicy,
    ) -> None:
        self._channel = open_channel(target, tls)
        self.stubs = Stubs(with_api_key(self._channel, api_key))
        self.timeout = timeout
        self.retry = retry
        self.closed = False
        self.dependents: set[Dependent] = set()

    async def close(self) -> None:
        """Close the dependents, end the calls under way with `ClosedError`, and refuse further ones."""
        try:
            await asyncio.gather(*(dependent.aclose() for dependent in self.dependents))
        finally:
            self.closed = True
            await self._channel.close()

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT],
        request: RequestT,
        timeout: float | None = None,  # noqa: ASYNC109 (the server is told it)
    ) -> ResponseT:
        """Make a call, again and again as the policy says, until its deadline.

        The request must be safe to repeat: carry a request id, or be so by nature.

        Args:
            method: of one of the stubs.
            request: the same for every attempt.
            timeout: seconds for all attempts together; None: the client's; `math.inf`: no deadline.

        Raises:
            TocsinError: as the last attempt failed.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self.timeout if timeout is None else timeout)
        attempt = 0
        while True:
            remaining = deadline - loop.time()
            try:
                with self.typed_errors():
                    response = await method(request, timeout=None if math.isinf(remaining) else remaining)
                if response is None:  # as grpc gives back what it cannot deserialize
                    raise ServerError("the answer cannot be read")
                return response
            except TocsinError as error:
                attempt += 1
                delay = self.retry.decide(attempt, error)
                if delay is None or loop.time() + delay >= deadline:
                    raise
            await asyncio.sleep(delay)

    async def stream(
        self, method: grpc.aio.UnaryStreamMultiCallable[RequestT, ResponseT], request: RequestT
    ) -> AsyncIterator[ResponseT]:
        """The messages of a finite server stream. It has no deadline and is not resumed.

        Raises:
            TocsinError: as the stream failed.
        """
        with self.typed_errors():
            call = method(request)
        try:
            with self.typed_errors():
                async for message in call:
                    yield message
        finally:
            call.cancel()

    async def items(
        self, fetch: Callable[[str], Awaitable[PageT]], items: Callable[[PageT], Iterator[ItemT]]
    ) -> AsyncIterator[ItemT]:
        """The items of all pages of a list call; a page is fetched when its first item is asked for.

        Args:
            fetch: makes the call with a page token.
            items: takes a page's items out of it.
        """
        token = ""
        while True:
            page = await fetch(token)
            for item in items(page):
                yield item
            token = page.next_page_token
            if not token:
                return

    @contextmanager
    def typed_errors(self) -> Iterator[None]:
        """Raise the client's errors in place of gRPC's, around whatever starts, reads or writes a call."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from error
        except grpc.aio.UsageError:
            if self.closed:
                raise ClosedError from None
            raise
        except asyncio.CancelledError:
            # Closing a channel cancels its calls, and a cancelled call raises CancelledError in those who await it.
            # Nobody cancelled them, so they must not look like it.
            task = asyncio.current_task()
            if self.closed and task is not None and not task.cancelling():
                raise ClosedError from None
            raise
