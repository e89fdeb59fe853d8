"""A fleet's worth of real nodes on one served coordinator: `python -m tests.bench.workloads.fleet_load --help`.

Each node is `edge_node`'s own, in memory, with a small engine: it checks every signature, keeps a journal, and has a
connection of its own. The process writes one JSON object with what it saw; it ends by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import psutil
import torch
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.processes.channel import channel_credentials, channel_options
from reram_fleet.stream_opening import CHALLENGE_KEY, hello_metadata
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1 import operator_pb2 as operator
from reram_fleet.v1.node_pb2_grpc import NodeServiceStub
from reram_fleet.v1.operator_pb2_grpc import OperatorServiceStub

from edge_node.agent.context import SystemClock
from edge_node.agent.link import RECONNECT_BACKOFF
from edge_node.agent.node import JITTER
from fleet.coordinator.testing import FEATURES
from tests.device import Device

#: Beside those of every channel: a connection per node.
OPTIONS = (("grpc.use_local_subchannel_pool", 1),)
#: Enrolments that are asked for at a time.
ENROLLING = 50
#: Streams that are opened in a second at the first start. After a restart, nodes keep to their own back-off.
CONNECTS_PER_S = 200
#: How long the fleet is left to itself to see what that costs, seconds.
IDLE_S = 20.0
#: A forget that has not converged by then never will, as far as this measurement is concerned.
GIVE_UP_S = 600.0


@dataclass
class Load:
    """Fleet of one process, and what it has seen."""

    address: str
    #: Of the authority that vouches for it; empty for a Unix socket.
    ca_pem: bytes
    #: When (monotonic seconds) each node had suppressed a generation.
    suppressed_s: dict[int, list[float]] = field(default_factory=dict)
    #: How long (s) all nodes together worked on suppressing, one after the other in this process.
    suppressing_s: float = 0.0
    refusals: list[str] = field(default_factory=list)
    #: Why nodes have ended that should not.
    failures: list[str] = field(default_factory=list)

    def channel(self) -> grpc.aio.Channel:
        """Return a connection to the coordinator."""
        return grpc.aio.secure_channel(
            self.address, channel_credentials(self.address, self.ca_pem), channel_options(self.address, OPTIONS)
        )

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something holds; `TimeoutError` if that takes too long, `RuntimeError` if a node has failed."""
        started = time.monotonic()
        while not holds():
            if self.failures:
                raise RuntimeError(f"{len(self.failures)} nodes have failed, the first: {self.failures[0]}")
            if time.monotonic() - started > GIVE_UP_S:
                raise TimeoutError(f"{what}: not within {GIVE_UP_S:.0f} s")
            await asyncio.sleep(0.02)


#: How a stream ends whose connection is cut: INTERNAL is what gRPC says where it was just being written to. Whatever
#: the coordinator refuses, it refuses with another status.
_CUT = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL})


class LoadedNode:
    """One node and its stream, opened again whenever it is cut."""

    def __init__(self, load: Load, node: Device) -> None:
        self.load, self.node = load, node
        #: Whether it holds a lease of the present stream, and on how many streams it did.
        self.serving, self.streams = False, 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Let go of the stream."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        while True:
            async with self.load.channel() as channel:
                try:
                    await self._connect_once(NodeServiceStub(channel))  # type: ignore[no-untyped-call]
                except grpc.aio.AioRpcError as error:
                    if error.code() not in _CUT:
                        self.load.refusals.append(f"{error.code().name}: {error.details()}")
                except (grpc.aio.BaseError, asyncio.InvalidStateError):
                    # It was written to when it had ended.
                    pass
                except Exception as error:
                    self.load.failures.append(f"{self.node.node_id}: {error!r}")
                    raise
            failures = 1 if self.serving else failures + 1
            self.serving = False
            await asyncio.sleep(RECONNECT_BACKOFF.delay_s(failures))

    async def _connect_once(self, stub: Any) -> None:
        hello, *following = self.node.receive(wire.ConnectResponse(challenge=await _challenge(stub)))
        stream = stub.Connect(metadata=hello_metadata(hello.hello))
        # A stream takes one message at a time.
        writing = asyncio.Lock()

        async def say(messages: Sequence[wire.ConnectRequest]) -> None:
            async with writing:
                for message in messages:
                    await stream.write(message)

        await say(following)
        beating = asyncio.create_task(self._beat(say))
        try:
            while (message := await stream.read()) is not grpc.aio.EOF:
                kind, begun = message.WhichOneof("message"), time.monotonic()
                answers = self.node.receive(message)
                if kind == "forget_log":
                    ended = time.monotonic()
                    self.load.suppressed_s.setdefault(self.node.generation, []).append(ended)
                    self.load.suppressing_s += ended - begun
                if kind == "lease" and not self.serving:
                    self.serving, self.streams = True, self.streams + 1
                if answers:
                    await say(answers)
            raise grpc.aio.AioRpcError(await stream.code(), (), (), await stream.details())  # type: ignore[arg-type]
        finally:
            beating.cancel()
            stream.cancel()

    async def _beat(self, say: Callable[[Sequence[wire.ConnectRequest]], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(self.node.node.heartbeat_s * random.uniform(*JITTER))
            await say(self.node.heartbeat())


async def _challenge(stub: Any) -> wire.Challenge:
    call = stub.Connect()
    if await call.code() is grpc.StatusCode.UNAUTHENTICATED:
        for key, value in await call.trailing_metadata():
            if key == CHALLENGE_KEY:
                return wire.Challenge.FromString(value)
    raise grpc.aio.AioRpcError(await call.code(), (), (), await call.details())


@dataclass(frozen=True)
class Server:
    """Coordinator under load, as its operator and its machine see it.

    The operator's connection blocks, in a thread: an answer must not wait in the loop of ten thousand nodes.
    """

    stub: Any
    metadata: tuple[tuple[str, str], ...]
    process: psutil.Process

    def cpu_s(self) -> float:
        """Return the CPU time that it has taken, in seconds."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def rss(self) -> int:
        """Return its resident memory, in bytes."""
        return int(self.process.memory_info().rss)

    async def call(self, name: str, request: Any) -> Any:
        """Call the OperatorService."""
        return (await self.timed(name, request))[0]

    async def timed(self, name: str, request: Any) -> tuple[Any, float]:
        """Call the OperatorService; returns also how long the answer took, in seconds."""

        def call() -> tuple[Any, float]:
            begun = time.monotonic()
            answer = getattr(self.stub, name)(request, metadata=self.metadata, timeout=120)
            return answer, time.monotonic() - begun

        return await asyncio.to_thread(call)


async def enrol(server: Server, nodes: Sequence[Device]) -> None:
    """Register nodes, and start them."""
    places = asyncio.Semaphore(ENROLLING)

    async def one(node: Device) -> None:
        async with places:
            node.join(await server.call("EnrollNode", operator.EnrollNodeRequest(identity=node.identity)))

    await asyncio.gather(*(one(node) for node in nodes))


async def forget(server: Server, load: Load, tag: str, nodes: int) -> dict[str, float]:
    """Have one person forgotten; returns how long each part took (s), and the coordinator's CPU time per node (ms)."""
    cpu, own_cpu, started, load.suppressing_s = server.cpu_s(), time.process_time(), time.monotonic(), 0.0
    request = operator.CreateForgetRequest(request_id=new_tag(), subject_tags=[tag])
    response, create_s = await server.timed("CreateForget", request)
    made = response.forget
    await load.until(lambda: len(load.suppressed_s.get(made.generation, ())) >= nodes, "all nodes suppress")
    latest = sorted(at - started for at in load.suppressed_s[made.generation])
    while True:
        found = (await server.call("GetForget", operator.GetForgetRequest(campaign_id=made.campaign_id))).forget
        if found.state == "converged":
            break
        if time.monotonic() - started > GIVE_UP_S:
            raise TimeoutError(f"the forget of generation {made.generation} is still {found.state}")
        await asyncio.sleep(0.5)
    return {
        "create_s": create_s,
        "suppressing_s": load.suppressing_s,
        "suppressed_p50_s": latest[len(latest) // 2],
        "suppressed_p99_s": latest[min(len(latest) - 1, int(len(latest) * 0.99))],
        "suppressed_last_s": latest[-1],
        "converged_s": time.monotonic() - started,
        "cpu_ms_per_node": 1000 * (server.cpu_s() - cpu) / nodes,
        "load_cpu_ms_per_node": 1000 * (time.process_time() - own_cpu) / nodes,
    }


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Put a coordinator under load; returns what was seen, by name."""
    # As the product's daemon: the second core is the coordinator's.
    torch.set_num_threads(1)
    clock = SystemClock()
    nodes = [
        Device(f"node-{number:05d}", clock=clock, heartbeat_s=options.heartbeat) for number in range(options.nodes)
    ]
    load = Load(options.address, Path(options.ca).read_bytes() if options.ca else b"")
    people = [new_tag() for _ in range(options.forgets + 1)]
    channel = grpc.secure_channel(
        load.address, channel_credentials(load.address, load.ca_pem), channel_options(load.address)
    )
    token = Path(options.token_file).read_text(encoding="utf-8").strip()
    server = Server(
        OperatorServiceStub(channel),  # type: ignore[no-untyped-call]
        (("authorization", f"Bearer {token}"),),
        psutil.Process(options.pid),
    )
    before = server.rss()
    await enrol(server, nodes)
    _say(f"{len(nodes)} nodes are enrolled")
    enrolled_rss = server.rss()
    generator = np.random.default_rng(7)
    for number, tag in enumerate(people):
        nodes[number % len(nodes)].capture(tag, generator.integers(-300, 300, (4, FEATURES)))
    # What was made until now stays: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    links = [LoadedNode(load, node) for node in nodes]
    for start in range(0, len(links), CONNECTS_PER_S // 10):
        for link in links[start : start + CONNECTS_PER_S // 10]:
            link.start()
        await asyncio.sleep(0.1)
    all_serve = lambda: all(link.serving for link in links)  # noqa: E731
    await load.until(all_serve, "all nodes serve")
    _say("all nodes serve")
    await load.until(lambda: all(len(node.active()) > options.forgets for node in nodes), "all nodes run the revision")
    _say("all nodes run the revision with everybody")
    # Each says once more that it serves.
    await asyncio.sleep(2 * max(link.node.node.heartbeat_s for link in links))
    seen: dict[str, Any] = {"nodes": len(nodes), "link_kib": (server.rss() - enrolled_rss) / len(nodes) / 1024}
    seen["node_kib"] = (enrolled_rss - before) / len(nodes) / 1024
    cpu, started = server.cpu_s(), time.monotonic()
    await asyncio.sleep(IDLE_S)
    seen["idle_cores"] = (server.cpu_s() - cpu) / (time.monotonic() - started)
    _say(f"idle: {seen['idle_cores']:.3f} cores, {seen['link_kib']:.0f} KiB per link")
    seen["forgets"] = []
    for tag in people[: options.forgets]:
        seen["forgets"].append(await forget(server, load, tag, len(nodes)))
        _say(", ".join(f"{name} {value:.2f}" for name, value in seen["forgets"][-1].items()))
    if options.restarted:
        before_restart = [link.streams for link in links]
        Path(options.restarted).touch()
        await load.until(lambda: not all_serve(), "nodes lose their coordinator")
        started = time.monotonic()
        again = lambda: all(link.streams > times for link, times in zip(links, before_restart, strict=True))  # noqa: E731
        await load.until(again, "all nodes serve again")
        seen["reconnected_s"] = time.monotonic() - started
        _say(f"all nodes serve {seen['reconnected_s']:.0f} s after the coordinator was gone")
    seen["refusals"] = sorted(set(load.refusals))[:5]
    await asyncio.gather(*(link.stop() for link in links))
    return seen


def main(arguments: Sequence[str]) -> None:
    """Parse the command line, run, and print what was seen."""
    parser = argparse.ArgumentParser(prog="fleet_load", description=__doc__)
    parser.add_argument("--address", required=True, help="host:port of the coordinator, or unix:PATH")
    parser.add_argument("--ca", help="certificate of the authority that vouches for it")
    parser.add_argument("--token-file", required=True, help="its operator token")
    parser.add_argument("--pid", type=int, required=True, help="its process")
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--forgets", type=int, default=3, help="people who are forgotten, one after the other")
    parser.add_argument("--heartbeat", type=float, default=10.0, help="seconds between heartbeats of a node")
    parser.add_argument("--restarted", help="a file to make when the coordinator is to be killed and started again")
    sys.stdout.write(json.dumps(asyncio.run(run(parser.parse_args(arguments)))) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
