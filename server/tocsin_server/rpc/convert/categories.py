"""CategoryService: categories and their throttles."""

from tocsin.v1 import category_service_pb2 as pb
from tocsin.v1 import notification_pb2
from tocsin_server.domain.category import CATEGORY_FIELDS, Category, Overflow, Throttle, ThrottleScope
from tocsin_server.domain.errors import FeatureNotBuilt
from tocsin_server.domain.notification import Channel, Priority
from tocsin_server.rpc.convert.times import duration, micros, timestamp
from tocsin_server.service.paging import Page


def category_from(message: pb.Category) -> Category:
    """A checked category, with defaults where nothing is said. Raises FeatureNotBuilt."""
    unsaid = Category(message.category)
    return Category(
        message.category,
        message.display_name,
        message.description,
        tuple(map(Channel, message.channels)) or unsaid.channels,
        message.mandatory,
        Priority(message.priority) or unsaid.priority,
        tuple(_throttle(throttle, index) for index, throttle in enumerate(message.throttles)),
        micros(message.retention) if message.HasField("retention") else None,
    )


def fields_from(request: pb.UpsertCategoryRequest) -> frozenset[str]:
    """Which fields are to be set: all of them unless it is said."""
    return frozenset(request.update_mask.paths) or CATEGORY_FIELDS


def category_message(category: Category) -> pb.Category:
    """A category."""
    return pb.Category(
        category=category.name,
        display_name=category.display_name,
        description=category.description,
        channels=map(notification_pb2.Channel.ValueType, category.channels),
        mandatory=category.mandatory,
        priority=notification_pb2.Priority.ValueType(category.priority),
        throttles=map(_throttle_message, category.throttles),
        retention=None if category.retention is None else duration(category.retention),
        create_time=timestamp(category.create_time),
        update_time=timestamp(category.update_time),
    )


def page_message(page: Page[Category]) -> pb.ListCategoriesResponse:
    """A page of categories."""
    return pb.ListCategoriesResponse(
        categories=map(category_message, page.items), next_page_token=page.next_page_token
    )


def _throttle(message: pb.Throttle, index: int) -> Throttle:
    overflow = Overflow(message.overflow or Overflow.DROP)
    if overflow is Overflow.BATCH:
        raise FeatureNotBuilt(field=f"category.throttles[{index}].overflow")
    said = Throttle(ThrottleScope(message.scope), message.max, micros(message.window), overflow)
    channels = tuple(map(Channel, message.channels)) or said.channels
    return Throttle(said.scope, said.max, said.window, overflow, channels)


def _throttle_message(throttle: Throttle) -> pb.Throttle:
    return pb.Throttle(
        scope=pb.ThrottleScope.ValueType(throttle.scope),
        max=throttle.max,
        window=duration(throttle.window),
        overflow=pb.ThrottleOverflow.ValueType(throttle.overflow),
        channels=map(notification_pb2.Channel.ValueType, throttle.channels),
    )
