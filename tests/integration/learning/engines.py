"""Two edge nodes without a chip: a real EngineService and a real, keyed SuperNode each."""

from __future__ import annotations

from concurrent import futures
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import numpy as np
import psutil
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from reram_fleet.crypto.sealing import job_key_purpose, open_sealed, open_symmetric, seal_symmetric, state_purpose
from reram_fleet.crypto.signing import open_envelope
from reram_fleet.processes.channel import listen_on_socket
from reram_fleet.processes.flower import ENGINE_ADDRESS_KEY, ENGINE_TOKEN_FILE_KEY, process_environment, program
from reram_fleet.processes.supervised import SupervisedProcess
from reram_fleet.v1.engine_pb2 import RunRoundRequest, RunRoundResponse
from reram_fleet.v1.engine_pb2_grpc import EngineServiceServicer, add_EngineServiceServicer_to_server
from reram_fleet.v1.types_pb2 import LEARNING_KIND_EVALUATE_QUALITY, JobTicket, LoraState
from reram_fleet.wire.lora_states import StateArrays

from fleet.learning.ports import remembered_port

#: What a node sends as the weight of a row whose subject it does not know. A power of two: exact.
ENGINE_TOKEN = "engine-token"


@dataclass(frozen=True)
class Learner:
    """Adds one to the rows it knows."""

    knows: str
    examples: int

    def step(self, state: StateArrays) -> StateArrays:
        """Return this node's contribution to the average."""
        known = np.array([tag == self.knows for tag in state.tags], np.uint8)
        return replace(state, rows=(state.rows + 1) * known[:, None].astype(np.int16), row_weights=known)


class ProbeNode(EngineServiceServicer):
    """One node: engine, keys and SuperNode."""

    def __init__(self, folder: Path, node_id: str, learner: Learner, command_key: bytes) -> None:
        self.node_id = node_id
        self.learner = learner
        self.sealing_key = X25519PrivateKey.generate()
        self.tickets: list[JobTicket] = []
        self._command_key = command_key
        self._folder = folder
        self._supernode: SupervisedProcess | None = None
        folder.mkdir(mode=0o700)
        self._flower_key = ec.generate_private_key(ec.SECP384R1())
        (folder / "engine.token").write_text(ENGINE_TOKEN)
        (folder / "flower.key").write_bytes(
            self._flower_key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            )
        )
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        add_EngineServiceServicer_to_server(self, self._server)
        self._engine_address = listen_on_socket(self._server, folder / "engine.sock")
        self._server.start()

    @property
    def flower_public_key(self) -> str:
        return (
            self._flower_key.public_key()
            .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
            .decode()
        )

    def start_supernode(self, fleet_address: str, ca_pem: bytes) -> None:
        (self._folder / "ca.pem").write_bytes(ca_pem)
        node_config = {
            ENGINE_ADDRESS_KEY: self._engine_address,
            ENGINE_TOKEN_FILE_KEY: self._folder / "engine.token",
        }
        self._supernode = SupervisedProcess(
            name=f"supernode-{self.node_id}",
            command=[
                program("flower-supernode"),
                "--superlink",
                fleet_address,
                "--root-certificates",
                str(self._folder / "ca.pem"),
                "--auth-supernode-private-key",
                str(self._folder / "flower.key"),
                "--port",
                str(remembered_port(self._folder / "supernode.port")),
                "--node-config",
                " ".join(f'{key}="{value}"' for key, value in node_config.items()),
            ],
            log_path=self._folder / "supernode.log",
            working_directory=self._folder,
            environment=process_environment(self._folder / "home"),
        )
        self._supernode.start()

    def kill_supernode(self) -> None:
        """Kill the SuperNode with SIGKILL; another one is started."""
        assert self._supernode is not None
        (supernode,) = psutil.Process(self._supernode.pid).children()
        supernode.kill()

    def stop(self) -> None:
        if self._supernode is not None:
            self._supernode.stop()
        self._server.stop(None).wait()

    def RunRound(self, request: RunRoundRequest, context: grpc.ServicerContext) -> RunRoundResponse:  # noqa: N802
        assert ("authorization", f"Bearer {ENGINE_TOKEN}") in context.invocation_metadata()
        ticket = open_envelope(request.ticket, JobTicket, self._command_key)
        key = open_sealed(self.sealing_key, job_key_purpose(ticket.job_id, self.node_id), ticket.job_key)
        purpose = state_purpose(ticket.job_id)
        state = LoraState.FromString(open_symmetric(key, purpose, request.sealed_state))
        self.tickets.append(ticket)
        if ticket.kind == LEARNING_KIND_EVALUATE_QUALITY:
            metrics = {"accuracy": float(self.learner.examples)}
            return RunRoundResponse(node_id=self.node_id, num_examples=self.learner.examples, metrics=metrics)
        state = self.learner.step(StateArrays.decode(state)).encode()
        return RunRoundResponse(
            node_id=self.node_id,
            sealed_state=seal_symmetric(key, purpose, state.SerializeToString()),
            num_examples=self.learner.examples,
            metrics={"loss": float(self.learner.examples)},
        )
