"""Providers: who takes deliveries on which channel."""

from collections.abc import Mapping

from tocsin_server.domain.notification import Channel
from tocsin_server.service.ports import Provider


class Providers:
    """The providers of a server, one a channel. A channel without one goes nowhere: NO_PROVIDER when it is planned."""

    def __init__(self, by_channel: Mapping[Channel, Provider]) -> None:
        self._by_channel = dict(by_channel)

    @property
    def enabled(self) -> Mapping[Channel, str]:
        """The names of the providers."""
        return {channel: provider.name for channel, provider in self._by_channel.items()}

    def provider(self, channel: Channel, name: str) -> Provider | None:
        """The one that a delivery was planned for; None: it is not enabled here any more."""
        provider = self._by_channel.get(channel)
        return provider if provider is not None and provider.name == name else None
