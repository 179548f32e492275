"""Categories: defining, reading and deleting them."""

from tocsin_server.domain.access import Principal, matches
from tocsin_server.domain.category import Category
from tocsin_server.domain.commands import Answer, DeleteCategory, RequestSpace, UpsertCategory
from tocsin_server.domain.errors import CategoryNotFound, InvalidFields, Violation
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.service.paging import Page, PageTokens, effective_page_size
from tocsin_server.service.ports import CategoryReader, Codec, Writer
from tocsin_server.service.submitting import answered, request_key


class Categories:
    """What a tenant says about its categories. New sends follow it; what was accepted before stays as it is."""

    def __init__(
        self,
        writer: Writer,
        reader: CategoryReader,
        codec: Codec,
        page_tokens: PageTokens,
        max_retention: Micros,
    ) -> None:
        """`max_retention`: how long the server keeps entries."""
        self._writer = writer
        self._reader = reader
        self._codec = codec
        self._page_tokens = page_tokens
        self._max_retention = max_retention

    async def upsert(
        self,
        principal: Principal,
        request_id: str,
        category: Category,
        fields: frozenset[str],
        *,
        deadline: float | None = None,
    ) -> Answer[Category]:
        """Defines a category, or sets those of its fields that are named.

        Raises CategoryNotAllowed, LimitReached, InvalidFields for a retention beyond the server's.
        """
        principal.require_category(category.name)
        if category.retention is not None and category.retention > self._max_retention:
            longest = f"must be at most what the server keeps entries for, {self._max_retention // SECOND} s"
            raise InvalidFields([Violation("category.retention", longest)])
        asked = (category, tuple(sorted(fields)))
        command = UpsertCategory(
            tenant=principal.tenant,
            request=request_key(self._codec, RequestSpace.UPSERT_CATEGORY, request_id, asked),
            category=category,
            fields=fields,
        )
        return await answered(self._writer, command, deadline)

    async def get(self, principal: Principal, name: str) -> Category:
        """One category. Raises CategoryNotAllowed, CategoryNotFound."""
        principal.require_category(name)
        category = await self._reader.category(principal.tenant, name)
        if category is None:
            raise CategoryNotFound(category=name)
        return category

    async def list(self, principal: Principal, page_size: int, page_token: str) -> Page[Category]:
        """By name, without what the caller may not use. Raises PageTokenInvalid."""
        size = effective_page_size(page_size)
        asked = (principal.tenant,)
        after = self._page_tokens.open("categories", asked, page_token)
        found = await self._reader.categories(principal.tenant, after or "", size + 1)
        page = found[:size]
        token = self._page_tokens.seal("categories", asked, page[-1].name) if len(found) > size else ""
        return Page([category for category in page if may_use(principal, category.name)], token)

    async def delete(
        self, principal: Principal, request_id: str, name: str, *, deadline: float | None = None
    ) -> Answer[Category]:
        """It is defined no longer. Raises CategoryNotAllowed, CategoryNotFound."""
        principal.require_category(name)
        command = DeleteCategory(
            tenant=principal.tenant,
            request=request_key(self._codec, RequestSpace.DELETE_CATEGORY, request_id, (name,)),
            name=name,
        )
        return await answered(self._writer, command, deadline)


def may_use(principal: Principal, category: str) -> bool:
    """Whether the caller may use a category."""
    return not principal.categories or matches(principal.categories, category)
