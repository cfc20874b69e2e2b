"""The wire between one process and one server, which can be slow, silent or cut while the server is well for others."""

import asyncio
import contextlib
import ssl
from typing import Final

from localcluster.started import ThreadedServer

PIECE: Final = 2**16


class Line(ThreadedServer):
    """Passes bytes of TCP connections on, whatever they mean: to an API server, or gRPC to Temporal.

    A line that is held is a partition as TCP sees it: connections stay open and can be made, nothing arrives, and what
    was sent meanwhile arrives when it is over.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"line-{name}")
        self.target = 0
        """The server's port on the loopback address."""
        self.latency = 0.0
        """Seconds that everything takes longer, in each direction."""
        self.tls: ssl.SSLContext | None = None
        """With it, set before the start, the near half of the line is encrypted."""
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()

    def hold(self) -> None:
        """From now on nothing arrives, in either direction."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def cut(self) -> None:
        """Every connection is reset, and so is each that is made."""
        self._is_cut = True
        self._loop.call_soon_threadsafe(self._abort)

    def reset(self) -> None:
        """Every connection is reset; new ones can be made."""
        self._loop.call_soon_threadsafe(self._abort)

    def heal(self) -> None:
        """Everything arrives at once again."""
        self._is_cut, self.latency = False, 0.0
        self._loop.call_soon_threadsafe(self._flowing.set)

    async def _serve(self) -> None:
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, ssl=self.tls)

    async def _cleanup(self) -> None:
        self._server.close()
        self._abort()
        for task in list(self._passing):
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        self._writers.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            if self._is_cut:
                return
            await self._flowing.wait()
            answers, there = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.add(there)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pass(reader, there))
                ways.create_task(self._pass(answers, writer))
        except* OSError:
            pass  # one end hung up, or the server is away, as it would be without us
        finally:
            self._passing.discard(task)
            for each in (writer, there):
                if each is not None:
                    self._writers.discard(each)
                    each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            await asyncio.sleep(self.latency)
            await self._flowing.wait()
            writer.write(piece)
            await writer.drain()
        await self._flowing.wait()
        with contextlib.suppress(OSError):
            if writer.can_write_eof():  # TLS cannot
                writer.write_eof()
            else:
                writer.close()
