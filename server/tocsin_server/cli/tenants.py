"""`tocsin tenants`."""

from typing import Annotated

from rich.text import Text
from typer import Argument, BadParameter, Option, Typer

from tocsin.v1.tenant_service_pb2 import ListTenantsResponse, Quotas, Tenant, TenantState
from tocsin.values import enum_name
from tocsin_server.cli import values
from tocsin_server.cli.asking import Yes, confirmed
from tocsin_server.cli.connection import Session, command
from tocsin_server.cli.output import instant, properties, table

app = Typer(add_completion=False, no_args_is_help=True)

_QUOTAS = tuple(field.name for field in Quotas.DESCRIPTOR.fields)

Name = Annotated[str, Argument(help="The tenant's name.")]
QuotaOption = Annotated[
    list[str] | None,
    Option(
        "--quota", metavar="NAME=VALUE", help=f"Repeatable; 0 is the server's default. {', '.join(_QUOTAS)}."
    ),
]


@app.callback()
def tenants() -> None:
    """Tenants and their quotas. Needs the scope operator."""


@command(app)
async def create(
    session: Session,
    tenant: Annotated[str, Argument(help="1 to 63 lower-case letters, digits and hyphens.")],
    display_name: Annotated[str, Option(help="Name to show.")] = "",
    quota: QuotaOption = None,
) -> None:
    """Create a tenant."""
    async with session.connect() as client:
        made = await client.tenants.create(tenant, display_name=display_name, quotas=_quotas(quota))
    _show(session, made)


@command(app, "list")
async def list_tenants(session: Session) -> None:
    """List all tenants."""
    async with session.connect() as client:
        found = [tenant async for tenant in client.tenants.all()]
    session.out.show(
        ListTenantsResponse(tenants=found),
        table(
            "tenant",
            "name",
            "state",
            "created",
            rows=((t.tenant, t.display_name, _state(t), instant(t.create_time)) for t in found),
        ),
    )


@command(app)
async def get(session: Session, tenant: Name) -> None:
    """Show a tenant with its quotas."""
    async with session.connect() as client:
        found = await client.tenants.get(tenant)
    _show(session, found)


@command(app)
async def suspend(session: Session, tenant: Name) -> None:
    """Refuse the tenant's calls and end its streams. Nothing is lost."""
    async with session.connect() as client:
        _show(session, await client.tenants.suspend(tenant))


@command(app)
async def resume(session: Session, tenant: Name) -> None:
    """Lift a suspension."""
    async with session.connect() as client:
        _show(session, await client.tenants.resume(tenant))


@command(app)
async def delete(session: Session, tenant: Name, yes: Yes = False) -> None:
    """Erase a tenant and everything of it, in the background."""
    confirmed(f"Erase everything of {tenant}?", yes=yes)
    async with session.connect() as client:
        _show(session, await client.tenants.delete(tenant))


@command(app)
async def quotas(session: Session, tenant: Name, quota: QuotaOption = None) -> None:
    """Change quotas, those that are named."""
    wanted = _quotas(quota)
    if wanted is None:
        raise BadParameter(f"name at least one of {', '.join(_QUOTAS)}", param_hint="--quota")
    names = [text.partition("=")[0] for text in quota or ()]
    async with session.connect() as client:
        _show(session, await client.tenants.update_quotas(tenant, wanted, fields=names))


def _quotas(assignments: list[str] | None) -> Quotas | None:
    """Raises BadParameter."""
    if not assignments:
        return None
    result = Quotas()
    for name, value in map(values.pair, assignments):
        try:
            setattr(result, name, int(value))
        except (AttributeError, ValueError):
            raise BadParameter(
                f"{name}={value}: is none of {', '.join(_QUOTAS)} with a whole number", param_hint="--quota"
            ) from None
    return result


def _show(session: Session, tenant: Tenant) -> None:
    limits = {name: getattr(tenant.quotas, name) or "default" for name in _QUOTAS}
    session.out.show(
        tenant,
        Text.assemble((tenant.tenant, "bold"), f"  {tenant.display_name}  {_state(tenant)}"),
        properties(created=instant(tenant.create_time), **limits),
    )


def _state(tenant: Tenant) -> str:
    return enum_name(TenantState, tenant.state).lower()
