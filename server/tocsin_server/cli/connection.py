"""Commands that talk to a server: the options they share, and how what goes wrong is told."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Concatenate, ParamSpec

import typer
from typer import Context

import tocsin
from tocsin_server.cli.failures import Failure
from tocsin_server.cli.options import Connection, connection_options, option, options_of, take
from tocsin_server.cli.output import Json, Output

P = ParamSpec("P")

_HINTS = {
    "CREDENTIALS_MISSING": "Give an API key with --api-key or TOCSIN_API_KEY.",
    "CREDENTIALS_INVALID": "Look at --api-key or TOCSIN_API_KEY: the server does not know this one.",
    "CREDENTIALS_EXPIRED": "Make a new key: tocsin keys create.",
    "CREDENTIALS_REVOKED": "Make a new key: tocsin keys create.",
    "SCOPE_MISSING": "Use a key that has the scope; `tocsin keys list` shows what each may do.",
    "REQUEST_ID_REUSED": "Use another --request-id for another notification.",
    "SESSION_NOT_FOUND": "`tocsin sessions list` shows those that are open.",
    "API_KEY_NOT_FOUND": "`tocsin keys list` shows all of them.",
    "TEMPLATE_NOT_FOUND": "`tocsin templates list` shows all of them; `tocsin templates activate` activates a version.",
    "TEMPLATE_VERSION_NOT_FOUND": "`tocsin templates show` lists the versions of a template.",
    "TENANT_NOT_FOUND": "`tocsin tenants list` shows all of them.",
    "CATEGORY_NOT_FOUND": "`tocsin categories list` shows those that are defined.",
    "STORAGE_UNAVAILABLE": "Nothing was written. `tocsin status` says what is wrong.",
}


@dataclass(frozen=True, slots=True)
class Session:
    """What a command works with."""

    connection: Connection
    out: Output

    @property
    def target(self) -> str:
        """The server, as the user named it."""
        return self.connection.target or "localhost:7700"

    def connect(self, *, patient: bool = False) -> AbstractAsyncContextManager[tocsin.Client]:
        """A client. One that is not patient gives up on a server that does not answer within a second or so."""
        given = self.connection
        if (given.tls_client_cert is None) != (given.tls_client_key is None):
            raise Failure("--tls-client-cert and --tls-client-key belong together.")
        tls = None
        if given.tls or given.tls_ca or given.tls_client_cert or given.tls_client_key:
            tls = tocsin.TLSConfig(given.tls_ca, given.tls_client_cert, given.tls_client_key)
        return tocsin.connect(
            self.target,
            api_key=given.api_key,
            tls=tls,
            timeout=given.timeout or 10.0,
            retry=tocsin.RetryPolicy() if patient else tocsin.RetryPolicy(max_attempts=2),
        )


def command(
    app: typer.Typer, name: str | None = None
) -> Callable[[Callable[Concatenate[Session, P], Awaitable[None]]], Callable[..., None]]:
    """Makes a command of an async function. It is given a `Session`; the options of the connection are added.

    A parameter that is a dataclass stands for options, one a field: so several commands share them.
    """

    def register(run: Callable[Concatenate[Session, P], Awaitable[None]]) -> Callable[..., None]:
        def call(*, ctx: Context, json: bool, **values: Any) -> None:
            asked: Connection = _gathered(Connection, values)
            values |= {name: _gathered(bundle, values) for name, bundle in bundles.items()}
            session = Session(asked.or_else(ctx.obj or Connection()), Output(as_json=json))
            with told(session.target):
                asyncio.run(awaited(run, session, values))

        taken = list(inspect.signature(run).parameters.values())[1:]
        bundles: dict[str, Any] = {
            each.name: each.annotation for each in taken if is_dataclass(each.annotation)
        }
        own = [
            parameter
            for each in taken
            for parameter in (options_of(bundles[each.name]) if each.name in bundles else (each,))
        ]
        take(call, [option("ctx", Context), *own, option("json", Json, False), *connection_options()])
        call.__doc__ = run.__doc__
        app.command(name or run.__name__)(call)
        return call

    return register


def _gathered(bundle: type[Any], values: dict[str, Any]) -> Any:
    """A dataclass made of its fields' values, which are taken out."""
    return bundle(**{field.name: values.pop(field.name) for field in fields(bundle)})


@contextmanager
def told(target: str) -> Iterator[None]:
    """Turns what the client raises into a Failure."""
    try:
        yield
    except tocsin.TocsinError as error:
        raise Failure(explained(error, target), _HINTS.get(error.reason, "")) from error
    except BrokenPipeError:
        raise  # whoever read the output has enough, and the server has nothing to do with it
    except OSError as error:
        raise Failure(f"{error.filename or target}: {error.strerror or error}.") from error


def explained(error: tocsin.TocsinError, target: str) -> str:
    """What went wrong, in one line that says what to do."""
    if error.reason:
        later = "" if error.retry_after is None else f" Try again in {error.retry_after:.3g} s."
        return f"{error}{later}"
    if isinstance(error, tocsin.UnavailableError):
        cause = error.message.rpartition(": ")[2]
        return (
            f"UNAVAILABLE: no server answers at {target} ({cause}). "
            "Start one with `tocsin serve`, or name another with --target."
        )
    if isinstance(error, tocsin.DeadlineExceededError):
        return f"DEADLINE_EXCEEDED: no answer from {target} in time. --timeout gives it more."
    return f"{error} (from {target}: is it a Tocsin server?)"


async def awaited(
    run: Callable[Concatenate[Session, P], Awaitable[None]], session: Session, values: Mapping[str, Any]
) -> None:
    """A coroutine, which is all that asyncio runs."""
    await run(session, **values)  # type: ignore[call-arg]
