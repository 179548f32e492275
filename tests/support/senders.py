"""What sends, made on a store as `bootstrap` makes it."""

from collections.abc import Mapping

from tests.support.desk import CODEC
from tocsin_server.content.renderer import LiquidRenderer
from tocsin_server.domain.notification import Channel
from tocsin_server.service.cursors import Cursors
from tocsin_server.service.facts import SendFacts
from tocsin_server.service.paging import PageTokens
from tocsin_server.service.policies import Policies
from tocsin_server.service.ports import Clock, Writer
from tocsin_server.service.rates import Rates, SendRates
from tocsin_server.service.releases import Releases
from tocsin_server.service.sending import Sending
from tocsin_server.service.template_cache import TemplateCache
from tocsin_server.service.templates import Templates
from tocsin_server.store.store import Store

UNLIMITED = SendRates(lambda tenant: 0, lambda: 0.0)


def facts_of(store: Store, providers: Mapping[Channel, str] | None = None) -> SendFacts:
    """What drafts are made from."""
    return SendFacts(Policies(store.policies), store.recipients, providers or {})


def templates_of(store: Store, clock: Clock) -> Templates:
    """The templates of the store."""
    renderer = LiquidRenderer()
    cache = TemplateCache(store.templates, renderer, CODEC)
    page_tokens = PageTokens(store.facts.cursor_key)
    return Templates(store.writer, store.templates, renderer, CODEC, page_tokens, clock, cache)


def sending_on(
    store: Store,
    cursors: Cursors,
    clock: Clock,
    *,
    rates: Rates = UNLIMITED,
    facts: SendFacts | None = None,
    max_content_bytes: int = 1 << 20,
) -> Sending:
    """Sends to the store."""
    return Sending(
        store.writer,
        store.plans,
        CODEC,
        cursors,
        clock,
        rates,
        facts or facts_of(store),
        templates_of(store, clock),
        max_content_bytes,
    )


def releases_on(
    store: Store, clock: Clock, *, writer: Writer | None = None, facts: SendFacts | None = None
) -> Releases:
    """Lets timers of the store take effect."""
    return Releases(
        writer or store.writer, store.plans, clock, facts or facts_of(store), templates_of(store, clock)
    )
