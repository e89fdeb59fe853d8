"""Links of nodes that fail: a proxy before each address that a node connects to, and a network namespace."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
_SET_FLAGS, _UP, _DOWN = 0x8914, 0x41, 0x40
_libc = ctypes.CDLL(None, use_errno=True)


class NetworkNamespace:
    """A network of its own with nothing but a loopback interface; it ends with this process."""

    def __init__(self) -> None:
        # One thread lives in it; what it starts does, too, and its sockets are served from anywhere.
        self._inside = ThreadPoolExecutor(1, thread_name_prefix="namespace")
        try:
            self.path = self._inside.submit(self._enter).result()
        except OSError:
            self._inside.shutdown()
            raise

    @staticmethod
    def _enter() -> str:
        if _libc.unshare(CLONE_NEWNET):
            errno = ctypes.get_errno()
            raise OSError(errno, f"unshare: {os.strerror(errno)}")
        descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _set_loopback(_UP)
        return f"/proc/{os.getpid()}/fd/{descriptor}"

    def listener(self) -> socket.socket:
        """Return a socket that listens in it, on a port of its loopback interface."""
        return self._inside.submit(_listener).result()

    def plug(self, up: bool) -> None:
        """Take its interface up or down: connections stay, and say nothing."""
        self._inside.submit(_set_loopback, _UP if up else _DOWN).result()

    def lose(self, percent: int) -> bool:
        """Lose this share of the packets; whether that can be done here."""
        rules = "delete table inet lossy" if percent == 0 else _LOSSY.format(percent=percent)
        if (nft := shutil.which("nft")) is None:
            return False
        done = self._inside.submit(subprocess.run, [nft, rules], capture_output=True, check=False).result()
        return bool(done.returncode == 0)

    def close(self) -> None:
        """Let go of it."""
        self._inside.shutdown()
        os.close(int(self.path.rpartition("/")[2]))


_LOSSY = (
    "add table inet lossy {{ chain in {{ type filter hook input priority 0; "
    "numgen random mod 100 < {percent} drop; }} ; }}"
)


def _listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=64)


def _set_loopback(flags: int) -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags))


class FaultyProxy:
    """Proxy of TCP that loses, delays and resets what it carries.

    Bytes that were lost stay so: whoever sent them is heard out of TLS afterwards, as after a fault of a cable.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, listener: socket.socket, upstream: str) -> None:
        host, _, port = upstream.rpartition(":")
        self._loop, self._upstream = loop, (host, int(port))
        self._open: set[asyncio.StreamWriter] = set()
        self.address = "{}:{}".format(*listener.getsockname())
        #: Directions in which bytes are lost: "up" to the coordinator, "down" to the node.
        self.lost: frozenset[str] = frozenset()
        self.delay_s = 0.0
        self._server = self._done(asyncio.start_server(self._carry, sock=listener))

    def _done(self, work: object) -> asyncio.Server:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()  # type: ignore[arg-type]

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        except OSError:
            self._abort(writer)
            return
        self._open.add(up_writer)
        pumps = [
            asyncio.create_task(self._pump(reader, up_writer, "up")),
            asyncio.create_task(self._pump(up_reader, writer, "down")),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for each in (writer, up_writer):
            self._abort(each)
        for pump in pumps:
            pump.cancel()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                await asyncio.sleep(self.delay_s)
                if direction not in self.lost:
                    writer.write(data)
                    await writer.drain()

    def _abort(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        connection = writer.get_extra_info("socket")
        if connection is not None:
            with contextlib.suppress(OSError):
                # A reset instead of an orderly end.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    def reset(self) -> None:
        """Reset every connection that is open."""
        self._loop.call_soon_threadsafe(lambda: [self._abort(writer) for writer in list(self._open)])

    def close(self) -> None:
        """Reset all, and listen no more."""
        self._loop.call_soon_threadsafe(self._server.close)
        self.reset()


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxies", daemon=True)
    thread.start()
    yield loop

    async def end() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(end(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


class Link:
    """All that is between one node and the rest: proxies, and its network namespace if it has one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, namespace: NetworkNamespace | None) -> None:
        self._loop, self.namespace = loop, namespace
        self._proxies: dict[str, FaultyProxy] = {}

    def through(self, upstream: str) -> str:
        """Return the address of a proxy before an address."""
        if upstream not in self._proxies:
            listener = self.namespace.listener() if self.namespace else _listener()
            self._proxies[upstream] = FaultyProxy(self._loop, listener, upstream)
        return self._proxies[upstream].address

    def lose(self, *directions: str) -> None:
        """Lose what is sent in these directions."""
        self._each(lambda proxy: setattr(proxy, "lost", frozenset(directions)))

    def delay(self, delay_s: float) -> None:
        """Carry everything so much later."""
        self._each(lambda proxy: setattr(proxy, "delay_s", delay_s))

    def reset(self) -> None:
        """Reset every connection."""
        self._each(FaultyProxy.reset)

    def close(self) -> None:
        """End it."""
        self._each(FaultyProxy.close)
        if self.namespace:
            self.namespace.close()

    def _each(self, change: Callable[[FaultyProxy], object]) -> None:
        for proxy in self._proxies.values():
            change(proxy)
