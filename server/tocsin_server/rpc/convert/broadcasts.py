"""BroadcastService: whom and what, and how far it has got."""

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from tocsin.v1 import broadcast_service_pb2 as pb
from tocsin.v1 import notification_pb2
from tocsin.v1.notification_service_pb2 import SendRequest as SendMessage
from tocsin_server.domain.audience import Audience, EveryoneAudience, FilterAudience, TopicAudience
from tocsin_server.domain.broadcast import Broadcast, Progress
from tocsin_server.domain.errors import InvalidFields, Violation
from tocsin_server.domain.ids import format_id
from tocsin_server.domain.notification import NotificationSpec
from tocsin_server.domain.value import replace
from tocsin_server.rpc.convert.sending import send_request_from
from tocsin_server.rpc.convert.times import timestamp
from tocsin_server.rpc.validation import Shape
from tocsin_server.service.paging import Page
from tocsin_server.service.sending import SendRequest

_ANYONE = "anyone"


def send_request_of(request: pb.CreateBroadcastRequest, shape: Shape) -> SendRequest:
    """What a broadcast sends to nobody in particular, checked as what Send is asked for.

    Raises InvalidFields, FeatureNotBuilt.
    """
    if request.notification.recipient:
        violation = Violation("notification.recipient", "must be empty: the audience says who is meant")
        raise InvalidFields([violation])
    message = SendMessage(notification=request.notification)
    message.notification.recipient = _ANYONE
    shape.check(message, message.SerializeToString())
    asked = send_request_from(message)
    return replace(asked, spec=replace(asked.spec, recipient=""))


def audience_from(message: pb.Audience) -> Audience:
    """A checked audience."""
    match message.WhichOneof("audience"):
        case "topic":
            return TopicAudience(message.topic)
        case "filter":
            return FilterAudience(message.filter)
        case _:
            return EveryoneAudience()


def broadcast_message(broadcast: Broadcast) -> pb.Broadcast:
    """A broadcast."""
    return pb.Broadcast(
        broadcast_id=format_id(broadcast.id),
        audience=_audience_message(broadcast.audience),
        notification=_spec_message(broadcast.spec),
        state=pb.BroadcastState.ValueType(broadcast.state),
        progress=_progress_message(broadcast.progress),
        create_time=timestamp(broadcast.create_time),
        start_time=timestamp(broadcast.start_time),
        finish_time=timestamp(broadcast.finish_time),
        failure=broadcast.failure,
    )


def page_message(page: Page[Broadcast]) -> pb.ListBroadcastsResponse:
    """A page of broadcasts."""
    return pb.ListBroadcastsResponse(
        broadcasts=map(broadcast_message, page.items), next_page_token=page.next_page_token
    )


def _audience_message(audience: Audience) -> pb.Audience:
    match audience:
        case TopicAudience(topic):
            return pb.Audience(topic=topic)
        case FilterAudience(filter):
            return pb.Audience(filter=filter)
        case EveryoneAudience():
            return pb.Audience(everyone=True)


def _spec_message(spec: NotificationSpec) -> notification_pb2.NotificationSpec:
    message = notification_pb2.NotificationSpec(
        category=spec.category,
        priority=notification_pb2.Priority.ValueType(spec.priority),
        channels=map(notification_pb2.Channel.ValueType, spec.channels),
        expire_time=timestamp(spec.expire_time),
        thread=spec.thread,
        attributes=spec.attributes,
    )
    if spec.actor is not None:
        message.actor.id, message.actor.name = spec.actor.id, spec.actor.name
        message.actor.avatar_url = spec.actor.avatar_url
    if spec.template is not None:
        message.template.name, message.template.version = spec.template.name, spec.template.version
        message.template.data.CopyFrom(ParseDict(spec.template.data, Struct()))
    for override in spec.overrides:
        message.channel_overrides.add(
            channel=notification_pb2.Channel.ValueType(override.channel),
            subject=override.subject,
            from_name=override.from_name,
            sound=override.sound,
            text=override.text,
        )
    return message


def _progress_message(progress: Progress) -> pb.BroadcastProgress:
    return pb.BroadcastProgress(
        targeted_count=progress.targeted,
        processed_count=progress.processed,
        delivered_count=progress.delivered,
        deferred_count=progress.deferred,
        failed_count=progress.failed,
        suppressed=(
            pb.SuppressedCount(rule=notification_pb2.DecisionRule.ValueType(rule), count=count)
            for rule, count in sorted(progress.suppressed.items())
        ),
    )
