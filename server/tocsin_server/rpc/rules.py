"""Rules of the contract that its options cannot say: about several fields, about time, about what the server knows.

One function a message; `Rules.broken` finds it by the message's class.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct
from google.protobuf.struct_pb2 import Value as StructValue
from google.protobuf.timestamp_pb2 import Timestamp

from tocsin.v1 import category_service_pb2 as categories
from tocsin.v1 import inbox_service_pb2 as inbox
from tocsin.v1 import notification_pb2 as notification
from tocsin.v1 import notification_service_pb2 as notifications
from tocsin.v1 import preference_service_pb2 as preferences
from tocsin.v1 import recipient_service_pb2 as recipients
from tocsin.v1 import system_service_pb2 as system
from tocsin.v1 import template_service_pb2 as templates
from tocsin.v1 import tenant_service_pb2 as tenants
from tocsin_server.domain.category import CATEGORY_FIELDS
from tocsin_server.domain.errors import Violation
from tocsin_server.domain.local_time import zone_names
from tocsin_server.domain.preferences import PREFERENCE_FIELDS
from tocsin_server.domain.recipient import PROFILE_FIELDS
from tocsin_server.domain.template import MAX_DEFINITION_BYTES
from tocsin_server.domain.tenant import Quotas
from tocsin_server.domain.time import DAY
from tocsin_server.domain.value import field_names
from tocsin_server.rpc.convert.times import micros
from tocsin_server.service.ports import Clock

_NANOS_A_SECOND = 1_000_000_000
_FIRST_SECOND = -62_135_596_800
"""0001-01-01, the first that protobuf knows."""
_SECOND_OF_2000 = 946_684_800
_LAST_SECOND = 253_402_300_799
"""9999-12-31, the last that protobuf knows."""
_FARTHEST_AHEAD = 366 * DAY
_MAX_DATA_BYTES = 64 << 10
_MAX_DATA_VALUES = 5_000
_MAX_DATA_DEPTH = 16
_HAS_NUL = "must not contain the character NUL"

_CHANNELS_WITH = {
    "subject": (notification.CHANNEL_EMAIL,),
    "from_name": (notification.CHANNEL_EMAIL, notification.CHANNEL_SMS),
    "sound": (notification.CHANNEL_PUSH,),
}
"""The channels that have a use for what may differ on one."""

_Rule = Callable[[Any, str], Iterable[Violation]]


class Rules:
    """The rules by message, with the little that they have to know."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rules: dict[type[Message], _Rule] = {
            notifications.SendRequest: self._send,
            notifications.SendItem: self._send,
            notifications.PlanSendRequest: self._send,
            notifications.ListNotificationsRequest: self._list_notifications,
            notifications.ReviseNotificationRequest: self._revise,
            inbox.SubscribeRequest: self._subscribe,
            inbox.AttachRequest: self._attach,
            inbox.AcknowledgeRequest: self._acknowledge,
            inbox.GetSummaryRequest: self._get_summary,
            inbox.MarkEntriesRequest: self._mark,
            recipients.UpsertRecipientItem: self._upsert,
            categories.UpsertCategoryRequest: self._upsert_category,
            preferences.UpdatePreferencesRequest: self._update_preferences,
            system.CreateApiKeyRequest: self._create_api_key,
            tenants.UpdateQuotasRequest: self._update_quotas,
            templates.CreateTemplateVersionRequest: self._create_template_version,
            templates.RenderTemplateRequest: self._render_template,
        }

    def broken(self, message: Message, path: str) -> Iterable[Violation]:
        """The rules that the message breaks."""
        rule = self._rules.get(type(message))
        return () if rule is None else rule(message, path)

    # --- notifications ------------------------------------------------------------------------------------------------

    def _send(
        self,
        request: notifications.SendRequest | notifications.SendItem | notifications.PlanSendRequest,
        path: str,
    ) -> Iterator[Violation]:
        spec = request.notification
        path += "notification."
        deliver = spec.WhichOneof("deliver")
        if deliver == "deliver_time":
            yield from self._not_far_ahead(spec.deliver_time, f"{path}deliver_time")
        elif deliver == "deliver_delay":
            yield from _valid_duration(spec.deliver_delay, f"{path}deliver_delay")
        if spec.HasField("expire_time"):
            yield from _valid_time(spec.expire_time, f"{path}expire_time", _SECOND_OF_2000)
        if spec.channel_overrides:
            yield from _overrides(spec.channel_overrides, f"{path}channel_overrides")
        if spec.HasField("template"):
            yield from data_violations(spec.template.data, f"{path}template.data")
        else:
            yield from _content(spec.content, f"{path}content")

    def _revise(self, request: notifications.ReviseNotificationRequest, path: str) -> Iterator[Violation]:
        return _content(request.content, f"{path}content")

    def _list_notifications(
        self, request: notifications.ListNotificationsRequest, path: str
    ) -> Iterator[Violation]:
        for field in ("start_time", "end_time"):
            if request.HasField(field):
                yield from _valid_time(getattr(request, field), path + field, _FIRST_SECOND)

    # --- inbox --------------------------------------------------------------------------------------------------------

    def _subscribe(
        self, request: inbox.SubscribeRequest | inbox.AttachStart, path: str
    ) -> Iterator[Violation]:
        yield from _distinct(
            (position.recipient for position in request.recipients), f"{path}recipients", "recipient"
        )
        if request.HasField("heartbeat_interval"):
            yield from _valid_duration(request.heartbeat_interval, f"{path}heartbeat_interval")

    def _attach(self, request: inbox.AttachRequest, path: str) -> Iterator[Violation]:
        match request.WhichOneof("request"):
            case "start":
                yield from self._subscribe(request.start, f"{path}start.")
            case "add":
                added = (position.recipient for position in request.add.recipients)
                yield from _distinct(added, f"{path}add.recipients", "recipient")
            case "acknowledge":
                yield from _with_cursors(request.acknowledge.positions, f"{path}acknowledge.positions")
            case _:
                pass

    def _acknowledge(self, request: inbox.AcknowledgeRequest, path: str) -> Iterator[Violation]:
        return _with_cursors(request.positions, f"{path}positions")

    def _get_summary(self, request: inbox.GetSummaryRequest, path: str) -> Iterator[Violation]:
        return _valid_duration(request.max_staleness, f"{path}max_staleness")

    def _mark(self, request: inbox.MarkEntriesRequest, path: str) -> Iterator[Violation]:
        field = f"{path}snooze_until"
        if request.HasField("snooze_until") != (request.mark == inbox.MARK_SNOOZED):
            yield Violation(field, "must be there for SNOOZED, and only for it")
        elif request.HasField("snooze_until"):
            yield from self._not_far_ahead(request.snooze_until, field)

    # --- recipients, tenants and keys ---------------------------------------------------------------------------------

    def _upsert(self, request: recipients.UpsertRecipientItem, path: str) -> Iterator[Violation]:
        yield from _known_fields(request.update_mask.paths, PROFILE_FIELDS, f"{path}update_mask")
        zone = request.recipient.time_zone
        if zone and zone not in zone_names():
            yield Violation(f"{path}recipient.time_zone", "must be an IANA time zone, such as Europe/Lisbon")

    def _upsert_category(self, request: categories.UpsertCategoryRequest, path: str) -> Iterator[Violation]:
        yield from _known_fields(request.update_mask.paths, CATEGORY_FIELDS, f"{path}update_mask")
        yield from _valid_duration(request.category.retention, f"{path}category.retention")
        for index, throttle in enumerate(request.category.throttles):
            yield from _valid_duration(throttle.window, f"{path}category.throttles[{index}].window")

    def _update_preferences(
        self, request: preferences.UpdatePreferencesRequest, path: str
    ) -> Iterator[Violation]:
        yield from _known_fields(request.update_mask.paths, PREFERENCE_FIELDS, f"{path}update_mask")
        changes = (request.HasField("preferences"), request.update_mask.paths)
        if not any((*changes, request.clear_choices, request.set_choices)):
            yield Violation(f"{path}preferences", "must be there where no choice is to be set or cleared")
        for choices, field in (
            (request.preferences.choices, f"{path}preferences.choices"),
            (request.set_choices, f"{path}set_choices"),
        ):
            yield from _distinct((f"{each.category} {each.channel}" for each in choices), field, "category")

    def _create_api_key(self, request: system.CreateApiKeyRequest, path: str) -> Iterator[Violation]:
        if request.HasField("expire_time"):
            yield from _valid_time(request.expire_time, f"{path}expire_time", _SECOND_OF_2000)

    def _update_quotas(self, request: tenants.UpdateQuotasRequest, path: str) -> Iterator[Violation]:
        return _known_fields(request.update_mask.paths, frozenset(field_names(Quotas)), f"{path}update_mask")

    # --- templates ----------------------------------------------------------------------------------------------------

    def _create_template_version(
        self, request: templates.CreateTemplateVersionRequest, path: str
    ) -> Iterator[Violation]:
        return definition_violations(request.definition, f"{path}definition")

    def _render_template(self, request: templates.RenderTemplateRequest, path: str) -> Iterator[Violation]:
        if request.HasField("definition"):
            yield from definition_violations(request.definition, f"{path}definition")
        yield from data_violations(request.template.data, f"{path}template.data")
        yield from data_violations(request.data, f"{path}data")
        zone = request.recipient.time_zone
        if zone and zone not in zone_names():
            yield Violation(f"{path}recipient.time_zone", "must be an IANA time zone, such as Europe/Lisbon")

    # --- time ---------------------------------------------------------------------------------------------------------

    def _not_far_ahead(self, time: Timestamp, field: str) -> Iterator[Violation]:
        yield from _valid_time(time, field, _SECOND_OF_2000)
        if micros(time) > self._clock.now() + _FARTHEST_AHEAD:
            yield Violation(field, "must be at most 366 days ahead")


class ContentRules:
    """The rules of content that is not part of a request."""

    def broken(self, message: Message, path: str) -> Iterable[Violation]:
        """The rules that it breaks; `path` leads to its kind."""
        assert isinstance(message, notification.Content)
        return _content(message, path.removesuffix("."))


def definition_violations(definition: templates.TemplateDefinition, path: str) -> Iterator[Violation]:
    """What keeps a definition from being read: its texts may say what they like, all else is as in any content."""
    if definition.ByteSize() > MAX_DEFINITION_BYTES:
        yield Violation(path, f"must be at most {MAX_DEFINITION_BYTES:,} bytes")
        return
    for index, body in enumerate(definition.bodies):
        place = f"{path}.bodies[{index}].content"
        if body.content.WhichOneof("kind") is None:
            yield Violation(place, "must have a kind")
            continue
        yield from _unknown_values(body.content, f"{place}.")
        for number, field in enumerate(body.content.interactive.inputs):
            if not field.kind:
                yield Violation(f"{place}.interactive.inputs[{number}].kind", "must be set")
        for number, entry in enumerate(body.content.timeline.entries):
            if entry.HasField("time"):
                yield from _valid_time(entry.time, f"{place}.timeline.entries[{number}].time", _FIRST_SECOND)


def data_violations(data: Struct, path: str) -> Iterator[Violation]:
    """What makes a template's data too large, too deep, or no JSON."""
    if data.ByteSize() > _MAX_DATA_BYTES:
        yield Violation(path, f"must be at most {_MAX_DATA_BYTES:,} bytes")
        return
    problem = _problem_of(data)
    if problem is not None:
        yield Violation(path, problem)


def _problem_of(data: Struct) -> str | None:
    """The first that is found, level by level: data have no more than one."""
    count = depth = 0
    level: list[Struct | ListValue] = [data]
    while level:
        values: list[StructValue] = []
        for each in level:
            if isinstance(each, Struct):
                fields = each.fields
                if any("\0" in key for key in fields):
                    return _HAS_NUL
                values += fields.values()
            else:
                values += each.values
        count += len(values)
        depth += 1
        if count > _MAX_DATA_VALUES or (values and depth > _MAX_DATA_DEPTH):
            return f"must have at most {_MAX_DATA_VALUES:,} values and {_MAX_DATA_DEPTH} levels"
        level = []
        for value in values:
            kind = value.WhichOneof("kind")
            if kind == "string_value":
                if "\0" in value.string_value:
                    return _HAS_NUL
            elif kind == "number_value":
                if not math.isfinite(value.number_value):
                    return "must have finite numbers"
            elif kind == "struct_value":
                level.append(value.struct_value)
            elif kind == "list_value":
                level.append(value.list_value)
    return None


def _unknown_values(message: Message, path: str) -> Iterator[Violation]:
    """Numbers that an enum has no name for."""
    for field, value in message.ListFields():
        name = path + field.name
        if field.enum_type is not None:
            if value not in field.enum_type.values_by_number:
                yield Violation(name, "must be one of the defined values")
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            if field.is_repeated:
                for index, item in enumerate(value):
                    yield from _unknown_values(item, f"{name}[{index}].")
            else:
                yield from _unknown_values(value, f"{name}.")


def _overrides(overrides: Sequence[notification.ChannelOverride], path: str) -> Iterator[Violation]:
    yield from _distinct((override.channel for override in overrides), path, "channel")
    for index, override in enumerate(overrides):
        for field, channels in _CHANNELS_WITH.items():
            if getattr(override, field) and override.channel not in channels:
                names = " and ".join(notification.Channel.Name(channel)[8:] for channel in channels)
                yield Violation(f"{path}[{index}].{field}", f"must be empty but for {names}")


def _content(content: notification.Content, path: str) -> Iterator[Violation]:
    kind = content.WhichOneof("kind")
    if kind is None or kind == "simple":
        return
    path = f"{path}.{kind}"
    actions = getattr(content, kind).actions
    if len(actions) > 1:
        yield from _distinct((action.id for action in actions), f"{path}.actions", "id")
    if kind == "interactive":
        yield from _inputs(content.interactive, path)
    elif kind == "timeline":
        for index, entry in enumerate(content.timeline.entries):
            if entry.HasField("time"):
                yield from _valid_time(entry.time, f"{path}.entries[{index}].time", _FIRST_SECOND)


def _inputs(content: notification.InteractiveContent, path: str) -> Iterator[Violation]:
    yield from _distinct((field.name for field in content.inputs), f"{path}.inputs", "name")
    for index, field in enumerate(content.inputs):
        if bool(field.choices) != (field.kind == notification.INPUT_KIND_CHOICE):
            yield Violation(f"{path}.inputs[{index}].choices", "must be there for CHOICE, and only for it")


def _distinct(keys: Iterable[Hashable], path: str, field: str) -> Iterator[Violation]:
    """One violation for each key that was there before."""
    seen = set[Hashable]()
    for index, key in enumerate(keys):
        if key in seen:
            yield Violation(f"{path}[{index}].{field}", "must be distinct")
        seen.add(key)


def _with_cursors(positions: Iterable[inbox.Position], path: str) -> Iterator[Violation]:
    for index, position in enumerate(positions):
        if not position.cursor:
            yield Violation(f"{path}[{index}].cursor", "must not be empty")


def _known_fields(paths: Iterable[str], known: frozenset[str], field: str) -> Iterator[Violation]:
    for index, name in enumerate(paths):
        if name not in known:
            yield Violation(f"{field}.paths[{index}]", f"must be one of {', '.join(sorted(known))}")


def _valid_time(time: Timestamp, field: str, first_second: int) -> Iterator[Violation]:
    if not first_second <= time.seconds <= _LAST_SECOND:
        first_year = 2000 if first_second == _SECOND_OF_2000 else 1
        yield Violation(field, f"must be in the years {first_year} to 9999")
    if not 0 <= time.nanos < _NANOS_A_SECOND:
        yield Violation(field, "must have nanos from 0 to 999999999")


def _valid_duration(length: Duration, field: str) -> Iterator[Violation]:
    """Bounds are the contract's; they do not look at what is not a duration at all."""
    if not 0 <= length.nanos < _NANOS_A_SECOND:
        yield Violation(field, "must have nanos from 0 to 999999999")
