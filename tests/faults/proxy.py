"""A TCP proxy that resets its connections when it is told to.

proxy = Proxy("tcp://127.0.0.1:7420")
peer.connect(proxy.url)
proxy.cut()          # RST to both sides of every connection; what was on its way is lost
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any

BLOCK = 64 << 10
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: close() sends RST and drops what is queued


class Proxy:
    """Runs in a thread of its own. All methods may be called from others."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("tcp://").rsplit(":", 1)
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.setblocking(False)
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: set[asyncio.Task[None]] = set()  # one for each connection
        self.cuts = 0  # connections that were reset
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._accepting = asyncio.run_coroutine_threadsafe(self._accept(), self._loop)

    async def _accept(self) -> None:
        while True:
            inner, _ = await self._loop.sock_accept(self._listener)
            connection = self._loop.create_task(self._serve(inner))
            self._open.add(connection)
            connection.add_done_callback(self._open.discard)

    async def _serve(self, inner: socket.socket) -> None:
        """Carries both ways until either side ends or it is cancelled; then resets both."""
        outer = socket.socket()
        ways: list[asyncio.Task[None]] = []
        for side in (inner, outer):
            side.setblocking(False)
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._loop.sock_connect(outer, self._target)
            ways = [
                self._loop.create_task(self._carry(inner, outer)),
                self._loop.create_task(self._carry(outer, inner)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for side in (inner, outer):
                with contextlib.suppress(OSError):
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                side.close()

    async def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        while data := await self._loop.sock_recv(source, BLOCK):
            await self._loop.sock_sendall(sink, data)

    async def _cut(self, share: float) -> None:
        chosen = [c for c in self._open if random.random() < share]
        self.cuts += len(chosen)
        for connection in chosen:
            connection.cancel()
        if chosen:
            await asyncio.wait(chosen)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def cut(self, share: float = 1.0) -> None:
        """Resets each connection with this probability; returns when that is done."""
        self._do(self._cut(share))

    def close(self) -> None:
        self._accepting.cancel()
        self._do(self._cut(1.0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._listener.close()
