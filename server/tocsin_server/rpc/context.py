"""What a call knows of itself, and what the stages before it need from outside."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import grpc

from tocsin_server.domain.access import Principal
from tocsin_server.domain.errors import TocsinError


@dataclass(slots=True)
class CallContext:
    """What a servicer's method is told besides its request."""

    principal: Principal
    trace_parent: str
    """W3C Trace Context `traceparent` that work of this call is linked to; may be empty."""
    deadline: float | None
    """When the caller stops waiting, in `time.monotonic()` seconds."""
    peer: str
    """The caller's address as gRPC names it."""


class Authenticator(Protocol):
    """Tells who calls. Synchronous, as keys are kept in memory: this runs in every call."""

    def authenticate(self, authorization: str | None, peer: str) -> Principal:
        """The caller, from its `authorization` header.

        Raises Unauthenticated, TenantSuspended, CredentialsUnchecked.
        """

    def still_valid(self, principal: Principal) -> TocsinError | None:
        """Why a caller that was let in before is to be let in no more; None: it is welcome."""


class CallRecord(Protocol):
    """One call as telemetry sees it."""

    @property
    def trace_parent(self) -> str:
        """The `traceparent` of the call's own span, sampled or not; empty: go on with the caller's."""

    def end(self, code: grpc.StatusCode, error: BaseException | None) -> None:
        """The call is over. `error` is what ended it when that was not OK. In the same task as `begin`."""


class Telemetry(Protocol):
    """Watches calls. Runs in every one of them, so whatever is not sampled must cost next to nothing."""

    def begin(self, method: str, metadata: Mapping[str, str | bytes]) -> CallRecord:
        """A call came in; `method` is its full name, `/tocsin.v1.NotificationService/Send`."""
