"""Makes and opens unsubscribe tokens for the store that is open."""

from tocsin_server.domain.unsubscribe import (
    Subscription,
    open_subscription,
    seal_subscription,
    unsubscribe_key,
)
from tocsin_server.service.ports import StoreFacts


class UnsubscribeTokens:
    """For whoever sends mail, and for whoever redeems what was in it."""

    def __init__(self, facts: StoreFacts) -> None:
        self._key = unsubscribe_key(facts.cursor_key)

    def token(self, subscription: Subscription) -> str:
        """The token that ends a subscription. It never expires."""
        return seal_subscription(self._key, subscription)

    def open(self, token: str) -> Subscription:
        """What a token is about. Raises UnsubscribeTokenInvalid."""
        return open_subscription(self._key, token)
