"""A server as a process: from its start to the signal that ends it."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Mapping

import structlog

import tocsin_server
from tocsin_server.bootstrap.serving import bootstrap
from tocsin_server.settings import Settings

SWITCH_SECONDS = 0.0002
"""How long the event loop may keep the interpreter from the writer, which needs it after every statement: a Send that
arrives while a broadcast is being told waits a dozen times for it."""

GC_THRESHOLD = 10_000
"""Objects that may gather before the garbage collector looks at the youngest; values are not among them."""

log = structlog.get_logger(__name__)


async def serve(settings: Settings, environ: Mapping[str, str]) -> None:
    """Serves until SIGTERM or SIGINT, then drains; a second signal ends the process at once."""
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()
        # Whatever keeps the end from coming, what was acked is on disk.
        loop.call_later(settings.drain_timeout, os._exit, 1)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    async with bootstrap(settings, environ) as server:
        log.info(
            "serving",
            listen=settings.listen,
            port=server.port,
            database=settings.database,
            tls=settings.tls_cert is not None,
            version=tocsin_server.__version__,
        )
        if settings.address.is_local:
            log.info("only callers on this machine can connect")
        await stop.wait()
        log.info("draining")
    log.info("stopped")


def run(settings: Settings, environ: Mapping[str, str]) -> None:
    """Serves in this process, on the fastest event loop there is. Returns when the server has stopped."""
    # What was imported stays; looking through it again and again took 6 % of the processor. The little garbage in it
    # stays too: to look for it would take as long as all the rest that is still to be done.
    gc.freeze()
    gc.enable()
    gc.set_threshold(GC_THRESHOLD, 20, 50)
    sys.setswitchinterval(SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(settings, environ))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if sys.platform == "win32":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop
