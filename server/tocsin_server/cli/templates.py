"""`tocsin templates`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from rich.text import Text
from typer import Argument, BadParameter, Option, Typer

from tocsin import Recipient, TemplateDefinition
from tocsin.v1.notification_pb2 import Channel
from tocsin.v1.template_service_pb2 import (
    GetTemplateResponse,
    ListTemplatesResponse,
    RenderTemplateResponse,
    Template,
)
from tocsin.values import enum_name
from tocsin_server.cli import values
from tocsin_server.cli.connection import Session, command
from tocsin_server.cli.default_templates import create_missing
from tocsin_server.cli.output import instant, properties, table

app = Typer(add_completion=False, no_args_is_help=True)

Name = Annotated[str, Argument(help="The template's name.")]
File = Annotated[
    Path | None,
    Option(
        "--file",
        metavar="FILE",
        help="A TemplateDefinition in JSON, with the contract's names; - for standard input.",
    ),
]
Version = Annotated[int, Option(min=0, help="A fixed version; 0: the active one.")]


@app.callback()
def templates() -> None:
    """Templates: their versions, and what becomes of them."""


@command(app)
async def create(
    session: Session,
    name: Name,
    file: File = None,
    activate: Annotated[bool, Option("--activate", help="Send it from now on.")] = False,
) -> None:
    """Add a version to a template, which is created with its first one."""
    if file is None:
        raise BadParameter("a definition is needed", param_hint="--file")
    definition = _definition(file)
    async with session.connect() as client:
        made = await client.templates.create_version(name, definition, activate=activate)
    session.out.show(
        made,
        Text.assemble((name, "bold"), f"  version {made.version}, {'active' if activate else 'not active'}"),
    )


@command(app)
async def defaults(session: Session) -> None:
    """Create and activate the templates that Tocsin brings along, one a kind of content; not those that exist."""
    async with session.connect() as client:
        created = await create_missing(client)
    _list(session, created)


@command(app, "list")
async def list_templates(session: Session) -> None:
    """List all templates."""
    async with session.connect() as client:
        found = [template async for template in client.templates.all()]
    _list(session, found)


@command(app)
async def show(session: Session, name: Name, version: Version = 0) -> None:
    """Show a template, its versions, and what one of them says."""
    async with session.connect() as client:
        found = await client.templates.get(name, version=version)
    session.out.show(found, *_details(found))


@command(app)
async def activate(
    session: Session, name: Name, version: Annotated[int, Argument(min=1, help="The version's number.")]
) -> None:
    """Send a version from now on wherever none is named."""
    async with session.connect() as client:
        template = await client.templates.activate(name, version)
    session.out.show(
        template, Text.assemble((name, "bold"), f"  version {template.active_version} is active")
    )


@command(app)
async def render(
    session: Session,
    name: Annotated[str, Argument(help="The template's name; not with --file.")] = "",
    file: File = None,
    version: Version = 0,
    data: Annotated[
        str, Option(metavar="JSON", help="What the template sees as `data`; @FILE reads a file.")
    ] = "{}",
    recipient: Annotated[str, Option(help="The recipient's key.")] = "preview",
    locale: Annotated[str, Option(help="Such as pt-BR.")] = "",
    time_zone: Annotated[str, Option(help="Such as Europe/Lisbon.")] = "",
    attribute: Annotated[
        list[str] | None, Option(metavar="NAME=VALUE", help="Of the recipient; repeatable.")
    ] = None,
    category: Annotated[str, Option(help="What it is about.")] = "",
) -> None:
    """Show what a template, or a definition in a file, would make of data. Nothing is sent."""
    if bool(name) == bool(file):
        raise BadParameter("give a name, or --file", param_hint="NAME")
    someone = Recipient(
        recipient=recipient,
        locale=locale,
        time_zone=time_zone,
        attributes=dict(map(values.pair, attribute or ())),
    )
    async with session.connect() as client:
        rendered = await client.templates.render(
            _definition(file) if file else name,
            _data(data),
            version=version,
            recipient=someone,
            category=category,
        )
    session.out.show(rendered, *_rendered(rendered))


def _definition(file: Path) -> TemplateDefinition:
    """Raises BadParameter."""
    text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    try:
        return ParseDict(json.loads(text), TemplateDefinition())
    except (ValueError, ParseError) as error:
        problem = str(error).strip().partition("\n")[0]
        raise BadParameter(f"is no TemplateDefinition in JSON: {problem}", param_hint="--file") from None


def _data(given: str) -> dict[str, Any]:
    """Raises BadParameter."""
    text = Path(given[1:]).read_text(encoding="utf-8") if given.startswith("@") else given
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadParameter(f"is no JSON: {error}", param_hint="--data") from None
    if not isinstance(found, dict):
        raise BadParameter("is no JSON object", param_hint="--data")
    return found


def _list(session: Session, found: list[Template]) -> None:
    session.out.show(
        ListTemplatesResponse(templates=found),
        table(
            "template",
            ">active",
            ">latest",
            "changed",
            rows=(
                (t.name, str(t.active_version or "–"), str(t.latest_version), instant(t.update_time))
                for t in found
            ),
        ),
    )


def _details(found: GetTemplateResponse) -> list[Any]:
    template = found.template
    numbers = ", ".join(str(one.version) for one in found.versions)
    return [
        Text(template.name, style="bold"),
        properties(
            active=template.active_version or "none",
            versions=numbers,
            created=instant(template.create_time),
        ),
        Text(f"\nVersion {found.version.version}:"),
        Text(json.dumps(MessageToDict(found.version.definition), ensure_ascii=False, indent=2)),
    ]


def _rendered(rendered: RenderTemplateResponse) -> list[Any]:
    lines: list[Any] = [
        Text.assemble(
            (f"version {rendered.version}, " if rendered.version else "", "dim"),
            (f"locale {rendered.locale or 'default'}", "dim"),
        ),
        Text(json.dumps(MessageToDict(rendered.content), ensure_ascii=False, indent=2)),
    ]
    for body in rendered.channels:
        lines.append(Text(f"\n{enum_name(Channel, body.channel).lower()}:", style="bold"))
        lines.append(
            properties(
                **{
                    field: getattr(body, field)
                    for field in ("subject", "title", "text", "html")
                    if getattr(body, field)
                }
            )
        )
    return lines
