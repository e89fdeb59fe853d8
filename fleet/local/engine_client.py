"""Client of one node's EngineService, as an application on the device would be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, Self

import grpc
from reram_fleet.processes.token_client import TokenClient
from reram_fleet.v1 import engine_pb2 as engine
from reram_fleet.v1 import types_pb2 as types
from reram_fleet.v1.engine_pb2_grpc import EngineServiceStub

from fleet.local.errors import EngineCallError

#: Enrolling captures every sample on the simulated chip, on cores that other nodes share.
CALL_TIMEOUT_S = 60.0
#: A node that generates learns a class while it is enrolled: half a minute of a core that is free.
ENROL_TIMEOUT_S = 600.0


class EngineClient(TokenClient):
    """Connection to the EngineService."""

    def __init__(self, node_id: str, address: str, token: str) -> None:
        super().__init__(address, token, EngineServiceStub)
        self.node_id = node_id

    @classmethod
    def from_token_file(cls, node_id: str, address: str, token_file: Path) -> Self:
        """Open a connection with the token in a file."""
        try:
            return cls(node_id, address, token_file.read_text(encoding="ascii").strip())
        except OSError as error:
            raise EngineCallError(f"cannot read the engine token of {node_id}: {error}") from error

    def status(self) -> engine.GetStatusResponse:
        """Return the node's state, costs and transitions."""
        return self.call(self.stub.GetStatus, engine.GetStatusResponse, engine.GetStatusRequest(), CALL_TIMEOUT_S)

    def enroll(self, ticket: types.Envelope, samples: Sequence[engine.Sample]) -> engine.EnrollResponse:
        """Make the node know the person of a ticket by these samples; durable when it returns."""
        request = engine.EnrollRequest(ticket=ticket, samples=samples)
        return self.call(self.stub.Enroll, engine.EnrollResponse, request, ENROL_TIMEOUT_S)

    def identify(self, samples: Sequence[engine.Sample]) -> engine.IdentifyResponse:
        """Ask whose samples these are."""
        return self.call(
            self.stub.Identify, engine.IdentifyResponse, engine.IdentifyRequest(samples=samples), CALL_TIMEOUT_S
        )

    def generate(
        self, count: int, seed: int, *, subject_tag: str | None = None, class_name: str | None = None, style: str = ""
    ) -> engine.GenerateResponse:
        """Have images generated in a style, or in any: of a private class by its tag, or of a class by the backbone."""
        request = engine.GenerateRequest(
            subject_tag=subject_tag, class_name=class_name, count=count, seed=seed, style=style
        )
        return self.call(self.stub.Generate, engine.GenerateResponse, request, CALL_TIMEOUT_S)

    def _refuse(self, error: grpc.RpcError) -> NoReturn:
        raise EngineCallError(f"the engine of {self.node_id} answers {error.code().name}: {error.details()}") from error
