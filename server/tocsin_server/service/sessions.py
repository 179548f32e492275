"""All open streams of this process: their limits, their list with those of other processes, and their end."""

import asyncio
import heapq
import random
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from uuid_utils import uuid7

from tocsin_server.domain.access import Principal, Scope
from tocsin_server.domain.errors import (
    ServerDraining,
    SessionNotFound,
    SessionTerminated,
    StorageUnavailable,
    TocsinError,
    TooManyStreams,
)
from tocsin_server.domain.time import SECOND
from tocsin_server.service.paging import Page, PageTokens, effective_page_size
from tocsin_server.service.ports import Presence, SessionInfo, SessionQuery
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
        presence: Presence,
        instance_id: str,
    ) -> None:
        self._parts = parts
        self._page_tokens = page_tokens
        self._limits = limits
        self._still_valid = still_valid
        self._presence = presence
        self._instance_id = instance_id
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
        self._presence.opened(session.id, principal.tenant)
        return session

    async def list(
        self, principal: Principal, recipient: str, all_tenants: bool, page_size: int, page_token: str
    ) -> Page[SessionInfo]:
        """Open sessions of all replicas by id. Raises PageTokenInvalid, ScopeMissing."""
        if all_tenants:
            principal.require_scope(Scope.OPERATOR)
        asked = (None if all_tenants else principal.tenant, recipient)
        after = self._page_tokens.open("sessions", asked, page_token) or ""
        size = effective_page_size(page_size)
        # One more than is shown tells whether there is another page.
        query = SessionQuery(None if all_tenants else principal.tenant, recipient, after, size + 1)
        found = [*self.find(query), *await self._presence.sessions(query)]
        found.sort(key=lambda session: session.id)
        token = self._page_tokens.seal("sessions", asked, found[size - 1].id) if len(found) > size else ""
        return Page(found[:size], token)

    def find(self, query: SessionQuery) -> Sequence[SessionInfo]:
        """The sessions of this process, by id."""
        found = (
            session
            for session in self._sessions.values()
            if session.id > query.after
            and query.tenant in (None, session.principal.tenant)
            and (not query.recipient or query.recipient in session.positions)
        )
        first = heapq.nsmallest(query.limit, found, key=lambda session: session.id)
        return [session.info(self._instance_id) for session in first]

    async def terminate(self, principal: Principal, session_id: str) -> None:
        """Ends a session of the caller's tenant, an operator's of any, on any replica. Raises SessionNotFound."""
        tenant = None if Scope.OPERATOR in principal.scopes else principal.tenant
        if not self.end(session_id, tenant) and not await self._presence.terminate(session_id, tenant):
            raise SessionNotFound(session_id=session_id)

    def end(self, session_id: str, tenant: str | None) -> bool:
        """Ends a session of the tenant, of any for None; False: this process holds none."""
        session = self._sessions.get(session_id)
        if session is None or tenant not in (None, session.principal.tenant):
            return False
        session.end(SessionTerminated())
        return True

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

    def end_all(self) -> None:
        """Has everyone connect again, because what their positions stand on has changed."""
        for session in self:
            session.end(StorageUnavailable(detail="the store began a new epoch"))

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
        self._presence.closed(session.id)
        _count_out(self._by_tenant, session.principal.tenant)
        _count_out(self._by_key, (session.principal.tenant, session.principal.name))


def _count_out(counter: Counter[Key], key: Key) -> None:
    """One less; what is at zero is forgotten."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
