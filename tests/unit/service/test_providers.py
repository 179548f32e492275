"""Who takes deliveries on which channel."""

from tests.support.deliveries import HeldProvider
from tocsin_server.domain.notification import Channel
from tocsin_server.service.providers import Providers


def test_a_delivery_finds_the_provider_that_it_was_planned_for() -> None:
    log = HeldProvider()
    providers = Providers({Channel.EMAIL: log, Channel.SMS: log})
    assert providers.enabled == {Channel.EMAIL: "log", Channel.SMS: "log"}
    assert providers.provider(Channel.SMS, "log") is log
    assert providers.provider(Channel.SMS, "another") is None  # which was enabled when it was planned
    assert providers.provider(Channel.PUSH, "log") is None
