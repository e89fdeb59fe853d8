"""`fleet serve` as a real process, and a node of this process on a real stream to it."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import grpc
from reram_fleet.processes.channel import open_channel
from reram_fleet.processes.flower import program
from reram_fleet.stream_opening import hello_metadata, request_challenge
from reram_fleet.v1 import node_pb2 as wire
from reram_fleet.v1.node_pb2_grpc import NodeServiceStub

from fleet.client import FleetClient
from fleet.config import SERVE_FILE
from fleet.coordinator.testing import CODES, REGISTRY_KEY
from tests.device import Device

T = TypeVar("T")
LIMIT_S = 60.0


def eventually(what: str, probe: Callable[[], T | None]) -> T:
    """Return the first truthy answer of a probe."""
    deadline, pause_s = time.monotonic() + LIMIT_S, 0.02
    while time.monotonic() < deadline:
        if answer := probe():
            return answer
        # To ask takes a core that who is asked may want.
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, 0.25)
    raise AssertionError(f"never came: {what}")


class CoordinatorProcess:
    """One state folder, and the process that serves from it while there is one; `database` may be elsewhere."""

    def __init__(self, state: Path, database: str | None = None, options: Sequence[str] = ()) -> None:
        self.state, self.database = state, database
        self.process: subprocess.Popen[bytes] | None = None
        self.address, self.options = "", options

    def start(self) -> None:
        """Start the process; returns when it serves."""
        (self.state / SERVE_FILE).unlink(missing_ok=True)
        self.state.mkdir(parents=True, exist_ok=True)
        command = [program("fleet"), "serve", "--state", str(self.state), "--no-flower", "--metrics-port", "0"]
        command += ["--task", "test", "--code-range", f"{CODES.features}:{CODES.code_max}"]
        command += ["--registry-key", REGISTRY_KEY.public_key().public_bytes_raw().hex()]
        command += ["--database", self.database] if self.database else []
        command += self.options
        with (self.state / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.address = str(eventually("the coordinator serves", self._served)["address"])

    def _served(self) -> dict[str, object] | None:
        assert self.process is not None
        assert self.process.poll() is None, (self.state / "serve.log").read_text()
        path = self.state / SERVE_FILE
        return json.loads(path.read_text()) if path.exists() else None

    def kill(self) -> None:
        """End the process as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def client(self, token_file: Path | None = None) -> FleetClient:
        """Return an operator's client."""
        token_file = token_file or self.state / "keys" / "operator.token"
        return FleetClient.from_files(self.address, token_file, self.state / "ca.pem")

    def channel(self, address: str = "", *, options: Sequence[tuple[str, object]] = ()) -> grpc.Channel:
        """Return a channel that trusts its authority, to another address if it is said."""
        return open_channel(address or self.address, (self.state / "ca.pem").read_bytes(), options)

    def enroll(self, node: Device) -> None:
        """Register a node, and tell it what it needs to join."""
        with self.client() as client:
            answer = client.enroll_node(node.identity)
        assert answer.node_service_address == self.address
        assert answer.coordinator_ca_pem.encode() == (self.state / "ca.pem").read_bytes()
        node.join(answer)

    def metrics(self) -> str:
        """Return what Prometheus would scrape."""
        served = self._served()
        assert served is not None
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{served['metrics_address']}/metrics", timeout=10.0) as response:
            text: str = response.read().decode()
            return text


class NodeStream:
    """A node's stream: a thread that answers what comes, unless `answers` says no.

    Parameters
    ----------
    answers
        Whether the node acts upon a message; one that it does not act upon is lost.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        node: Device,
        answers: Callable[[wire.ConnectResponse], bool] = lambda message: True,
    ) -> None:
        self.node, self._answers = node, answers
        self.heard: list[wire.ConnectResponse] = []
        self.status: grpc.StatusCode | None = None
        self.details = ""
        self._outbox: queue.SimpleQueue[wire.ConnectRequest | None] = queue.SimpleQueue()
        self._channel = channel
        self._stream: grpc.Call | None = None
        self._thread = threading.Thread(target=self._run, name=f"stream-{node.node_id}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            stub = NodeServiceStub(self._channel)
            challenge = wire.ConnectResponse(challenge=request_challenge(stub, LIMIT_S))
            self.heard.append(challenge)
            hello, *following = self.node.receive(challenge)
            self.say(*following)
            metadata = hello_metadata(hello.hello) if hello.HasField("hello") else ()
            self._stream = stub.Connect(iter(self._outbox.get, None), metadata=metadata)
            for message in self._stream:
                if self._answers(message):
                    self.say(*self.node.receive(message))
                self.heard.append(message)
            self.status = self._stream.code()
        except grpc.RpcError as error:
            self.status, self.details = error.code(), error.details() or ""

    def say(self, *messages: wire.ConnectRequest) -> None:
        """Send something unasked."""
        for message in messages:
            self._outbox.put(message)

    def heartbeat(self) -> None:
        """Send the sign of life, and what is due with it."""
        self.say(*self.node.heartbeat())

    def has_heard(self, kind: str) -> bool:
        """Whether a message of this kind has come."""
        return any(message.WhichOneof("message") == kind for message in list(self.heard))

    def wait_heard(self, kind: str) -> None:
        """Return once a message of this kind has come and was acted upon."""
        eventually(f"a {kind} for {self.node.node_id}", lambda: self.has_heard(kind))

    def wait_ended(self) -> grpc.StatusCode:
        """Return the status with which the coordinator ended the stream."""
        return eventually(f"the end of a stream of {self.node.node_id}", lambda: self.status)

    def close(self) -> None:
        """Leave."""
        if self._stream is not None:
            self._stream.cancel()
        self._outbox.put(None)
        self._channel.close()
        self._thread.join(LIMIT_S)
