"""What knows the wire format."""

from collections.abc import Sequence
from typing import Protocol

from tocsin_server.domain.content import Content
from tocsin_server.domain.entry import StoredEntry
from tocsin_server.domain.inbox import Counts, InboxChange
from tocsin_server.domain.notification import NotificationSpec
from tocsin_server.domain.sending import Draft
from tocsin_server.domain.template import TemplateDefinition
from tocsin_server.domain.time import Micros


class Codec(Protocol):
    """Turns values into wire bytes. What is sent many times is encoded once; messages are made by joining bytes."""

    def fingerprint(self, request: object) -> bytes:
        """A versioned hash of a request's meaning, equal for equal values."""

    def content(self, encoded: bytes) -> Content:
        """What a notification's encoded field `content` says."""

    def encode_content(self, content: Content) -> bytes:
        """A notification's encoded field `content`, with its plain text.

        Raises InvalidFields where the content breaks the rules that hold for those that senders write; fields begin
        with `content`.
        """

    def encode_definition(self, definition: TemplateDefinition) -> bytes:
        """A template's definition as it is kept."""

    def definition(self, encoded: bytes) -> TemplateDefinition:
        """What an encoded definition says."""

    def envelope(self, draft: Draft, spec: NotificationSpec) -> bytes:
        """The notification's fields that never change, but for the trace parent."""

    def shared_envelope(self, draft: Draft, spec: NotificationSpec) -> bytes:
        """The same for entries that are alike but for their ids and their recipients, which it leaves out."""

    def trace(self, trace_parent: str) -> bytes:
        """The notification's `trace_parent` field; empty for an empty one."""

    def trace_parent(self, encoded: bytes) -> str:
        """What the encoded field `trace_parent` says; empty for an empty one."""

    def fresh_notification(self, change: InboxChange, *, with_trace: bool) -> bytes:
        """A Notification that has just been stored; only for a change that has its content."""

    def stored_notification(self, entry: StoredEntry, *, with_trace: bool) -> bytes:
        """A Notification as it is stored."""

    def recipient(self, recipient: str) -> bytes:
        """An event's `recipient` field."""

    def cursor(self, token: bytes) -> bytes:
        """An event's `cursor` field; empty for an empty one."""

    def entry_event(self, recipient: bytes, notification: bytes, cursor: bytes) -> bytes:
        """An `events` field with a notification; `recipient` and `cursor` are encoded fields."""

    def summary_event(self, recipient: bytes, counts: Counts, cursor: bytes) -> bytes:
        """An `events` field with a summary; `recipient` and `cursor` are encoded fields."""

    def reset_event(self, recipient: str, reason: str, oldest_cursor: str, cursor: str) -> bytes:
        """An `events` field with a reset."""

    def opening(self, session_id: str) -> bytes:
        """The `session_id` field of a stream's first message."""

    def progress(self, positions: Sequence[tuple[str, str]], now: Micros) -> bytes:
        """The `progress` field: (recipient, cursor) of those that moved."""
