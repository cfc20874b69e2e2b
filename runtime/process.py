"""The frame of both processes: settings, logs, a clean end on SIGTERM, and one clear sentence when it cannot start."""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn, TypeVar

import structlog

from runtime import logs
from runtime.settings import Settings, SettingsError, read_settings

S = TypeVar("S", bound=Settings)
LONGEST_END: Final = 9.0
"""Seconds from the first signal to the end, whatever is still waited for: a contract of ten, with room to exit."""
log = structlog.get_logger(__name__)


def run(name: str, kind: type[S], main: Callable[[S], Coroutine[Any, Any, None]]) -> int:
    """Run a process until it is told to stop; `main` is cancelled then and cleans up after itself.

    Returns the exit status: 2 for a setting that cannot be used, 1 for an end that nobody asked for.
    """
    if len(sys.argv) > 1:
        print(
            f"usage: python -m {name}   (takes no arguments; docs/configuration.md lists the settings)", file=sys.stderr
        )
        return 0 if sys.argv[1] in ("-h", "--help") else 2
    try:
        settings = read_settings(kind)
        logs.configure(settings.log_format, settings.log_level)
        asyncio.run(_until_stopped(main(settings)))
    except Exception as error:
        if wrong := _setting_in(error):
            print(f"{name}: {wrong}", file=sys.stderr)
            return 2
        # Temporal refuses for good, or a defect. Whoever started it starts it again; the log keeps its format.
        log.critical("ended by an error", process=name, exc_info=True)
        return 1
    log.info("stopped", process=name)
    return 0


def _setting_in(error: BaseException) -> SettingsError | None:
    """The setting that is wrong, also where a group of tasks wrapped it."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(_setting_in, error.exceptions)), None)
    return error if isinstance(error, SettingsError) else None


def leave(status: int) -> NoReturn:
    """End this process now.

    Threads of the SDK's core may still be about to hand something to Python, a connection that was given up for
    instance. They abort the process when they meet an interpreter that is being taken down, so it is not.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


async def _until_stopped(main: Coroutine[Any, Any, None]) -> None:
    working = asyncio.create_task(main)
    stopped = False

    def stop() -> None:
        nonlocal stopped
        if not stopped:
            # On a thread of its own: neither a task that never ends nor a blocked event loop holds it up.
            watchdog = threading.Timer(LONGEST_END, _give_up)
            watchdog.daemon = True
            watchdog.start()
        stopped = True
        working.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await working
    except asyncio.CancelledError:
        if not stopped:
            raise


def _give_up() -> None:
    """Leave although something did not end, such as a poll of a server that says nothing.

    Nothing is lost: Temporal notices that nobody heartbeats, and gives the work to another worker.
    """
    log.warning("stopped without waiting any longer for what is in flight", seconds=LONGEST_END)
    leave(0)
