"""All open streams of this process: their limits, their list, and their end."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from uuid_utils import uuid7

from tocsin_server.domain.access import Principal, Scope
from tocsin_server.domain.errors import (
    ServerDraining,
    SessionNotFound,
    SessionTerminated,
    TocsinError,
    TooManyStreams,
)
from tocsin_server.domain.time import SECOND
from tocsin_server.service.paging import Page, PageTokens, effective_page_size
from tocsin_server.service.session import Session, SessionKind, SessionOptions, SessionParts

Key = TypeVar("Key", bound=Hashable)

PULSE_SECONDS = 0.5
"""How often every session is looked at: for credentials that have ended, and for heartbeats."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How many streams may be open."""

    per_key: int
    per_tenant: Callable[[str], int]


class Sessions:
    """Opens sessions and looks after them."""

    def __init__(
        self,
        parts: SessionParts,
        page_tokens: PageTokens,
        limits: StreamLimits,
        still_valid: Callable[[Principal], TocsinError | None],
    ) -> None:
        self._parts = parts
        self._page_tokens = page_tokens
        self._limits = limits
        self._still_valid = still_valid
        self._sessions: dict[str, Session] = {}
        self._by_tenant: Counter[str] = Counter()
        self._by_key: Counter[tuple[str, str]] = Counter()
        self._draining = False

    def open(self, principal: Principal, kind: SessionKind, peer: str, options: SessionOptions) -> Session:
        """A new session without recipients. Raises TooManyStreams, ServerDraining. The caller must close it."""
        if self._draining:
            raise ServerDraining
        key = (principal.tenant, principal.name)
        limit = self._limits.per_tenant(principal.tenant)
        if limit and self._by_tenant[principal.tenant] >= limit:
            raise TooManyStreams(limit=limit)
        if self._by_key[key] >= self._limits.per_key:
            raise TooManyStreams(limit=self._limits.per_key)
        session = Session(str(uuid7()), principal, kind, peer, options, self._parts, self._closed)
        self._sessions[session.id] = session
        self._by_tenant[principal.tenant] += 1
        self._by_key[key] += 1
        return session

    def list(
        self, principal: Principal, recipient: str, all_tenants: bool, page_size: int, page_token: str
    ) -> Page[Session]:
        """Open sessions by id. Raises PageTokenInvalid, ScopeMissing."""
        if all_tenants:
            principal.require_scope(Scope.OPERATOR)
        asked = (None if all_tenants else principal.tenant, recipient)
        after = self._page_tokens.open("sessions", asked, page_token) or ""
        size = effective_page_size(page_size)
        found = sorted(
            (
                session
                for session in self._sessions.values()
                if session.id > after
                and (all_tenants or session.principal.tenant == principal.tenant)
                and (not recipient or recipient in session.positions)
            ),
            key=lambda session: session.id,
        )
        token = self._page_tokens.seal("sessions", asked, found[size - 1].id) if len(found) > size else ""
        return Page(found[:size], token)

    def terminate(self, principal: Principal, session_id: str) -> None:
        """Ends a session of the caller's tenant, an operator's of any. Raises SessionNotFound."""
        session = self._sessions.get(session_id)
        if session is None or (
            session.principal.tenant != principal.tenant and Scope.OPERATOR not in principal.scopes
        ):
            raise SessionNotFound(session_id=session_id)
        session.end(SessionTerminated())

    @property
    def count(self) -> int:
        """Open sessions."""
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        """A snapshot of the open sessions."""
        return iter(tuple(self._sessions.values()))

    async def pulse(self) -> None:
        """Looks at every session, for ever: run it as a task."""
        while True:
            await asyncio.sleep(PULSE_SECONDS)
            now = time.monotonic()
            for session in self:
                error = self._still_valid(session.principal)
                if error is not None:
                    session.end(error)
                session.pulse(now)

    async def drain(self, seconds: float) -> None:
        """Ends every session, evenly spread over the time, and takes no new ones."""
        self._draining = True
        sessions = list(self)
        random.shuffle(sessions)
        started = time.monotonic()
        for index, session in enumerate(sessions):
            delay = started + seconds * index / len(sessions) - time.monotonic()
            if delay > 0:
                await asyncio.sleep(delay)
            ending = ServerDraining()
            ending.retry_delay = int(random.uniform(0.1, 1.0) * SECOND)  # noqa: S311  # jitter, not a secret
            session.end(ending)

    def _closed(self, session: Session) -> None:
        del self._sessions[session.id]
        _count_out(self._by_tenant, session.principal.tenant)
        _count_out(self._by_key, (session.principal.tenant, session.principal.name))


def _count_out(counter: Counter[Key], key: Key) -> None:
    """One less; what is at zero is forgotten."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
