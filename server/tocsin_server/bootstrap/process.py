"""A server as a process: from its start to the signal that ends it."""

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Mapping

import structlog

import tocsin_server
from tocsin_server.bootstrap.member import Member
from tocsin_server.bootstrap.serving import bootstrap
from tocsin_server.settings import Settings

SWITCH_SECONDS = 0.0002
"""How long the event loop may keep the interpreter from the writer, which needs it after every statement: a Send that
arrives while a broadcast is being told waits a dozen times for it."""

GC_THRESHOLD = 10_000
"""Objects that may gather before the garbage collector looks at the youngest; values are not among them."""

log = structlog.get_logger(__name__)


async def serve(settings: Settings, environ: Mapping[str, str], member: Member | None = None) -> None:
    """Serves until SIGTERM or SIGINT, then drains; a second signal ends the process at once.

    A member of a fleet drains as well when its supervisor asks for it or is gone.
    """
    stop, signalled = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def drain() -> None:
        if not stop.is_set():
            stop.set()
            # Whatever keeps the end from coming, what was acked is on disk.
            loop.call_later(settings.drain_timeout, os._exit, 1)

    def on_signal() -> None:
        if signalled.is_set():
            os._exit(1)
        signalled.set()
        drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    if member is not None:
        member.until_told(drain)
    async with bootstrap(settings, environ, share_port=member is not None) as server:
        log.info(
            "serving",
            listen=settings.listen,
            port=server.port,
            database=settings.storage,
            tls=settings.tls_cert is not None,
            version=tocsin_server.__version__,
        )
        if settings.address.is_local:
            log.info("only callers on this machine can connect")
        if member is not None:
            member.tell_ready()
        await stop.wait()
        log.info("draining")
    log.info("stopped")


def run(settings: Settings, environ: Mapping[str, str], member: Member | None = None) -> None:
    """Serves in this process, on the fastest event loop there is. Returns when the server has stopped."""
    # What was imported stays; looking through it again and again took 6 % of the processor. The little garbage in it
    # stays too: to look for it would take as long as all the rest that is still to be done.
    gc.freeze()
    gc.enable()
    gc.set_threshold(GC_THRESHOLD, 20, 50)
    sys.setswitchinterval(SWITCH_SECONDS)
    _let_threads_finish()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(settings, environ, member))


def _let_threads_finish() -> None:
    """No thread of this process interrupts another that has just woken it; all that are started later inherit that.

    gRPC wakes threads of its own three times a call. Each took the processor from the event loop at once, though
    another was idle. See ADR 0020.
    """
    if hasattr(os, "SCHED_BATCH"):
        # Where a sandbox forbids it, the server is slower, and else the same.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if sys.platform == "win32":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop
