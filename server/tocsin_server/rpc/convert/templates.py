"""TemplateService: definitions, data, and what became of them."""

from collections.abc import Mapping
from typing import Any

from tocsin.v1 import notification_pb2
from tocsin.v1 import template_service_pb2 as pb
from tocsin_server.domain.commands import Answer, TemplateReceipt
from tocsin_server.domain.notification import Channel, TemplateRef
from tocsin_server.domain.template import (
    DEFAULT_ELEMENT_VARIABLE,
    RecipientView,
    RenderFacts,
    Template,
    TemplateBody,
    TemplateChannel,
    TemplateDefinition,
    TemplateElement,
    TemplateValue,
)
from tocsin_server.rpc.convert.content import content_from, content_message
from tocsin_server.rpc.convert.data import data_from
from tocsin_server.rpc.convert.notification import actor_from
from tocsin_server.rpc.convert.times import timestamp
from tocsin_server.service.paging import Page
from tocsin_server.service.templates import RenderedTemplate, TemplateDetails


def template_ref_from(message: notification_pb2.TemplateRef) -> TemplateRef:
    """A checked reference."""
    return TemplateRef(message.name, message.version, data_from(message.data))


# --- definitions ------------------------------------------------------------------------------------------------------


def definition_from(message: pb.TemplateDefinition) -> TemplateDefinition:
    """A checked definition."""
    return TemplateDefinition(tuple(map(_body, message.bodies)), message.lenient)


def definition_message(definition: TemplateDefinition) -> pb.TemplateDefinition:
    """Inverse of `definition_from`."""
    return pb.TemplateDefinition(bodies=map(_body_message, definition.bodies), lenient=definition.lenient)


def _body(message: pb.TemplateBody) -> TemplateBody:
    return TemplateBody(
        message.locale,
        content_from(message.content),
        tuple(
            TemplateElement(
                one.path, one.each, getattr(one, "as") or DEFAULT_ELEMENT_VARIABLE, one.when, one.limit
            )
            for one in message.elements
        ),
        tuple(TemplateValue(one.path, one.value) for one in message.values),
        tuple(
            TemplateChannel(Channel(one.channel), one.subject, one.title, one.text, one.html, one.mjml)
            for one in message.channels
        ),
    )


def _body_message(body: TemplateBody) -> pb.TemplateBody:
    return pb.TemplateBody(
        locale=body.locale,
        content=content_message(body.content),
        elements=map(_element_message, body.elements),
        values=(pb.TemplateValue(path=one.path, value=one.value) for one in body.values),
        channels=(
            pb.TemplateChannel(
                channel=notification_pb2.Channel.ValueType(one.channel),
                subject=one.subject,
                title=one.title,
                text=one.text,
                html=one.html,
                mjml=one.mjml,
            )
            for one in body.channels
        ),
    )


def _element_message(element: TemplateElement) -> pb.TemplateElement:
    # `as` is a word of Python's.
    fields: Mapping[str, Any] = {"as": element.variable}
    return pb.TemplateElement(
        path=element.path, each=element.each, when=element.when, limit=element.limit, **fields
    )


# --- requests and responses -------------------------------------------------------------------------------------------


def source_from(request: pb.RenderTemplateRequest) -> TemplateRef | TemplateDefinition:
    """What is to be rendered."""
    if request.HasField("definition"):
        return definition_from(request.definition)
    return template_ref_from(request.template)


def facts_from(request: pb.RenderTemplateRequest) -> RenderFacts:
    """What the template may know besides its data."""
    recipient = request.recipient
    return RenderFacts(
        RecipientView(recipient.recipient, recipient.locale, recipient.time_zone, dict(recipient.attributes)),
        request.category,
        actor_from(request.actor if request.HasField("actor") else None),
        dict(request.attributes),
    )


def template_message(template: Template) -> pb.Template:
    """A template."""
    return pb.Template(
        name=template.name,
        active_version=template.active_version,
        latest_version=template.latest_version,
        create_time=timestamp(template.create_time),
        update_time=timestamp(template.update_time),
    )


def created_message(answer: Answer[TemplateReceipt]) -> pb.CreateTemplateVersionResponse:
    """A new version."""
    return pb.CreateTemplateVersionResponse(
        template=template_message(answer.receipt.template),
        version=answer.receipt.version,
        replayed=answer.replayed,
    )


def details_message(details: TemplateDetails) -> pb.GetTemplateResponse:
    """A template with a version."""
    return pb.GetTemplateResponse(
        template=template_message(details.template),
        version=pb.TemplateVersion(
            version=details.version.number,
            definition=pb.TemplateDefinition.FromString(details.version.definition),
            create_time=timestamp(details.version.create_time),
        ),
        versions=(
            pb.TemplateVersionSummary(version=number, create_time=timestamp(create_time))
            for number, create_time in details.versions
        ),
    )


def page_message(page: Page[Template]) -> pb.ListTemplatesResponse:
    """A page of templates."""
    return pb.ListTemplatesResponse(
        templates=map(template_message, page.items), next_page_token=page.next_page_token
    )


def rendered_message(rendered: RenderedTemplate) -> pb.RenderTemplateResponse:
    """What a recipient would be shown."""
    return pb.RenderTemplateResponse(
        version=rendered.version,
        locale=rendered.locale,
        content=notification_pb2.Notification.FromString(rendered.content).content,
        channels=(
            pb.ChannelBody(
                channel=notification_pb2.Channel.ValueType(body.channel),
                subject=body.subject,
                title=body.title,
                text=body.text,
                html=body.html,
            )
            for body in rendered.bodies
        ),
        personal=rendered.personal,
    )
