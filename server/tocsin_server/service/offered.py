"""A committed change as the hub offers it to sessions."""

from tocsin_server.domain.inbox import InboxChange
from tocsin_server.domain.time import Micros
from tocsin_server.service.ports import Codec


class Offered:
    """A committed change on its way to sessions; encoded when the first of them takes it, and only once."""

    __slots__ = ("_codec", "_plain", "_traced", "change", "size")

    def __init__(self, change: InboxChange, codec: Codec) -> None:
        self.change = change
        self.size = len(change.content or b"") + len(change.envelope)
        """Bytes that it takes in a buffer."""
        self._codec = codec
        self._plain: bytes | None = None
        self._traced: bytes | None = None

    def expires_by(self, now: Micros) -> bool:
        """Whether its time is over by then."""
        return self.change.expire_time is not None and self.change.expire_time <= now

    def notification(self, with_trace: bool) -> bytes:
        """The encoded Notification."""
        if with_trace:
            if self._traced is None:
                self._traced = self._codec.fresh_notification(self.change, with_trace=True)
            return self._traced
        if self._plain is None:
            self._plain = self._codec.fresh_notification(self.change, with_trace=False)
        return self._plain
