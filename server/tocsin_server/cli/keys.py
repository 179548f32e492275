"""`tocsin keys`."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from rich.text import Text
from typer import Argument, BadParameter, Option, Typer

from tocsin.v1.system_service_pb2 import ApiKey, CreateApiKeyResponse, ListApiKeysResponse
from tocsin_server.bootstrap.local import create_local_key
from tocsin_server.bootstrap.serving import REFUSALS
from tocsin_server.cli import values
from tocsin_server.cli.connection import Session, command
from tocsin_server.cli.failures import failures
from tocsin_server.cli.output import instant, properties, table
from tocsin_server.cli.settings import ConfigFile, Database, of_database

app = Typer(add_completion=False, no_args_is_help=True)


class Scope(StrEnum):
    """What a key may do, as in `ApiKey.scopes`."""

    SEND = "send"
    NOTIFICATIONS_READ = "notifications:read"
    INBOX_READ = "inbox:read"
    INBOX_WRITE = "inbox:write"
    RECIPIENTS_READ = "recipients:read"
    RECIPIENTS_WRITE = "recipients:write"
    PREFERENCES_READ = "preferences:read"
    PREFERENCES_WRITE = "preferences:write"
    CATEGORIES_READ = "categories:read"
    CATEGORIES_WRITE = "categories:write"
    ADMIN = "admin"
    OPERATOR = "operator"


@app.callback()
def keys() -> None:
    """API keys: creating, listing and revoking them."""


@command(app)
async def create(
    session: Session,
    name: Annotated[str, Argument(help="Name to show.")],
    scope: Annotated[list[Scope], Option(help="What it may do; repeatable.")],
    recipient: Annotated[
        list[str] | None,
        Option(
            metavar="PATTERN",
            help="Only for this recipient; * at the end: for all that begin so. Repeatable.",
        ),
    ] = None,
    category: Annotated[
        list[str] | None, Option(metavar="PATTERN", help="Only in this category, likewise; repeatable.")
    ] = None,
    expires: Annotated[
        datetime | None,
        Option(
            parser=values.instant,
            metavar="TIME",
            help="From when on it is refused: an instant, or a duration.",
        ),
    ] = None,
    tenant: Annotated[
        str, Option(help="The tenant that it is for, if not the caller's (scope operator).")
    ] = "",
    local: Annotated[
        bool, Option("--local", help="Write it into the database while no server runs: the first key.")
    ] = False,
    config: ConfigFile = None,
    database: Database = None,
) -> None:
    """Create an API key. Its secret is shown once."""
    if local:
        settings = of_database(config, database)
        with failures(*REFUSALS, OSError):
            made = await create_local_key(
                settings,
                name,
                scope,
                recipients=recipient or (),
                categories=category or (),
                expire_time=expires,
                tenant=tenant,
            )
        key = ApiKey(api_key_id=made.id, tenant=made.tenant, display_name=name, scopes=scope)
        answer = CreateApiKeyResponse(api_key=key, secret=made.secret)
    elif config is not None or database is not None:
        raise BadParameter("go with --local", param_hint="--config and --database")
    else:
        async with session.connect() as client:
            answer = await client.system.create_api_key(
                name,
                scope,
                recipients=recipient or (),
                categories=category or (),
                expire_time=expires,
                tenant=tenant,
            )
    key = answer.api_key
    session.out.show(
        answer,
        Text(answer.secret, style="bold green"),
        properties(id=key.api_key_id, tenant=key.tenant, scopes=", ".join(key.scopes)),
        Text("Keep it: it is stored nowhere else.", style="dim"),
    )


@command(app, "list")
async def list_keys(session: Session) -> None:
    """List the tenant's keys, newest first, revoked ones too."""
    async with session.connect() as client:
        found = [key async for key in client.system.api_keys()]
    session.out.show(
        ListApiKeysResponse(api_keys=found),
        table("id", "name", "scopes", "recipients", "categories", "created", "state", rows=map(_row, found)),
    )


@command(app)
async def revoke(session: Session, key_id: Annotated[str, Argument(help="The key's id.")]) -> None:
    """Revoke a key: new calls fail, and open streams end within a second."""
    async with session.connect() as client:
        key = await client.system.revoke_api_key(key_id)
    session.out.show(key, Text(f"revoked {key.display_name}", style="bold"))


def _row(key: ApiKey) -> list[str]:
    state = "good"
    if key.HasField("revoke_time"):
        state = f"revoked {instant(key.revoke_time)}"
    elif key.HasField("expire_time"):
        state = f"until {instant(key.expire_time)}"
    return [
        key.api_key_id,
        key.display_name,
        ", ".join(key.scopes),
        ", ".join(key.recipients) or "all",
        ", ".join(key.categories) or "all",
        instant(key.create_time),
        state,
    ]
