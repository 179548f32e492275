"""The hub: brings committed changes to the sessions that follow the inbox.

It holds no history. A session whose position is exactly one behind takes an entry's bytes at once; any other reads the
gap from storage. So a hint may be lost, doubled or late without effect on what a subscriber gets.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from tocsin_server.domain.inbox import Inbox, InboxChange, InboxErased
from tocsin_server.service.metrics import Metrics
from tocsin_server.service.offered import Offered
from tocsin_server.service.ports import Codec, Committed, Interest
from tocsin_server.service.position import Position


class Hub:
    """Who follows which inbox."""

    def __init__(self, codec: Codec, metrics: Metrics, interest: Interest) -> None:
        """`interest` is told of each inbox when it gets its first follower and when it loses its last."""
        self._codec = codec
        self._metrics = metrics
        self._interest = interest
        self._followers: dict[tuple[str, str], list[Position]] = {}

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

    def compare(self, tenant: str, recipients: Sequence[str], heads: Mapping[str, Inbox]) -> None:
        """Has sessions read what they lack, as counter rows from storage show it."""
        for recipient in recipients:
            for position in self._followers.get((tenant, recipient), ()):
                position.session.compare(position, heads.get(recipient))

    def __call__(self, committed: Committed) -> None:
        """Offers what a transaction changed; a `ports.CommitListener`."""
        self.offer(committed.changes)
        for chunk in committed.chunks:
            self.offer(chunk.changes(self._followers))

    def offer(self, changes: Iterable[InboxChange | InboxErased]) -> None:
        """Offers changes to the sessions that follow their inboxes."""
        followers = self._followers
        codec = self._codec
        for change in changes:
            positions = followers.get((change.tenant, change.recipient))
            if positions is None:
                continue
            if isinstance(change, InboxErased):
                for position in positions:
                    position.session.erased(position, change.incarnation)
                continue
            offered = Offered(change, codec)
            self._metrics.hub_deliveries += len(positions)
            for position in positions:
                position.session.offer(position, offered)
