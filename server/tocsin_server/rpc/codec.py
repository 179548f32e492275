"""Notifications and stream messages as bytes: the `Codec` port.

What is sent to many is encoded once, and what is sent often is joined from encoded fields, so that no message object is
made between storage and the wire.
"""

from collections.abc import Sequence
from hashlib import blake2b

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from tocsin.v1 import error_reason_pb2, inbox_service_pb2, notification_pb2, template_service_pb2
from tocsin_server.domain.content import Content
from tocsin_server.domain.entry import StoredEntry
from tocsin_server.domain.ids import ID_CHARS, format_id
from tocsin_server.domain.inbox import Attention, Counts, InboxChange, Shelf, Status, attention_of, shelf_of
from tocsin_server.domain.notification import Actor, NotificationSpec, NotificationState, Priority
from tocsin_server.domain.sending import Draft
from tocsin_server.domain.template import TemplateDefinition
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.rpc.convert.content import content_from, content_message, shown_content
from tocsin_server.rpc.convert.templates import definition_from, definition_message
from tocsin_server.rpc.rules import ContentRules
from tocsin_server.rpc.validation import Shape
from tocsin_server.rpc.wire import delimited, tag, varint

_FINGERPRINT_VERSION = b"\x01"
_FINGERPRINT_BYTES = 16
_TRUE = b"\x01"


class WireCodec:
    """Implements `service.ports.Codec` in protobuf's wire format."""

    def __init__(self) -> None:
        self._pack = msgspec.msgpack.Encoder(order="deterministic").encode
        self._notification = _NotificationTags()
        self._stream = _StreamTags()
        self._state = _StateEncoder()
        self._content_shape = Shape(ContentRules())
        # Read at every entry of every stream.
        self._revision = self._notification.revision

    def fingerprint(self, request: object) -> bytes:
        """A version byte and a hash of the request, which msgspec can pack."""
        # A value is packed with the names of its fields, which tells the kinds of a union apart.
        packed = self._pack((type(request).__name__, request))
        return _FINGERPRINT_VERSION + blake2b(packed, digest_size=_FINGERPRINT_BYTES).digest()

    # --- parts of a notification --------------------------------------------------------------------------------------

    def content(self, encoded: bytes) -> Content:
        """What the encoded field `content` says."""
        return content_from(notification_pb2.Notification.FromString(encoded).content)

    def encode_content(self, content: Content) -> bytes:
        """The field `content`, with its plain text. Raises InvalidFields."""
        message = content_message(content)
        encoded = message.SerializeToString()
        self._content_shape.check(message, encoded, "content.")
        return shown_content(encoded, None if content.fallback_text else content.kind)

    def encode_definition(self, definition: TemplateDefinition) -> bytes:
        """A TemplateDefinition."""
        return definition_message(definition).SerializeToString()

    def definition(self, encoded: bytes) -> TemplateDefinition:
        """What a TemplateDefinition says."""
        return definition_from(template_service_pb2.TemplateDefinition.FromString(encoded))

    def envelope(self, draft: Draft, spec: NotificationSpec) -> bytes:
        """All fields that never change, but for the trace parent."""
        return self._identity(draft.id, draft.recipient) + self.shared_envelope(draft, spec)

    def shared_envelope(self, draft: Draft, spec: NotificationSpec) -> bytes:
        """The envelope of entries that are alike but for their ids and their recipients, which it leaves out."""
        tags = self._notification
        category = draft.category.encode()
        fields = [
            tags.category,
            varint(len(category)),
            category,
            tags.priorities[draft.priority],
            self._state.times.field(tags.create_time, draft.create_time),
        ]
        if draft.expire_time is not None:
            fields.append(self._state.times.field(tags.expire_time, draft.expire_time))
        if draft.thread:
            fields.append(delimited(tags.thread, draft.thread.encode()))
        if spec.actor is not None:
            fields.append(delimited(tags.actor, self._actor(spec.actor)))
        for key, value in spec.attributes.items():
            pair = delimited(tags.attribute_key, key.encode()) + delimited(
                tags.attribute_value, value.encode()
            )
            fields.append(delimited(tags.attributes, pair))
        return b"".join(fields)

    def _identity(self, id: bytes, recipient: str) -> bytes:
        tags, encoded = self._notification, recipient.encode()
        return b"".join((tags.id, format_id(id).encode(), tags.recipient, varint(len(encoded)), encoded))

    def _actor(self, actor: Actor) -> bytes:
        tags = self._notification
        encoded = delimited(tags.actor_id, actor.id.encode())
        if actor.name:
            encoded += delimited(tags.actor_name, actor.name.encode())
        if actor.avatar_url:
            encoded += delimited(tags.actor_avatar_url, actor.avatar_url.encode())
        return encoded

    def trace(self, trace_parent: str) -> bytes:
        """The field `trace_parent`; empty for an empty one."""
        return delimited(self._notification.trace_parent, trace_parent.encode()) if trace_parent else b""

    def trace_parent(self, encoded: bytes) -> str:
        """What the encoded field `trace_parent` says; empty for an empty one."""
        return notification_pb2.Notification.FromString(encoded).trace_parent

    # --- notifications ------------------------------------------------------------------------------------------------

    def fresh_notification(self, change: InboxChange, *, with_trace: bool) -> bytes:
        """A Notification of an entry that nobody has touched."""
        assert change.content is not None
        known = change.content + change.envelope + self._revision + varint(change.revision)
        if change.id:
            known += self._identity(change.id, change.recipient)
        return known + change.trace if with_trace else known

    def stored_notification(self, entry: StoredEntry, *, with_trace: bool) -> bytes:
        """A Notification; what is in its default state has no `state`."""
        known = (entry.content or b"") + entry.envelope
        if entry.shared:
            known += self._identity(entry.id, entry.recipient)
        if with_trace:
            known += entry.trace
        if entry.revision:
            known += self._revision + varint(entry.revision)
        if _is_untouched(entry):
            return known
        state = self._state.encode(entry)
        return known + delimited(self._notification.state, state) if state else known

    # --- parts of a stream's message ----------------------------------------------------------------------------------

    def recipient(self, recipient: str) -> bytes:
        """An event's field `recipient`."""
        return delimited(self._stream.recipient, recipient.encode())

    def cursor(self, token: bytes) -> bytes:
        """An event's field `cursor`; empty for an empty one."""
        return delimited(self._stream.cursor, token) if token else b""

    def entry_event(self, recipient: bytes, notification: bytes, cursor: bytes) -> bytes:
        """A field `events` with a notification."""
        tags = self._stream
        size = varint(len(notification))
        # The tag of `notification` is one byte, as those of fields up to 15 are.
        whole = varint(len(recipient) + 1 + len(size) + len(notification) + len(cursor))
        return b"".join((tags.events, whole, recipient, tags.notification, size, notification, cursor))

    def summary_event(self, recipient: bytes, counts: Counts, cursor: bytes) -> bytes:
        """A field `events` with a summary."""
        tags = self._stream
        unread, unseen, total = varint(counts.unread), varint(counts.unseen), varint(counts.total)
        summary = b"".join((tags.unread, unread, tags.unseen, unseen, tags.total, total))
        return delimited(tags.events, b"".join((recipient, cursor, delimited(tags.summary, summary))))

    def reset_event(self, recipient: str, reason: str, oldest_cursor: str, cursor: str) -> bytes:
        """A field `events` with a reset; `reason` is that of an error."""
        event = inbox_service_pb2.InboxEvent(
            recipient=recipient,
            cursor=cursor,
            reset=inbox_service_pb2.Reset(
                reason=error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}"),
                oldest_cursor=oldest_cursor,
            ),
        )
        return delimited(self._stream.events, event.SerializeToString())

    def opening(self, session_id: str) -> bytes:
        """The field `session_id`."""
        return delimited(self._stream.session_id, session_id.encode())

    def progress(self, positions: Sequence[tuple[str, str]], now: Micros) -> bytes:
        """The field `progress`."""
        tags = self._stream
        parts = [self._state.times.field(tags.progress_time, now)]
        for recipient, cursor in positions:
            position = delimited(tags.position_recipient, recipient.encode()) + delimited(
                tags.position_cursor, cursor.encode()
            )
            parts.append(delimited(tags.positions, position))
        return delimited(tags.progress, b"".join(parts))


def _is_untouched(entry: StoredEntry) -> bool:
    """Whether the entry's state is what an absent one says, as it is for most of what a stream has missed."""
    return (
        not entry.status  # UNSEEN, or not in the inbox
        and entry.state <= NotificationState.BATCHED
        and entry.interacted_time is None
    )


class _Times:
    """Writes instants after 1970."""

    def __init__(self) -> None:
        self._seconds = tag(Timestamp.DESCRIPTOR, "seconds")
        self._nanos = tag(Timestamp.DESCRIPTOR, "nanos")

    def field(self, tag: bytes, instant: Micros) -> bytes:
        seconds, rest = divmod(instant, SECOND)
        encoded = self._seconds + varint(seconds)
        if rest:
            encoded += self._nanos + varint(rest * 1_000)
        return delimited(tag, encoded)


class _StateEncoder:
    """Writes what became of an entry. A time goes with its flag."""

    def __init__(self) -> None:
        state = notification_pb2.EntryState.DESCRIPTOR
        self.times = _Times()
        self._flags = {
            name: (tag(state, name) + _TRUE, tag(state, f"{name}_time"))
            for name in ("seen", "read", "archived", "retracted", "expired", "interacted")
        }
        self._snoozed_until = tag(state, "snoozed_until")

    def encode(self, entry: StoredEntry) -> bytes:
        """The fields of an EntryState."""
        encoded = b""
        if entry.status == Status.GONE:
            # How it stood before is no longer kept in its status.
            encoded += self._flag("seen", entry.seen_time) if entry.seen_time is not None else b""
            encoded += self._flag("read", entry.read_time) if entry.read_time is not None else b""
        elif entry.status is not None:
            status = Status(entry.status)
            attention, shelf = attention_of(status), shelf_of(status)
            if attention >= Attention.SEEN:
                encoded += self._flag("seen", entry.seen_time)
            if attention is Attention.READ:
                encoded += self._flag("read", entry.read_time)
            if shelf is Shelf.ARCHIVED:
                encoded += self._flag("archived", entry.archived_time)
            if shelf is Shelf.SNOOZED and entry.snoozed_until is not None:
                encoded += self.times.field(self._snoozed_until, entry.snoozed_until)
        if entry.state == NotificationState.RETRACTED:
            encoded += self._flag("retracted", entry.final_time)
        if entry.state == NotificationState.EXPIRED:
            encoded += self._flag("expired", entry.final_time)
        if entry.interacted_time is not None:
            encoded += self._flag("interacted", entry.interacted_time)
        return encoded

    def _flag(self, name: str, time: Micros | None) -> bytes:
        flag, time_tag = self._flags[name]
        return flag if time is None else flag + self.times.field(time_tag, time)


class _NotificationTags:
    """What stands before the fields of a Notification."""

    def __init__(self) -> None:
        notification = notification_pb2.Notification.DESCRIPTOR
        self.id = tag(notification, "id") + varint(ID_CHARS)
        self.recipient = tag(notification, "recipient")
        self.revision = tag(notification, "revision")
        self.category = tag(notification, "category")
        priority = tag(notification, "priority")
        self.priorities = tuple(priority + varint(number) for number in Priority)
        """By number."""
        self.state = tag(notification, "state")
        self.thread = tag(notification, "thread")
        self.actor = tag(notification, "actor")
        self.attributes = tag(notification, "attributes")
        self.create_time = tag(notification, "create_time")
        self.expire_time = tag(notification, "expire_time")
        self.trace_parent = tag(notification, "trace_parent")
        attribute = notification.fields_by_name["attributes"].message_type
        assert attribute is not None
        self.attribute_key = tag(attribute, "key")
        self.attribute_value = tag(attribute, "value")
        actor = notification_pb2.Actor.DESCRIPTOR
        self.actor_id = tag(actor, "id")
        self.actor_name = tag(actor, "name")
        self.actor_avatar_url = tag(actor, "avatar_url")


class _StreamTags:
    """What stands before the fields of a SubscribeResponse, which are those of an AttachResponse."""

    def __init__(self) -> None:
        message = inbox_service_pb2.SubscribeResponse.DESCRIPTOR
        self.session_id = tag(message, "session_id")
        self.events = tag(message, "events")
        self.progress = tag(message, "progress")
        event = inbox_service_pb2.InboxEvent.DESCRIPTOR
        self.recipient = tag(event, "recipient")
        self.cursor = tag(event, "cursor")
        self.notification = tag(event, "notification")
        self.summary = tag(event, "summary")
        summary = inbox_service_pb2.Summary.DESCRIPTOR
        self.unread = tag(summary, "unread")
        self.unseen = tag(summary, "unseen")
        self.total = tag(summary, "total")
        progress = inbox_service_pb2.Progress.DESCRIPTOR
        self.positions = tag(progress, "positions")
        self.progress_time = tag(progress, "time")
        position = inbox_service_pb2.Position.DESCRIPTOR
        self.position_recipient = tag(position, "recipient")
        self.position_cursor = tag(position, "cursor")
