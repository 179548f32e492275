"""The options that all commands share which talk to a server; before the command they mean the same."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from typer import Option

_PANEL = "Connection"


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach the server. None: not said."""

    target: Annotated[
        str | None,
        Option(
            metavar="HOST:PORT",
            help="The server; else TOCSIN_TARGET, else localhost:7700.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    api_key: Annotated[
        str | None,
        Option(
            metavar="KEY",
            help="API key, or an end user's token; else TOCSIN_API_KEY.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    tls: Annotated[
        bool | None,
        Option("--tls", help="Encrypt, and trust the usual authorities.", rich_help_panel=_PANEL),
    ] = None
    tls_ca: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Encrypt, and trust these authorities (PEM); else TOCSIN_TLS_CA.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    tls_client_cert: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Our own certificate, where the server asks for one (PEM).",
            rich_help_panel=_PANEL,
        ),
    ] = None
    tls_client_key: Annotated[
        Path | None, Option(metavar="FILE", help="Its private key (PEM).", rich_help_panel=_PANEL)
    ] = None
    timeout: Annotated[
        float | None,
        Option(
            metavar="SECONDS",
            min=0.001,
            help="For a call with all its attempts; else 10.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def or_else(self, other: "Connection") -> "Connection":
        """This one, completed by another."""
        given = {
            field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None
        }
        return replace(other, **given)


def from_environ(environ: Mapping[str, str]) -> Connection:
    """What the environment says."""
    ca = environ.get("TOCSIN_TLS_CA")
    return Connection(
        target=environ.get("TOCSIN_TARGET") or None,
        api_key=environ.get("TOCSIN_API_KEY") or None,
        tls_ca=Path(ca) if ca else None,
    )


def connection_options() -> list[inspect.Parameter]:
    """The fields of `Connection` as options."""
    return options_of(Connection)


def options_of(bundle: type[Any]) -> list[inspect.Parameter]:
    """The fields of a dataclass, all of which have defaults, as options."""
    return [option(field.name, field.type, field.default) for field in fields(bundle)]


def option(name: str, annotation: object, default: object = inspect.Parameter.empty) -> inspect.Parameter:
    """A parameter from which typer makes an option."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def take(function: Callable[..., None], parameters: Iterable[inspect.Parameter]) -> None:
    """Has a function say that it takes these parameters; typer reads its options from what a function says."""
    keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    function.__dict__["__signature__"] = inspect.Signature(keywords)
    function.__annotations__ = {}
