"""Bare grpc.aio as the floor of any coordinator: N streams, 400 bytes to each at once, and an answer from each.

`python -m tests.bench.workloads.echo_fanout N` prints one JSON object. A Unix socket, as the coordinator has it under
load; no protobuf, signature or database. Server and client are two processes, a connection per stream.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc.aio
import psutil
from reram_fleet.processes.channel import listen_on_socket

from tests.bench.workloads.fleet_load import CONNECTS_PER_S, Load

SIZE = 400
ROUNDS = 3
METHOD = "/floor.Echo/Connect"


class _Echo(grpc.GenericRpcHandler):
    """Server of the streams; one that says `go` has a message sent to all, and one more when all have answered."""

    def __init__(self) -> None:
        self._streams: list[Any] = []
        self._waiting, self._answered = 0, asyncio.Event()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return grpc.stream_stream_rpc_method_handler(self._connect)

    async def _connect(self, requests: AsyncIterator[bytes], context: Any) -> None:
        self._streams.append(context)
        async for request in requests:
            if request == b"go":
                self._fanout = asyncio.create_task(self._send_all(context))
            elif request == b"answer":
                self._waiting -= 1
                if not self._waiting:
                    self._answered.set()

    async def _send_all(self, asking: Any) -> None:
        self._waiting, self._answered = len(self._streams), asyncio.Event()
        await asyncio.gather(*(stream.write(b"x" * SIZE) for stream in self._streams))
        await self._answered.wait()
        await asking.write(b"done")


def _serve(path: Path, told: Connection) -> None:
    async def serve() -> None:
        server = grpc.aio.server(handlers=[_Echo()])
        address = listen_on_socket(server, path)
        await server.start()
        told.send(address)
        await server.wait_for_termination()

    asyncio.run(serve())


async def _load(address: str, server: psutil.Process, links: int) -> dict[str, float]:
    arrived: list[float] = []
    done = asyncio.Event()

    async def one() -> Any:
        channel = Load(address, b"").channel()
        stream = channel.stream_stream(METHOD)()
        await stream.write(b"hello")
        asyncio.create_task(listen(stream))  # noqa: RUF006  # The stream keeps it.
        return channel, stream

    async def listen(stream: Any) -> None:
        while (message := await stream.read()) is not grpc.aio.EOF:
            if message == b"done":
                done.set()
            else:
                arrived.append(time.monotonic())
                await stream.write(b"answer")

    before, opened = server.memory_info().rss, []
    for _ in range(links):
        opened.append(asyncio.create_task(one()))
        await asyncio.sleep(1 / CONNECTS_PER_S)
    streams = await asyncio.gather(*opened)
    await asyncio.sleep(1)
    seen = {"link_kib": (server.memory_info().rss - before) / links / 1024}
    latest, whole = [], []
    for _ in range(ROUNDS):
        arrived.clear()
        done.clear()
        started = time.monotonic()
        await streams[0][1].write(b"go")
        await done.wait()
        whole.append(time.monotonic() - started)
        latest.append(sorted(at - started for at in arrived)[min(links - 1, int(links * 0.99))])
    return seen | {"fanout_p99_s": sorted(latest)[ROUNDS // 2], "answered_s": sorted(whole)[ROUNDS // 2]}


def main(links: int) -> None:
    """Serve, load, and print what was seen."""
    context = multiprocessing.get_context("spawn")
    told, telling = context.Pipe()
    with TemporaryDirectory() as folder:
        server = context.Process(target=_serve, args=(Path(folder) / "echo.sock", telling), daemon=True)
        server.start()
        try:
            seen = asyncio.run(_load(told.recv(), psutil.Process(server.pid), links))
        finally:
            server.kill()
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
