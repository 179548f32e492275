"""The hub: brings committed changes to the sessions that follow the inbox.

It holds no history. A session whose position is exactly one behind takes an entry's bytes at once; any other reads the
gap from storage. So a hint may be lost, doubled or late without effect on what a subscriber gets.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence

from tocsin_server.domain.inbox import BroadcastChunk, Inbox, InboxChange, InboxErased
from tocsin_server.service.metrics import Metrics
from tocsin_server.service.offered import Offered
from tocsin_server.service.ports import Codec, Committed, Interest
from tocsin_server.service.position import Position

AT_ONE_GO = 64
"""Changes that are offered before others have their turn: a Send needs a dozen turns of the event loop until it is
answered, and each may come after so many."""

MOST_WAITING = 5_000
"""Of changes that wait for their turn. Beyond it whoever brings more waits for them: some 20 ms of work."""


class Hub:
    """Who follows which inbox."""

    def __init__(self, codec: Codec, metrics: Metrics, interest: Interest) -> None:
        """`interest` is told of each inbox when it gets its first follower and when it loses its last."""
        self._codec = codec
        self._metrics = metrics
        self._interest = interest
        self._followers: dict[tuple[str, str], list[Position]] = {}
        self._waiting: deque[InboxChange | InboxErased | BroadcastChunk] = deque()
        self._waiting_count = 0
        self._goes_on = False
        """Another turn is coming."""

    def follow(self, tenant: str, position: Position) -> None:
        """From now on the position's session is offered every change of its recipient."""
        followers = self._followers.get((tenant, position.recipient))
        if followers is not None:
            followers.append(position)
            return
        self._followers[tenant, position.recipient] = [position]
        self._interest.follow(tenant, position.recipient)

    def unfollow(self, tenant: str, position: Position) -> None:
        """No more offers."""
        key = (tenant, position.recipient)
        followers = self._followers.get(key, [])
        if position in followers:
            followers.remove(position)
            if not followers:
                del self._followers[key]
                self._interest.unfollow(*key)

    @property
    def followed_count(self) -> int:
        """How many inboxes are followed."""
        return len(self._followers)

    @property
    def inboxes(self) -> Collection[tuple[str, str]]:
        """The tenants and recipients of the inboxes that are followed; may be asked by any thread."""
        return self._followers.keys()

    def followed(self) -> dict[str, list[str]]:
        """The recipients that are followed, by tenant."""
        by_tenant: dict[str, list[str]] = {}
        for tenant, recipient in self._followers:
            by_tenant.setdefault(tenant, []).append(recipient)
        return by_tenant

    @property
    def waiting_count(self) -> int:
        """Changes that are still to be offered."""
        return self._waiting_count

    def compare(self, tenant: str, recipients: Sequence[str], heads: Mapping[str, Inbox]) -> None:
        """Has sessions read what they lack, as counter rows from storage show it."""
        for recipient in recipients:
            for position in self._followers.get((tenant, recipient), ()):
                position.session.compare(position, heads.get(recipient))

    def __call__(self, committed: Committed) -> None:
        """Offers what a transaction changed; a `ports.CommitListener`."""
        self.offer(committed.changes)
        for chunk in committed.chunks:
            self._wait(chunk, len(chunk.entries))
        self._begin()

    def offer(self, changes: Iterable[InboxChange | InboxErased]) -> None:
        """Offers changes to the sessions that follow their inboxes: in their order, and all that are few at once."""
        for change in changes:
            self._wait(change, 1)
        self._begin()

    def _wait(self, what: InboxChange | InboxErased | BroadcastChunk, count: int) -> None:
        self._waiting.append(what)
        self._waiting_count += count

    def _begin(self) -> None:
        while self._waiting_count > MOST_WAITING:
            self._hand_out()
        if not self._goes_on:
            self._go_on()

    def _go_on(self) -> None:
        try:
            self._hand_out()
        finally:
            self._goes_on = bool(self._waiting)
            if self._goes_on:
                asyncio.get_running_loop().call_soon(self._go_on)

    def _hand_out(self) -> None:
        """Offers what has waited longest."""
        waiting = self._waiting
        offered = 0
        while waiting and offered < AT_ONE_GO:
            what = waiting.popleft()
            if isinstance(what, BroadcastChunk):
                changes = what.changes(self._followers)
                self._waiting_count += len(changes) - len(what.entries)
                waiting.extendleft(reversed(changes))
                continue
            offered += 1
            self._waiting_count -= 1
            self._offer(what)

    def _offer(self, change: InboxChange | InboxErased) -> None:
        positions = self._followers.get((change.tenant, change.recipient))
        if positions is None:
            return
        if isinstance(change, InboxErased):
            for position in positions:
                position.session.erased(position, change.incarnation)
            return
        offered = Offered(change, self._codec)
        self._metrics.hub_deliveries += len(positions)
        for position in positions:
            position.session.offer(position, offered)
