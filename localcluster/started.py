"""The frames of everything here that is started: for the length of a `with` block, and on a thread of its own."""

import asyncio
import contextlib
import selectors
import threading
from abc import ABC, abstractmethod
from typing import Self

from localcluster.processes import free_port


class Started(ABC):
    """Is there within a `with` block. Nothing of it is left afterwards, nor where its start failed."""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _start(self) -> None:
        """Start it, and return when it is of use."""

    @abstractmethod
    def close(self) -> None:
        """End every process and remove every file. Also called when only a part was started."""


class ThreadedServer(Started):
    """A server on an event loop in a thread of its own, so that synchronous code can have it beside itself."""

    def __init__(self, name: str) -> None:
        self.port = free_port()
        self._thread = threading.Thread(target=self._run, daemon=True, name=name)
        self._up = threading.Event()

    def _start(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._loop = asyncio.SelectorEventLoop(self._selector)
        self._thread.start()
        if not self._up.wait(10):
            raise RuntimeError(f"{self._thread.name} did not start")

    def close(self) -> None:
        if self._up.is_set():
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(20)
        if self._thread.ident is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
            self._loop.close()

    async def _end(self) -> None:
        """TLS says goodbye, which takes a round trip: a loop that ends before it leaks the connection."""
        await self._cleanup()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while len(self._selector.get_map()) > 1:  # the one is the loop's own
                    await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)  # their last callbacks

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._up.set()
        self._loop.run_forever()

    @abstractmethod
    async def _serve(self) -> None:
        """Listen on the port."""

    @abstractmethod
    async def _cleanup(self) -> None:
        """Close every connection."""
