"""One node daemon of a fleet on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format
from reram_fleet.processes.flower import program
from reram_fleet.v1.operator_pb2 import EnrollNodeResponse
from reram_fleet.v1.types_pb2 import NodeIdentity

from fleet.errors import reason_of
from fleet.local.engine_client import EngineClient
from fleet.local.errors import LocalFleetError

_COMMAND_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Running:
    """Addresses and process of a running daemon, from its `run.json`."""

    pid: int
    engine_address: str
    metrics_address: str
    #: Why node and coordinator do not go together; "" if they do.
    refusal: str


@dataclass(frozen=True)
class LocalNode:
    """A node's state folder and the `edge-node` commands that work on it.

    The daemon is a program, not a library: `fleet` knows it by its commands and files only.
    """

    node_id: str
    state: Path

    @property
    def run_file(self) -> Path:
        """Where the daemon writes its addresses once its ports are bound."""
        return self.state / "run.json"

    def init(self) -> NodeIdentity:
        """Make the node's keys (or find them) and return their public halves."""
        output = self._command("init", "--node-id", self.node_id)
        try:
            return json_format.Parse(output, NodeIdentity())
        except json_format.ParseError as error:
            raise LocalFleetError(f"`edge-node init` of {self.node_id} printed no identity: {error}") from error

    def join(self, enrolment: EnrollNodeResponse) -> None:
        """Tell the node which coordinator to trust."""
        path = self.state / "enrolment-received.json"
        path.write_text(json_format.MessageToJson(enrolment), encoding="utf-8")
        try:
            self._command("join", str(path))
        finally:
            path.unlink()

    def addresses(self) -> dict[str, str]:
        """Return where the running daemon is."""
        running = self._running()
        return {
            "node_id": self.node_id,
            "state": str(self.state),
            "engine_address": running.engine_address,
            "metrics_address": running.metrics_address,
        }

    def run_command(self, *options: str) -> list[str]:
        """Return the argument vector of the daemon."""
        return [_edge_node(), "run", "--state", str(self.state), *options]

    def running(self) -> Running | None:
        """Return what the daemon says of itself; None before its ports are bound."""
        try:
            raw = json.loads(self.run_file.read_text(encoding="utf-8"))
            return Running(
                int(raw["pid"]), str(raw["engine_address"]), str(raw["metrics_address"]), str(raw.get("refusal", ""))
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LocalFleetError(f"{self.run_file} is not what edge-node writes: {reason_of(error)}") from error

    def engine(self) -> EngineClient:
        """Open a connection to the running daemon's engine.

        Raises
        ------
        LocalFleetError
            If it does not run.
        """
        return EngineClient.from_token_file(self.node_id, self._running().engine_address, self.state / "engine.token")

    def _running(self) -> Running:
        running = self.running()
        if running is None:
            raise LocalFleetError(f"{self.node_id} does not run: there is no {self.run_file.name}")
        return running

    def _command(self, verb: str, *arguments: str) -> str:
        command = [_edge_node(), verb, "--state", str(self.state), *arguments]
        try:
            done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise LocalFleetError(f"`edge-node {verb}` of {self.node_id} took over {error.timeout:g} s") from error
        except subprocess.CalledProcessError as error:
            raise LocalFleetError(
                f"`edge-node {verb}` of {self.node_id} failed with code {error.returncode}", hint=error.stderr.strip()
            ) from error
        return done.stdout


def prepare_task(task: str) -> None:
    """Make what all nodes of a task share, which would else keep each of them from getting ready in time.

    What the process says on its way goes to our standard error.

    Raises
    ------
    LocalFleetError
        If it fails: the task's data may be missing.
    """
    # Under a reaper: training goes on for minutes, and must end with us.
    command = [sys.executable, "-m", "reram_fleet.processes.reaper", "--parent", str(os.getpid()), "--"]
    done = subprocess.run([*command, _edge_node(), "prepare", "--task", task], check=False, stdout=sys.stderr)
    if done.returncode:
        raise LocalFleetError(f"`edge-node prepare --task {task}` failed with code {done.returncode}")


def _edge_node() -> str:
    return program("edge-node")
