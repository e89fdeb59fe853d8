"""What a coordinator talks to beside its nodes: callers without a network, and a learning plane without Flower."""

from __future__ import annotations

from pathlib import Path

import grpc


class RefusedCallError(Exception):
    """A call was answered with an error."""


class CallContext:
    """Context of a call that no network carries."""

    async def abort(self, code: grpc.StatusCode, details: str, metadata: object = ()) -> None:
        raise RefusedCallError(f"{code.name}: {details}")

    def set_trailing_metadata(self, metadata: object) -> None:
        pass


class NoFlower:
    """A learning plane that starts nothing: whatever a run of Flower does is up to the test."""

    state, attached, token_path, app_folder = "test", False, Path("token"), Path("app")
    address = control_address = ""
    ca_pem, ca_path = b"", None

    def __init__(self) -> None:
        self.superlink = self.proxy = self.tls = self.command = self
        self.incarnation = 1
        self.runs = 0

    def is_gone(self, flower_public_key: str) -> bool:
        return False

    def register_supernode(self, public_key: str, node_id: str) -> int:
        return 100 + int(node_id.partition("-")[2])

    def unregister_supernode(self, flower_node_id: int) -> None:
        pass

    def submit(self, *arguments: object) -> int:
        self.runs += 1
        return self.runs

    def stop(self, run_id: int) -> None:
        pass

    def wait_ready(self) -> None:
        pass
