"""CategoryService: what a sender's word for a kind of notification stands for."""

from collections.abc import Mapping

from tocsin.v1 import category_service_pb2 as pb
from tocsin_server.domain.access import Scope
from tocsin_server.rpc.context import CallContext
from tocsin_server.rpc.convert import categories as convert
from tocsin_server.rpc.methods import Unary
from tocsin_server.service.categories import Categories


class CategoryServicer:
    """Serves CategoryService."""

    service = pb.DESCRIPTOR.services_by_name["CategoryService"]

    def __init__(self, categories: Categories) -> None:
        self._categories = categories

    def methods(self) -> Mapping[str, Unary]:
        """Every RPC with the scope that it needs."""
        return {
            "UpsertCategory": Unary(Scope.CATEGORIES_WRITE, self.upsert),
            "GetCategory": Unary(Scope.CATEGORIES_READ, self.get),
            "ListCategories": Unary(Scope.CATEGORIES_READ, self.list),
            "DeleteCategory": Unary(Scope.CATEGORIES_WRITE, self.delete),
        }

    async def upsert(self, request: pb.UpsertCategoryRequest, call: CallContext) -> pb.UpsertCategoryResponse:
        """Defines a category, or changes one."""
        answer = await self._categories.upsert(
            call.principal,
            request.request_id,
            convert.category_from(request.category),
            convert.fields_from(request),
            deadline=call.deadline,
        )
        return pb.UpsertCategoryResponse(
            category=convert.category_message(answer.receipt), replayed=answer.replayed
        )

    async def get(self, request: pb.GetCategoryRequest, call: CallContext) -> pb.GetCategoryResponse:
        """One category."""
        category = await self._categories.get(call.principal, request.category)
        return pb.GetCategoryResponse(category=convert.category_message(category))

    async def list(self, request: pb.ListCategoriesRequest, call: CallContext) -> pb.ListCategoriesResponse:
        """A page of categories."""
        page = await self._categories.list(call.principal, request.page_size, request.page_token)
        return convert.page_message(page)

    async def delete(self, request: pb.DeleteCategoryRequest, call: CallContext) -> pb.DeleteCategoryResponse:
        """Makes a category one that is not defined."""
        answer = await self._categories.delete(
            call.principal, request.request_id, request.category, deadline=call.deadline
        )
        return pb.DeleteCategoryResponse(
            category=convert.category_message(answer.receipt), replayed=answer.replayed
        )
