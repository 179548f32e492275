"""Categories: what a sender's word for a kind of notification stands for."""

from collections.abc import AsyncIterator, Iterable

from google.protobuf.field_mask_pb2 import FieldMask

from tocsin.ids import new_request_id
from tocsin.transport import Transport
from tocsin.v1.category_service_pb2 import (
    Category,
    DeleteCategoryRequest,
    GetCategoryRequest,
    ListCategoriesRequest,
    ListCategoriesResponse,
    UpsertCategoryRequest,
)

__all__ = ("Categories",)


class Categories:
    """`client.categories`. Every method raises a `TocsinError` as its call fails."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = transport.stubs.categories

    async def upsert(
        self, category: Category, *, fields: Iterable[str] = (), request_id: str | None = None
    ) -> Category:
        """Define a category, or change one. New sends follow it, on every replica within a second.

        Args:
            category: the new values.
            fields: which of display_name, description, channels, mandatory, priority, throttles and retention to set;
                empty: all of them.
            request_id: makes the call safe to repeat by the caller; made anew when absent.
        """
        request = UpsertCategoryRequest(
            request_id=request_id or new_request_id(),
            category=category,
            update_mask=FieldMask(paths=fields),
        )
        return (await self._transport.call(self._stub.UpsertCategory, request)).category

    async def get(self, category: str) -> Category:
        """One category that is defined."""
        request = GetCategoryRequest(category=category)
        return (await self._transport.call(self._stub.GetCategory, request)).category

    def all(self, *, page_size: int = 0) -> AsyncIterator[Category]:
        """All categories that are defined, by name."""
        request = ListCategoriesRequest(page_size=page_size)

        async def fetch(token: str) -> ListCategoriesResponse:
            request.page_token = token
            return await self._transport.call(self._stub.ListCategories, request)

        return self._transport.items(fetch, lambda page: iter(page.categories))

    async def delete(self, category: str, *, request_id: str | None = None) -> Category:
        """Make a category one that is not defined; returns what it was."""
        request = DeleteCategoryRequest(request_id=request_id or new_request_id(), category=category)
        return (await self._transport.call(self._stub.DeleteCategory, request)).category
