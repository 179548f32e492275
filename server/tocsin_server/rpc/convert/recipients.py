"""RecipientService: profiles, and the parts of an export."""

from collections.abc import Callable, Iterable

from tocsin.v1 import notification_pb2
from tocsin.v1 import recipient_service_pb2 as pb
from tocsin_server.domain.commands import Answer, EraseReceipt
from tocsin_server.domain.entry import StoredEntry
from tocsin_server.domain.errors import TocsinError
from tocsin_server.domain.inbox import Counts
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.preferences import Preferences
from tocsin_server.domain.recipient import PROFILE_FIELDS, Address, AddressState, Profile, Recipient
from tocsin_server.rpc.convert.inbox import summary_message
from tocsin_server.rpc.convert.notification import timeline_messages
from tocsin_server.rpc.convert.preferences import preferences_message
from tocsin_server.rpc.convert.times import timestamp
from tocsin_server.rpc.errors import error_status
from tocsin_server.service.paging import Page
from tocsin_server.service.recipients import (
    ExportedNotification,
    ExportedPosition,
    ExportPart,
    UpsertRequest,
)

Encode = Callable[[StoredEntry], bytes]


def upsert_request_from(item: pb.UpsertRecipientItem, _path: str) -> UpsertRequest:
    """A checked item."""
    recipient = item.recipient
    profile = Profile(
        recipient.locale,
        recipient.time_zone,
        dict(recipient.attributes),
        tuple(map(_address, recipient.addresses)),
    )
    fields = frozenset(item.update_mask.paths) or PROFILE_FIELDS
    return UpsertRequest(item.request_id, recipient.recipient, profile, fields)


def upsert_message(results: Iterable[Answer[Recipient] | TocsinError]) -> pb.UpsertRecipientsResponse:
    """What became of each item."""
    return pb.UpsertRecipientsResponse(results=map(_upsert_result, results))


def recipient_message(recipient: Recipient) -> pb.Recipient:
    """A recipient."""
    profile = recipient.profile
    return pb.Recipient(
        recipient=recipient.key,
        locale=profile.locale,
        time_zone=profile.time_zone,
        attributes=profile.attributes,
        addresses=map(_address_message, profile.addresses),
        create_time=timestamp(recipient.create_time),
        update_time=timestamp(recipient.update_time),
    )


def page_message(page: Page[Recipient]) -> pb.ListRecipientsResponse:
    """A page of recipients."""
    return pb.ListRecipientsResponse(
        recipients=map(recipient_message, page.items), next_page_token=page.next_page_token
    )


def delete_message(answer: Answer[EraseReceipt]) -> pb.DeleteRecipientResponse:
    """How much was erased."""
    return pb.DeleteRecipientResponse(erased_count=answer.receipt.erased_count, replayed=answer.replayed)


def part_message(part: ExportPart, encode: Encode) -> pb.ExportRecipientResponse:
    """One part of an export."""
    match part:
        case Recipient():
            return pb.ExportRecipientResponse(recipient=recipient_message(part))
        case Counts():
            return pb.ExportRecipientResponse(summary=summary_message(part))
        case Preferences():
            return pb.ExportRecipientResponse(preferences=preferences_message(part))
        case ExportedNotification():
            return pb.ExportRecipientResponse(notification=_exported_message(part, encode))
        case ExportedPosition():
            position = pb.ConsumerPosition(
                consumer=part.consumer, cursor=part.cursor, update_time=timestamp(part.update_time)
            )
            return pb.ExportRecipientResponse(consumer_position=position)


def _upsert_result(result: Answer[Recipient] | TocsinError) -> pb.UpsertRecipientResult:
    if isinstance(result, TocsinError):
        return pb.UpsertRecipientResult(error=error_status(result))
    return pb.UpsertRecipientResult(recipient=recipient_message(result.receipt), replayed=result.replayed)


def _exported_message(part: ExportedNotification, encode: Encode) -> pb.ExportedNotification:
    return pb.ExportedNotification(
        notification=notification_pb2.Notification.FromString(encode(part.entry)),
        state=notification_pb2.NotificationState.ValueType(part.entry.state),
        timeline=timeline_messages(part.timeline),
    )


def _address(message: pb.Address) -> Address:
    state = AddressState(message.state or pb.ADDRESS_STATE_ACTIVE)
    return Address(Channel(message.channel), message.value, state, message.label)


def _address_message(address: Address) -> pb.Address:
    return pb.Address(
        channel=notification_pb2.Channel.ValueType(address.channel),
        value=address.value,
        state=pb.AddressState.ValueType(address.state),
        label=address.label,
    )
