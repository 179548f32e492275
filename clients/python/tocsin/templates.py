"""Templates: versions of what is shown, and previews."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct

from tocsin.ids import new_request_id
from tocsin.transport import Transport
from tocsin.v1.notification_pb2 import Actor, TemplateRef
from tocsin.v1.recipient_service_pb2 import Recipient
from tocsin.v1.template_service_pb2 import (
    ActivateTemplateVersionRequest,
    CreateTemplateVersionRequest,
    CreateTemplateVersionResponse,
    GetTemplateRequest,
    GetTemplateResponse,
    ListTemplatesRequest,
    ListTemplatesResponse,
    RenderTemplateRequest,
    RenderTemplateResponse,
    Template,
    TemplateDefinition,
)

__all__ = ("Templates",)


class Templates:
    """`client.templates`; creating and activating need the scope `admin`, the rest `send`.

    Every method raises a `TocsinError` as its call fails.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = transport.stubs.templates

    async def create_version(
        self,
        name: str,
        definition: TemplateDefinition,
        *,
        activate: bool = False,
        request_id: str | None = None,
    ) -> CreateTemplateVersionResponse:
        """Add a version to a template, which is created with its first one.

        Args:
            name: the template's name.
            definition: what the version says; its texts are Liquid.
            activate: send it from now on wherever no version is named.
            request_id: makes the call safe to repeat by the caller; made anew when absent.

        Returns:
            The template, and the number of the new version.
        """
        request = CreateTemplateVersionRequest(
            request_id=request_id or new_request_id(), name=name, definition=definition, activate=activate
        )
        return await self._transport.call(self._stub.CreateTemplateVersion, request)

    async def get(self, name: str, *, version: int = 0) -> GetTemplateResponse:
        """A template, the numbers of its versions, and one of them whole.

        Args:
            name: the template's name.
            version: which one to give whole; 0: the active one, the newest where none is.
        """
        request = GetTemplateRequest(name=name, version=version)
        return await self._transport.call(self._stub.GetTemplate, request)

    def all(self, *, page_size: int = 0) -> AsyncIterator[Template]:
        """All templates, by name."""
        request = ListTemplatesRequest(page_size=page_size)

        async def fetch(token: str) -> ListTemplatesResponse:
            request.page_token = token
            return await self._transport.call(self._stub.ListTemplates, request)

        return self._transport.items(fetch, lambda page: iter(page.templates))

    async def activate(self, name: str, version: int, *, request_id: str | None = None) -> Template:
        """Send a version from now on wherever none is named. An older one can be activated again."""
        request = ActivateTemplateVersionRequest(
            request_id=request_id or new_request_id(), name=name, version=version
        )
        return (await self._transport.call(self._stub.ActivateTemplateVersion, request)).template

    async def render(
        self,
        template: str | TemplateDefinition,
        data: Mapping[str, Any] | None = None,
        *,
        version: int = 0,
        recipient: Recipient | None = None,
        category: str = "",
        actor: Actor | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> RenderTemplateResponse:
        """What would be shown. Nothing is written.

        Args:
            template: a template's name, or a definition that is not stored.
            data: what the template sees as `data`: plain JSON values.
            version: a fixed version; 0: the active one.
            recipient: for whom: key, locale, time zone and attributes; it need not exist.
            category: what it is about.
            actor: who or what caused it.
            attributes: the sender's own data.
        """
        struct = Struct()
        struct.update(dict(data or {}))
        request = RenderTemplateRequest(
            recipient=recipient, category=category, actor=actor, attributes=dict(attributes or {})
        )
        if isinstance(template, str):
            request.template.CopyFrom(TemplateRef(name=template, version=version, data=struct))
        else:
            request.definition.CopyFrom(template)
            request.data.CopyFrom(struct)
        return await self._transport.call(self._stub.RenderTemplate, request)
