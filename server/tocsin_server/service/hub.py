"""The hub: brings committed changes to the sessions that follow the inbox.

It holds no history. A session whose position is exactly one behind takes an entry's bytes at once; any other reads the
gap from storage. So a hint may be lost, doubled or late without effect on what a subscriber gets.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Mapping

from tocsin_server.domain.inbox import BroadcastChunk, Inbox, InboxChange, InboxErased
from tocsin_server.service.metrics import Metrics
from tocsin_server.service.offered import Offered
from tocsin_server.service.ports import Codec, Committed, Interest
from tocsin_server.service.position import Position

OFFERS_PER_TURN = 64
"""To sessions, before other work has its turn: a Send needs a dozen turns of the event loop until it is answered, and
each may come after so many."""

MOST_WAITING = 5_000
"""Of changes that wait to be offered, of which each 4 KiB of content count as one more. Whoever brings more waits."""

_BYTES_OF_ONE = 4096


class Hub:
    """Who follows which inbox."""

    def __init__(self, codec: Codec, metrics: Metrics, interest: Interest) -> None:
        """`interest` is told of each inbox when it gets its first follower and when it loses its last."""
        self._codec = codec
        self._metrics = metrics
        self._interest = interest
        self._followers: dict[tuple[str, str], list[Position]] = {}
        self._waiting: deque[InboxChange | InboxErased | BroadcastChunk] = deque()
        self._waiting_weight = 0
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

    @property
    def backlog(self) -> int:
        """How much is still to be offered, as MOST_WAITING counts it."""
        return self._waiting_weight

    def compare(self, inboxes: Iterable[tuple[str, str]], heads: Mapping[tuple[str, str], Inbox]) -> None:
        """Has sessions read what they lack, as counter rows from storage show it."""
        # They may show what waits here, which needs no reading.
        self._hand_out_down_to(0)
        for key in inboxes:
            for position in self._followers.get(key, ()):
                position.session.compare(position, heads.get(key))

    def __call__(self, committed: Committed) -> None:
        """Offers what a transaction changed; a `ports.CommitListener`."""
        self.offer((*committed.changes, *committed.chunks))

    def offer(self, changes: Iterable[InboxChange | InboxErased | BroadcastChunk]) -> None:
        """Offers changes to the sessions that follow their inboxes, in their order: few at once, many over some turns.

        Not to be called by a session that is being offered something.
        """
        most = MOST_WAITING
        for change in changes:
            self._waiting.append(change)
            self._waiting_weight += _weight(change)
            if isinstance(change, InboxErased):
                # Whoever has it erased is answered when nothing of it is sent any more.
                most = 0
        self._hand_out_down_to(most)
        if self._waiting and not self._goes_on:
            self._turn()

    def _hand_out_down_to(self, weight: int) -> None:
        while self._waiting and self._waiting_weight > weight:
            self._turn()

    def _turn(self) -> None:
        """Offers what has waited longest. Whatever fails, what waits behind it has its turn."""
        try:
            self._hand_out()
        finally:
            if self._waiting and not self._goes_on:
                self._goes_on = True
                asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._goes_on = False
        if self._waiting:
            self._turn()

    def _hand_out(self) -> None:
        waiting = self._waiting
        offers = 0
        while waiting and offers < OFFERS_PER_TURN:
            change = waiting.popleft()
            self._waiting_weight -= _weight(change)
            if isinstance(change, BroadcastChunk):
                followed = change.changes(self._followers)
                waiting.extendleft(reversed(followed))
                self._waiting_weight += sum(map(_weight, followed))
            else:
                offers += self._offer(change)

    def _offer(self, change: InboxChange | InboxErased) -> int:
        """How many sessions followed its inbox."""
        positions = self._followers.get((change.tenant, change.recipient), ())
        if isinstance(change, InboxErased):
            for position in positions:
                position.session.erased(position, change.incarnation)
        elif positions:
            offered = Offered(change, self._codec)
            self._metrics.hub_deliveries += len(positions)
            for position in positions:
                position.session.offer(position, offered)
        return len(positions)


def _weight(change: InboxChange | InboxErased | BroadcastChunk) -> int:
    if isinstance(change, BroadcastChunk):
        return len(change.entries) + len(change.content) // _BYTES_OF_ONE
    if isinstance(change, InboxErased) or change.content is None:
        return 1
    return 1 + len(change.content) // _BYTES_OF_ONE
