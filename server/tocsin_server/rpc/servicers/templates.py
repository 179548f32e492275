"""TemplateService: templates in versions, and what becomes of them."""

from collections.abc import Mapping

from tocsin.v1 import template_service_pb2 as pb
from tocsin_server.domain.access import Scope
from tocsin_server.rpc.context import CallContext
from tocsin_server.rpc.convert import templates as convert
from tocsin_server.rpc.convert.data import data_from
from tocsin_server.rpc.methods import Unary
from tocsin_server.service.templates import Templates


class TemplateServicer:
    """Serves TemplateService."""

    service = pb.DESCRIPTOR.services_by_name["TemplateService"]

    def __init__(self, templates: Templates) -> None:
        self._templates = templates

    def methods(self) -> Mapping[str, Unary]:
        """Every RPC with the scope that it needs."""
        return {
            "CreateTemplateVersion": Unary(Scope.ADMIN, self.create_version),
            "GetTemplate": Unary(Scope.SEND, self.get),
            "ListTemplates": Unary(Scope.SEND, self.list),
            "ActivateTemplateVersion": Unary(Scope.ADMIN, self.activate),
            "RenderTemplate": Unary(Scope.SEND, self.render),
        }

    async def create_version(
        self, request: pb.CreateTemplateVersionRequest, call: CallContext
    ) -> pb.CreateTemplateVersionResponse:
        """Adds a version."""
        answer = await self._templates.create_version(
            call.principal,
            request.request_id,
            request.name,
            convert.definition_from(request.definition),
            activate=request.activate,
            deadline=call.deadline,
        )
        return convert.created_message(answer)

    async def get(self, request: pb.GetTemplateRequest, call: CallContext) -> pb.GetTemplateResponse:
        """A template with one of its versions."""
        details = await self._templates.get(call.principal, request.name, request.version)
        return convert.details_message(details)

    async def list(self, request: pb.ListTemplatesRequest, call: CallContext) -> pb.ListTemplatesResponse:
        """A page of templates."""
        page = await self._templates.list(call.principal, request.page_size, request.page_token)
        return convert.page_message(page)

    async def activate(
        self, request: pb.ActivateTemplateVersionRequest, call: CallContext
    ) -> pb.ActivateTemplateVersionResponse:
        """Makes a version the one that is sent."""
        answer = await self._templates.activate(
            call.principal, request.request_id, request.name, request.version, deadline=call.deadline
        )
        return pb.ActivateTemplateVersionResponse(
            template=convert.template_message(answer.receipt), replayed=answer.replayed
        )

    async def render(self, request: pb.RenderTemplateRequest, call: CallContext) -> pb.RenderTemplateResponse:
        """What Send would show."""
        rendered = await self._templates.preview(
            call.principal,
            convert.source_from(request),
            data_from(request.data),
            convert.facts_from(request),
        )
        return convert.rendered_message(rendered)
