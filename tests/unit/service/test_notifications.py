"""What a notification's sender is shown of it."""

from types import SimpleNamespace
from typing import Any, cast

from tests.support.streams import ANYONE
from tocsin_server.service.notifications import Notifications


class Rows:
    """One notification, whose delivery goes out after the first look at it or at its timeline."""

    def __init__(self) -> None:
        self._gone_out = False

    async def notification(self, tenant: str, id: bytes) -> Any:
        return SimpleNamespace(recipient="ada", category="orders")

    async def timeline(self, tenant: str, id: bytes, limit: int) -> list[str]:
        found, self._gone_out = ["sent"] if self._gone_out else [], True
        return found

    async def deliveries(self, tenant: str, id: bytes, limit: int) -> list[str]:
        found, self._gone_out = ["sent" if self._gone_out else "pending"], True
        return found


async def test_a_timeline_tells_of_all_that_has_become_of_deliveries() -> None:
    rows = cast(Any, Rows())
    nothing = cast(Any, None)
    notifications = Notifications(nothing, rows, rows, nothing, nothing, nothing, 0)
    found = await notifications.get(ANYONE, bytes(16))
    assert cast(Any, (found.deliveries, found.timeline)) == (["pending"], ["sent"])
