"""`tocsin serve`."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from typer import Option, Typer

from tocsin_server.cli.failures import failures
from tocsin_server.cli.settings import ConfigFile, Database, Set, loaded

app = Typer(add_completion=False)


@app.command()
def serve(
    config: ConfigFile = None,
    listen: Annotated[
        str | None, Option(metavar="ADDRESS", help="host:port, [IPv6]:port or unix:path; port 0: any.")
    ] = None,
    database: Database = None,
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

    Settings come from the defaults, then a TOML file (--config, TOCSIN_CONFIG), then the environment (TOCSIN_ and the
    name in capitals), then these options. `tocsin config` shows all of them, and where each value comes from.
    """
    settings = loaded(
        config,
        set,
        listen=listen,
        database=database,
        port_file=port_file,
        metrics_port=metrics_port,
        log_format=log_format,
        log_level=log_level,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        insecure=insecure or None,
    ).settings
    # Most of a start are these imports, so a mistake in the options is told before. Looking for garbage meanwhile would
    # take a tenth of it; `run` turns that on again. As much would go into rich, which structlog takes along where it is
    # there, for tracebacks that nobody shows.
    gc.disable()
    with _absent("rich"):
        from tocsin_server import logs
    logs.configure(settings.log_format, settings.log_level)
    from tocsin_server import bootstrap

    with failures(*bootstrap.REFUSALS, OSError):
        bootstrap.run(settings, os.environ)


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
