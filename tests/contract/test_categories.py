"""Categories: defined, changed, listed and deleted, and what is refused."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from tests.contract.conftest import Refusal, Start, Tocsin, reason, refused
from tocsin.v1 import category_service_pb2 as pb
from tocsin.v1 import notification_pb2
from tocsin.v1.notification_pb2 import (
    CHANNEL_EMAIL,
    CHANNEL_INBOX,
    CHANNEL_PUSH,
    CHANNEL_SMS,
    CHANNEL_WEBHOOK,
)
from tocsin_server.rpc.convert.times import micros

HOUR = Duration(seconds=3_600)
ORDERS = pb.Category(
    category="orders",
    display_name="Orders",
    description="What happens to an order.",
    channels=[CHANNEL_INBOX, CHANNEL_EMAIL],
    mandatory=True,
    priority=notification_pb2.PRIORITY_HIGH,
    throttles=[
        pb.Throttle(
            scope=pb.THROTTLE_SCOPE_CHANNEL,
            max=3,
            window=HOUR,
            overflow=pb.THROTTLE_OVERFLOW_DEFER,
            channels=[CHANNEL_EMAIL, CHANNEL_WEBHOOK],
        )
    ],
    retention=Duration(seconds=86_400),
)


async def upsert(
    tocsin: Tocsin, category: pb.Category = ORDERS, *paths: str, request_id: str = "", metadata: Any = ()
) -> pb.UpsertCategoryResponse:
    mask = FieldMask(paths=paths) if paths else None
    request = pb.UpsertCategoryRequest(request_id=request_id, category=category, update_mask=mask)
    return await tocsin.categories.UpsertCategory(request, metadata=metadata)


async def got(tocsin: Tocsin, name: str = "orders", metadata: Any = ()) -> pb.Category:
    request = pb.GetCategoryRequest(category=name)
    return (await tocsin.categories.GetCategory(request, metadata=metadata)).category


async def delete(
    tocsin: Tocsin, name: str = "orders", request_id: str = "", metadata: Any = ()
) -> pb.DeleteCategoryResponse:
    request = pb.DeleteCategoryRequest(category=name, request_id=request_id)
    return await tocsin.categories.DeleteCategory(request, metadata=metadata)


def without_times(category: pb.Category) -> pb.Category:
    bare = pb.Category()
    bare.CopyFrom(category)
    bare.ClearField("create_time")
    bare.ClearField("update_time")
    return bare


async def test_a_category_is_kept_as_it_was_given(tocsin: Tocsin) -> None:
    before = tocsin.clock.now()
    defined = (await upsert(tocsin)).category
    assert without_times(defined) == ORDERS
    assert await got(tocsin) == defined
    assert before <= micros(defined.create_time) == micros(defined.update_time)


async def test_what_is_not_said_has_the_values_of_a_category_that_is_not_defined(tocsin: Tocsin) -> None:
    throttle = pb.Throttle(scope=pb.THROTTLE_SCOPE_CATEGORY, max=1, window=HOUR)
    defined = (await upsert(tocsin, pb.Category(category="news", throttles=[throttle]))).category
    assert without_times(defined) == pb.Category(
        category="news",
        channels=[CHANNEL_INBOX],
        priority=notification_pb2.PRIORITY_NORMAL,
        throttles=[
            pb.Throttle(
                scope=pb.THROTTLE_SCOPE_CATEGORY,
                max=1,
                window=HOUR,
                overflow=pb.THROTTLE_OVERFLOW_DROP,
                channels=[CHANNEL_PUSH, CHANNEL_SMS],
            )
        ],
    )


async def test_a_mask_changes_only_what_it_names(tocsin: Tocsin) -> None:
    await upsert(tocsin)
    change = pb.Category(category="orders", display_name="Purchases", description="Not said.")
    changed = (await upsert(tocsin, change, "display_name", "retention")).category
    expected = pb.Category()
    expected.CopyFrom(ORDERS)
    expected.display_name = "Purchases"
    expected.ClearField("retention")
    assert without_times(changed) == expected
    assert without_times((await upsert(tocsin, change)).category).description == "Not said."


async def test_a_repeated_request_is_answered_as_the_first_time(tocsin: Tocsin) -> None:
    first = await upsert(tocsin, request_id="u")
    await upsert(tocsin, pb.Category(category="orders"))
    again = await upsert(tocsin, request_id="u")
    assert (again.category, again.replayed) == (first.category, True)
    other = pb.Category(category="orders", display_name="other")
    assert await reason(upsert(tocsin, other, request_id="u")) == "REQUEST_ID_REUSED"
    gone = await delete(tocsin, request_id="d")
    again_gone = await delete(tocsin, request_id="d")
    assert (again_gone.category, again_gone.replayed) == (gone.category, True)


async def test_categories_are_listed_by_name(tocsin: Tocsin) -> None:
    for name in ("news", "orders.shipped", "orders"):
        await upsert(tocsin, pb.Category(category=name))
    first = await tocsin.categories.ListCategories(pb.ListCategoriesRequest(page_size=2))
    request = pb.ListCategoriesRequest(page_size=2, page_token=first.next_page_token)
    rest = await tocsin.categories.ListCategories(request)
    listed = [category.category for page in (first, rest) for category in page.categories]
    assert listed == ["news", "orders", "orders.shipped"]
    assert rest.next_page_token == ""
    request.page_token = "x" + first.next_page_token[1:]
    assert await reason(tocsin.categories.ListCategories(request)) == "PAGE_TOKEN_INVALID"


async def test_a_deleted_category_is_not_defined(tocsin: Tocsin) -> None:
    defined = (await upsert(tocsin)).category
    assert (await delete(tocsin)).category == defined
    missing = Refusal("NOT_FOUND", "CATEGORY_NOT_FOUND", {"category": "orders"}, [])
    assert await refused(got(tocsin)) == missing
    assert await refused(delete(tocsin)) == missing


THROTTLE: dict[str, Any] = {"scope": pb.THROTTLE_SCOPE_CATEGORY, "max": 1, "window": HOUR}


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        ({"category": ""}, {"category.category"}),
        ({"category": "-a"}, {"category.category"}),
        ({"category": "a b"}, {"category.category"}),
        ({"category": "a" * 129}, {"category.category"}),
        ({"display_name": "x" * 257}, {"category.display_name"}),
        ({"description": "x" * 1_025}, {"category.description"}),
        ({"description": "a\0b"}, {"category.description"}),
        ({"channels": [0]}, {"category.channels[0]"}),
        ({"channels": [77]}, {"category.channels[0]"}),
        ({"channels": [1, 1]}, {"category.channels"}),
        ({"priority": 77}, {"category.priority"}),
        ({"retention": Duration(seconds=59)}, {"category.retention"}),
        (
            {"retention": Duration(seconds=90 * 86_400 + 1)},
            {"category.retention"},
        ),  # the server keeps 90 days
        ({"retention": Duration(seconds=60, nanos=2_000_000_000)}, {"category.retention"}),
        ({"throttles": [pb.Throttle(**THROTTLE)] * 11}, {"category.throttles"}),
        ({"throttles": [pb.Throttle(**THROTTLE | {"scope": 0})]}, {"category.throttles[0].scope"}),
        ({"throttles": [pb.Throttle(**THROTTLE | {"max": 0})]}, {"category.throttles[0].max"}),
        ({"throttles": [pb.Throttle(**THROTTLE | {"max": 10_001})]}, {"category.throttles[0].max"}),
        ({"throttles": [pb.Throttle(**THROTTLE | {"window": None})]}, {"category.throttles[0].window"}),
        (
            {"throttles": [pb.Throttle(**THROTTLE | {"window": Duration(nanos=999_999_999)})]},
            {"category.throttles[0].window"},
        ),
        (
            {"throttles": [pb.Throttle(**THROTTLE | {"window": Duration(seconds=31 * 86_400 + 1)})]},
            {"category.throttles[0].window"},
        ),
        ({"throttles": [pb.Throttle(**THROTTLE | {"overflow": 77})]}, {"category.throttles[0].overflow"}),
        (
            {"throttles": [pb.Throttle(**THROTTLE | {"channels": [CHANNEL_INBOX]})]},
            {"category.throttles[0].channels[0]"},
        ),
    ],
)
async def test_what_breaks_a_rule_is_refused(tocsin: Tocsin, said: dict[str, Any], fields: set[str]) -> None:
    refusal = await refused(upsert(tocsin, pb.Category(**{"category": "orders"} | said)))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert set(refusal.fields) == fields


async def test_a_request_names_a_category_and_known_fields(tocsin: Tocsin) -> None:
    call = tocsin.categories.UpsertCategory(pb.UpsertCategoryRequest())
    assert (await refused(call)).fields == ["category"]
    assert (await refused(upsert(tocsin, ORDERS, "display_name", "create_time"))).fields == [
        "update_mask.paths[1]"
    ]


async def test_the_longest_retention_is_the_servers(start: Start) -> None:
    tocsin = await start(retention=3_600.0)
    kept = pb.Category(category="orders", retention=HOUR)
    assert (await upsert(tocsin, kept)).category.retention == HOUR
    kept.retention.seconds += 1
    assert (await refused(upsert(tocsin, kept))).fields == ["category.retention"]


async def test_batching_is_not_built(tocsin: Tocsin) -> None:
    throttles = [
        pb.Throttle(scope=pb.THROTTLE_SCOPE_CATEGORY, max=1, window=HOUR, overflow=overflow)
        for overflow in (pb.THROTTLE_OVERFLOW_DROP, pb.THROTTLE_OVERFLOW_BATCH)
    ]
    refusal = await refused(upsert(tocsin, pb.Category(category="orders", throttles=throttles)))
    field = "category.throttles[1].overflow"
    assert refusal == Refusal("UNIMPLEMENTED", "FEATURE_NOT_BUILT", {"field": field}, [])


async def test_a_key_reaches_its_own_categories_only(tocsin: Tocsin) -> None:
    for name in ("news", "orders", "orders.shipped"):
        await upsert(tocsin, pb.Category(category=name))
    key = await tocsin.create_key("categories:read", "categories:write", categories=["orders*"])
    listed = await tocsin.categories.ListCategories(pb.ListCategoriesRequest(), metadata=key.metadata)
    assert [category.category for category in listed.categories] == ["orders", "orders.shipped"]
    out_of_reach = Refusal("PERMISSION_DENIED", "CATEGORY_NOT_ALLOWED", {"category": "news"}, [])
    assert await refused(got(tocsin, "news", key.metadata)) == out_of_reach
    assert await refused(delete(tocsin, "news", metadata=key.metadata)) == out_of_reach
    change = upsert(tocsin, pb.Category(category="news"), metadata=key.metadata)
    assert await refused(change) == out_of_reach
    assert (await got(tocsin, "orders", key.metadata)).category == "orders"
