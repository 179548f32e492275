"""A gRPC client that costs next to nothing: HTTP/2 frames, written and read by hand.

On two cores, a client built on a gRPC library takes as much time as the server that it is to measure, and hides half of
it. This one does what the measured calls need, and no more: requests that are encoded already, one message each,
responses as bytes, the status of every call (RFC 9113; https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).

The server is told to use no dynamic header table, so a trailer is the same bytes each time and needs no decoding.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Self, cast

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM = _ACK = 0x1
_END_HEADERS = 0x4
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 1, 2, 4, 5
_LARGEST_WINDOW = 2**31 - 1
_DEFAULT_WINDOW = 65_535
_FRAME_BYTES = 16_384
"""The largest frame that a server takes unless it says otherwise."""
_GIVEN_BACK_AT = 16 * 2**20

_OK = b"grpc-status\x010"
_METHOD_POST, _SCHEME_HTTP, _PATH, _AUTHORITY = b"\x83", b"\x86", b"\x44", b"\x41"
_CONTENT_TYPE = b"\x5f\x10application/grpc"
_TE = b"\x40\x02te\x08trailers"
_TIMEOUT = b"\x40\x0cgrpc-timeout\x04600S"
_FIRST_DYNAMIC = 62


class CallFailed(Exception):
    """A call ended with another status than OK, or its connection ended before it."""


def framed(message: bytes) -> bytes:
    """A message as gRPC puts it into a stream."""
    return b"\0" + len(message).to_bytes(4) + message


class Call:
    """A call that is under way."""

    __slots__ = ("_body", "on_end", "on_message", "stream_id", "unreturned", "window")

    def __init__(
        self,
        stream_id: int,
        window: int,
        on_message: Callable[[bytes], None],
        on_end: Callable[[str], None],
    ) -> None:
        self.stream_id = stream_id
        self.window = window
        self.on_message = on_message
        self.on_end = on_end
        """Called with what went wrong; empty: the status was OK."""
        self.unreturned = 0
        self._body = bytearray()

    def feed(self, data: bytes) -> None:
        """A part of the stream came in."""
        body = self._body
        if not body and len(data) >= 5 and int.from_bytes(data[1:5]) == len(data) - 5:
            # The usual case: exactly one message.
            self.on_message(data[5:])
            return
        body += data
        start = 0
        while len(body) - start >= 5:
            end = start + 5 + int.from_bytes(body[start + 1 : start + 5])
            if len(body) < end:
                break
            self.on_message(bytes(body[start + 5 : end]))
            start = end
        del body[:start]


class Connection(asyncio.Protocol):
    """One connection. Use as: `await Connection.open(address)`, calls, `close`."""

    def __init__(self, authority: str) -> None:
        self._authority = _AUTHORITY + _text(authority.encode())
        self._transport: asyncio.Transport
        self._received = bytearray()
        self._calls: dict[int, Call] = {}
        self._next_stream_id = 1
        self._table: list[bytes] = []
        """The headers in the server's dynamic table, the newest first."""
        self._blocks: dict[str, bytes] = {}
        self._window = _DEFAULT_WINDOW
        self._initial_window = _DEFAULT_WINDOW
        self._unreturned = 0
        self._waiting: deque[tuple[Call, bytes, bool]] = deque()
        self._settled = asyncio.get_running_loop().create_future()
        self._closed = False

    @classmethod
    async def open(cls, address: str) -> Self:
        """A connection whose settings are agreed on."""
        host, port = address.rsplit(":", 1)
        _, protocol = await asyncio.get_running_loop().create_connection(
            lambda: cls(address), host, int(port)
        )
        await protocol._settled
        return protocol

    def call(
        self,
        path: str,
        message: bytes,
        on_message: Callable[[bytes], None],
        on_end: Callable[[str], None],
        *,
        more: bool = False,
    ) -> Call:
        """Begins a call with its first message, framed; with `more`, others follow by `send`."""
        call = Call(self._next_stream_id, self._initial_window, on_message, on_end)
        self._next_stream_id += 2
        self._calls[call.stream_id] = call
        headers = self._headers(path)
        self._transport.write(_frame(_HEADERS, _END_HEADERS, call.stream_id, headers))
        self.send(call, message, more=more)
        return call

    def send(self, call: Call, message: bytes, *, more: bool = True) -> None:
        """One more message, framed; without `more`, the last one. An empty one only ends the requests."""
        for start in range(0, len(message) or 1, _FRAME_BYTES):
            part = message[start : start + _FRAME_BYTES]
            self._waiting.append((call, part, not more and start + _FRAME_BYTES >= len(message)))
        self._flush()

    async def unary(self, path: str, message: bytes) -> bytes:
        """The response of a call, for a message that is not framed. Raises CallFailed."""
        responses: list[bytes] = []
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        call = self.call(path, framed(message), responses.append, ended.set_result)
        problem = await self.outcome(call, ended)
        if problem:
            raise CallFailed(f"{path}: {problem}")
        return responses[0]

    async def outcome(self, call: Call, ended: asyncio.Future[str]) -> str:
        """What `on_end` is told of a call, which is given up when nobody waits for it any more."""
        try:
            return await ended
        except asyncio.CancelledError:
            self.cancel(call)
            raise

    def cancel(self, call: Call) -> None:
        """Gives a call up; nothing more is heard of it."""
        if self._calls.pop(call.stream_id, None) is not None:
            self._transport.write(_frame(_RST_STREAM, 0, call.stream_id, (8).to_bytes(4)))

    def close(self) -> None:
        """Ends the connection; nothing more is heard of its calls."""
        self._calls.clear()
        self._closed = True
        self._transport.close()

    def _headers(self, path: str) -> bytes:
        """A header block that leaves in the server's table what comes again (RFC 7541)."""
        known = self._blocks.get(path)
        if known is not None:
            return known
        block, table = _METHOD_POST + _SCHEME_HTTP, self._table
        before = len(table)
        for header in (self._authority, _PATH + _text(path.encode()), _CONTENT_TYPE, _TE, _TIMEOUT):
            if header in table:
                block += bytes((0x80 | _FIRST_DYNAMIC + table.index(header),))
            else:
                block += header
                table.insert(0, header)
        if len(table) == before:
            self._blocks[path] = block
        else:
            self._blocks.clear()
        return block

    def _flush(self) -> None:
        waiting = self._waiting
        while waiting:
            call, part, last = waiting[0]
            if len(part) > min(self._window, call.window):
                return
            waiting.popleft()
            self._window -= len(part)
            call.window -= len(part)
            self._transport.write(_frame(_DATA, _END_STREAM if last else 0, call.stream_id, part))

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        settings = b"".join(
            name.to_bytes(2) + value.to_bytes(4)
            for name, value in (
                (_HEADER_TABLE_SIZE, 0),
                (_ENABLE_PUSH, 0),
                (_INITIAL_WINDOW_SIZE, _LARGEST_WINDOW),
                (_MAX_FRAME_SIZE, 2**24 - 1),
            )
        )
        window = (_LARGEST_WINDOW - _DEFAULT_WINDOW).to_bytes(4)
        self._transport.write(
            _PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, window)
        )

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        start, available = 0, len(received)
        while available - start >= 9:
            end = start + 9 + int.from_bytes(received[start : start + 3])
            if end > available:
                break
            kind, flags = received[start + 3], received[start + 4]
            stream_id = int.from_bytes(received[start + 5 : start + 9])
            self._take(kind, flags, stream_id, bytes(received[start + 9 : end]))
            start = end
        del received[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_all(f"the connection ended: {exc}")

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == _DATA:
            self._take_data(stream_id, payload)
        elif kind == _HEADERS:
            if flags & _END_STREAM:
                call = self._calls.pop(stream_id, None)
                if call is not None:
                    call.on_end("" if _OK in payload else repr(payload))
        elif kind == _WINDOW_UPDATE:
            self._widen(stream_id, int.from_bytes(payload))
        elif kind == _PING:
            if not flags & _ACK:
                self._transport.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _SETTINGS:
            if not flags & _ACK:
                self._take_settings(payload)
        elif kind == _RST_STREAM:
            call = self._calls.pop(stream_id, None)
            # NO_ERROR after the trailers only says that no more requests are wanted.
            if call is not None:
                call.on_end(f"reset with code {int.from_bytes(payload)}")
        elif kind == _GOAWAY:
            self._end_all(f"the server went away: {payload!r}")

    def _take_data(self, stream_id: int, payload: bytes) -> None:
        self._unreturned += len(payload)
        if self._unreturned >= _GIVEN_BACK_AT:
            self._transport.write(_frame(_WINDOW_UPDATE, 0, 0, self._unreturned.to_bytes(4)))
            self._unreturned = 0
        call = self._calls.get(stream_id)
        if call is None:
            return
        call.unreturned += len(payload)
        if call.unreturned >= _GIVEN_BACK_AT:
            self._transport.write(_frame(_WINDOW_UPDATE, 0, stream_id, call.unreturned.to_bytes(4)))
            call.unreturned = 0
        call.feed(payload)

    def _take_settings(self, payload: bytes) -> None:
        for start in range(0, len(payload), 6):
            name, value = (
                int.from_bytes(payload[start : start + 2]),
                int.from_bytes(payload[start + 2 : start + 6]),
            )
            if name == _INITIAL_WINDOW_SIZE:
                for call in self._calls.values():
                    call.window += value - self._initial_window
                self._initial_window = value
        self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
        if not self._settled.done():
            self._settled.set_result(None)
        self._flush()

    def _widen(self, stream_id: int, count: int) -> None:
        if stream_id == 0:
            self._window += count
        elif stream_id in self._calls:
            self._calls[stream_id].window += count
        self._flush()

    def _end_all(self, problem: str) -> None:
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.on_end(problem)
        if not self._settled.done():
            self._settled.set_exception(CallFailed(problem))


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream_id.to_bytes(4) + payload


def _text(value: bytes) -> bytes:
    assert len(value) < 0x7F
    return bytes((len(value),)) + value
