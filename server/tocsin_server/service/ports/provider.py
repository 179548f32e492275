"""What takes deliveries."""

from typing import Protocol

from tocsin_server.domain.delivery import Attempted, OutgoingMessage


class Provider(Protocol):
    """Takes what goes out on a channel."""

    @property
    def name(self) -> str:
        """What it is called in plans and deliveries."""

    async def send(self, message: OutgoingMessage) -> Attempted:
        """Hands one message over; what came of it.

        Called at least once for a delivery, and perhaps again after a call whose result was lost: the message's
        idempotency key is then the same. Expected failures are returned; whatever is raised counts as Failed. Is
        cancelled after a while, which counts as Failed too.
        """
