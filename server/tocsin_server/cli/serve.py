"""`tocsin serve`."""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, NoReturn

from typer import Option, Typer

from tocsin_server.cli.failures import Failure, failures
from tocsin_server.cli.settings import ConfigFile, Database, Set, loaded
from tocsin_server.settings import Settings

app = Typer(add_completion=False)


@app.command()
def serve(
    config: ConfigFile = None,
    listen: Annotated[
        str | None, Option(metavar="ADDRESS", help="host:port, [IPv6]:port or unix:path; port 0: any.")
    ] = None,
    database: Database = None,
    workers: Annotated[
        int | None, Option(metavar="N", help="Processes on the port; several need Postgres and Redis.")
    ] = None,
    roles: Annotated[
        str | None, Option(metavar="ROLES", help="What they do, of api, clock, deliver: all of them.")
    ] = None,
    port_file: Annotated[
        Path | None, Option(metavar="FILE", help="Written with the bound port once the server answers.")
    ] = None,
    metrics_port: Annotated[int | None, Option(metavar="PORT", help="Prometheus reads here.")] = None,
    log_format: Annotated[Literal["console", "json"] | None, Option(help="How log lines look.")] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None, Option(help="What is logged, and what is worse.")
    ] = None,
    tls_cert: Annotated[
        Path | None, Option(metavar="FILE", help="The server's certificate chain (PEM).")
    ] = None,
    tls_key: Annotated[Path | None, Option(metavar="FILE", help="Its private key (PEM).")] = None,
    tls_client_ca: Annotated[
        Path | None, Option(metavar="FILE", help="Callers need a certificate of these authorities (PEM).")
    ] = None,
    insecure: Annotated[
        bool, Option("--insecure", help="Listen beyond loopback even without API keys or TLS.")
    ] = False,
    set: Set = None,
) -> None:
    """Run the server until it is told to stop (SIGTERM, Ctrl-C); a second signal stops it at once.

    With several workers, SIGHUP replaces them one after the other, and each successor reads the settings anew.

    Settings come from the defaults, then a TOML file (--config, TOCSIN_CONFIG), then the environment (TOCSIN_ and the
    name in capitals), then these options. `tocsin config` shows all of them, and where each value comes from.
    """
    options = {
        "listen": listen,
        "database": database,
        "workers": workers,
        "roles": roles,
        "port_file": port_file,
        "metrics_port": metrics_port,
        "log_format": log_format,
        "log_level": log_level,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
        "insecure": insecure or None,
    }
    settings = loaded(config, set, **options).settings
    # Most of a start are these imports, so a mistake in the options is told before. Looking for garbage meanwhile would
    # take a tenth of it; `run` turns that on again. As much would go into rich, which structlog takes along where it is
    # there, for tracebacks that nobody shows.
    gc.disable()
    with _absent("rich"):
        from tocsin_server import logs
    from tocsin_server.bootstrap.member import Member

    member = Member.of(os.environ)
    logs.configure(settings.log_format, settings.log_level, worker=None if member is None else member.number)
    if member is None and settings.workers > 1:
        _supervise(settings, lambda: loaded(config, set, **options).settings)
    from tocsin_server.bootstrap.process import run
    from tocsin_server.bootstrap.serving import REFUSALS

    with failures(*REFUSALS, OSError):
        run(settings if member is None else member.settings(settings), os.environ, member)


def _supervise(settings: Settings, settings_now: Callable[[], Settings]) -> NoReturn:
    """Runs the processes of a fleet, each by the same command as this one, and ends as they do."""
    gc.enable()
    from tocsin_server.bootstrap.fleet import FleetPlan, objection_to, supervise

    def objection() -> str:
        try:
            return objection_to(settings_now(), settings)
        except Failure as failure:
            return str(failure)

    plan = FleetPlan(
        command=(sys.executable, "-m", "tocsin_server", *sys.argv[1:]),
        environ=os.environ,
        size=settings.workers,
        listen=settings.listen,
        drain_timeout=settings.drain_timeout,
        port_file=settings.port_file,
        objection=objection,
    )
    with failures(OSError):
        raise SystemExit(supervise(plan))


@contextmanager
def _absent(module: str) -> Iterator[None]:
    """Imports within it do not find the module, unless somebody has it already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # what Python itself means by "is not there"
    try:
        yield
    finally:
        del sys.modules[module]
