"""Notifications: what a sender says, what was decided, where one stands."""

from collections.abc import Iterable
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tocsin.v1 import notification_pb2 as pb
from tocsin.v1 import notification_service_pb2 as service_pb
from tocsin_server.domain.notification import (
    Actor,
    Channel,
    ChannelOverride,
    Decision,
    Event,
    NotificationSpec,
    Priority,
    TemplateRef,
)
from tocsin_server.domain.time import Micros
from tocsin_server.rpc.convert.data import data_from
from tocsin_server.rpc.convert.times import micros, timestamp
from tocsin_server.rpc.features import require_built

_PRIORITIES = tuple(Priority)
"""By number, as calling an enum's class costs more than a look-up, and every Send has a priority."""


def spec_from(message: pb.NotificationSpec, path: str) -> NotificationSpec:
    """A checked spec, but for its body. Raises FeatureNotBuilt with the field's path, which begins with `path`."""
    # Asking once for all that is set is cheaper than asking for each field, and most are not set.
    given: dict[str, Any] = {field.name: value for field, value in message.ListFields()}
    require_built(given, path)
    get = given.get
    return NotificationSpec(
        given["recipient"],
        given["category"],
        _PRIORITIES[get("priority", 0)],
        tuple(map(Channel, get("channels", ()))),
        _time(get("deliver_time")),
        _time(get("deliver_delay")),
        _time(get("expire_time")),
        get("thread", ""),
        actor_from(get("actor")),
        dict(get("attributes", ())),
        _template(get("template")),
        tuple(map(_override, get("channel_overrides", ()))),
    )


def decision_message(decision: Decision) -> pb.Decision:
    """Why something was done or not."""
    return pb.Decision(
        rule=pb.DecisionRule.ValueType(decision.rule),
        channel=pb.Channel.ValueType(decision.channel or pb.CHANNEL_UNSPECIFIED),
        layer=decision.layer,
        key=decision.key,
        outcome=pb.DecisionOutcome.ValueType(decision.outcome),
        text=decision.text,
        due_time=timestamp(decision.due_time),
    )


def timeline_messages(events: Iterable[Event]) -> Iterable[service_pb.TimelineEvent]:
    """The steps of a notification's life."""
    return (
        service_pb.TimelineEvent(
            kind=service_pb.TimelineEventKind.ValueType(event.kind),
            time=timestamp(event.time),
            revision=event.revision,
            decisions=map(decision_message, event.decisions),
            action_id=event.action_id,
            inputs=event.inputs,
            channel=pb.Channel.ValueType(event.channel or pb.CHANNEL_UNSPECIFIED),
            detail=event.detail,
        )
        for event in events
    )


def _time(message: Timestamp | Duration | None) -> Micros | None:
    return None if message is None else micros(message)


def actor_from(message: pb.Actor | None) -> Actor | None:
    """Who or what caused it, where that is said."""
    return None if message is None else Actor(message.id, message.name, message.avatar_url)


def _template(message: pb.TemplateRef | None) -> TemplateRef | None:
    if message is None:
        return None
    return TemplateRef(message.name, message.version, data_from(message.data))


def _override(message: pb.ChannelOverride) -> ChannelOverride:
    return ChannelOverride(
        Channel(message.channel), message.subject, message.from_name, message.sound, message.text
    )
