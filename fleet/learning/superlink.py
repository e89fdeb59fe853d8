"""The SuperLink that carries learning jobs: embedded and supervised, or one that runs elsewhere.

Its Control API lets whoever reaches it run code on every node, so the embedded one listens on the loopback interface
and nodes reach it through `fleet.learning.proxy.FleetProxy` only.
"""

from __future__ import annotations

import json
import ssl
import tempfile
import time
from pathlib import Path

import httpx
from reram_fleet.processes.backoff import Backoff
from reram_fleet.processes.durable import write_atomically
from reram_fleet.processes.flower import SUPEREXEC, process_environment, program
from reram_fleet.processes.supervised import ChildState, SupervisedProcess

from fleet.learning.certificates import SuperLinkCertificate, ensure_certificate
from fleet.learning.errors import FlowerApiError, LearningPlaneError, SuperLinkNotReadyError
from fleet.learning.fab import write_app
from fleet.learning.flower_command import PUBLIC_KEY_ALREADY_IN_USE, FlowerCommand
from fleet.learning.ports import remembered_port
from fleet.learning.proxy import FleetProxy
from fleet.trust.tls import ServerFiles

#: Name of our connection in FLWR_HOME/config.toml: `FLWR_HOME=<state>/flower/home flwr ls` works by it.
CONNECTION = "fleet"
LOOPBACK = "127.0.0.1"
_POLL_S = 0.1


class SuperLink:
    """A SuperLink: `embedded` (ours, supervised) or `attached` (somebody else's)."""

    def __init__(
        self, folder: Path, control_address: str, upstream_ca_path: Path, process: SupervisedProcess | None
    ) -> None:
        #: State of the learning plane: FLWR_HOME, database, certificates, log.
        self.folder = folder
        #: host:port of its Control, Runtime and Fleet APIs.
        self.control_address = control_address
        self._upstream_ca_path, self._process = upstream_ca_path, process
        self.command = FlowerCommand(folder / "home", CONNECTION)
        _write_connection(self.command.home, control_address, upstream_ca_path)
        # Written anew at each start: the app names the installed version.
        self.app_folder = write_app(folder / "reram-fleet-job")

    @classmethod
    def embedded(cls, state: Path) -> SuperLink:
        """Prepare a supervised `flower-superlink` with all its state in `state/flower` and a port that it keeps."""
        folder = _private_folder(state)
        certificate = ensure_certificate(folder / "tls")
        address = f"{LOOPBACK}:{remembered_port(folder / 'superlink.port')}"
        process = SupervisedProcess(
            name="flower-superlink",
            command=_superlink_command(folder, address, certificate),
            log_path=folder / "superlink.log",
            # The ServerApp inherits this folder: its relative paths must not hit the operator's.
            working_directory=folder,
            environment=process_environment(folder / "home"),
            backoff=Backoff(first_s=0.5, longest_s=5.0),
            helper=SUPEREXEC,
        )
        return cls(folder, address, certificate.ca_path, process)

    @classmethod
    def attached(cls, state: Path, address: str, ca_path: Path) -> SuperLink:
        """Use a SuperLink that runs elsewhere; it must have been started with --enable-supernode-auth.

        Our FLWR_HOME lies in `state/flower/home`; `ca_path` is what its TLS certificate is verified with.
        """
        return cls(_private_folder(state), address, ca_path.resolve(strict=True), None)

    @property
    def state(self) -> ChildState:
        """State of the supervised process; an attached SuperLink counts as running."""
        return ChildState.RUNNING if self._process is None else self._process.state

    @property
    def incarnation(self) -> int:
        """How often the embedded SuperLink was restarted after it had died.

        When it grows, every run submitted before is dead or dying: stop it and submit a new attempt. The same holds for
        every run that was submitted before this coordinator was started: an embedded SuperLink dies with it.
        """
        return 0 if self._process is None else self._process.restarts

    @property
    def process_id(self) -> int | None:
        """Process id of the reaper above the embedded SuperLink, while it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the embedded SuperLink and keep it running; nothing to do for an attached one."""
        if self._process is not None:
            self._process.start()

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Return once the SuperLink answers; `SuperLinkNotReadyError` if it does not within the time limit."""
        deadline = time.monotonic() + timeout_s
        with httpx.Client(verify=self.tls_context(), trust_env=False, timeout=2.0) as client:
            while True:
                try:
                    response = client.get(f"https://{self.control_address}/health")
                    reason = f"HTTP {response.status_code}"
                    if response.status_code == httpx.codes.OK:
                        return
                except httpx.HTTPError as error:
                    reason = str(error) or type(error).__name__
                if time.monotonic() >= deadline:
                    raise SuperLinkNotReadyError(
                        f"the SuperLink at {self.control_address} did not answer within {timeout_s:.0f} s "
                        f"({reason}); see {self.folder / 'superlink.log'}"
                    )
                time.sleep(_POLL_S)

    def stop(self) -> None:
        """End the embedded SuperLink with every ServerApp that it started."""
        if self._process is not None:
            self._process.stop()

    def open_proxy(
        self, certificate: ServerFiles, *, host: str = LOOPBACK, called: str = "", port: int = 0
    ) -> FleetProxy:
        """Prepare the proxy that nodes reach this SuperLink through; the caller starts and stops it."""
        port = port or remembered_port(self.folder / "proxy.port")
        return FleetProxy(
            self.control_address, self.tls_context(), certificate, self.farewell, host=host, called=called, port=port
        )

    def tls_context(self) -> ssl.SSLContext:
        """Return a TLS client context that trusts this SuperLink's authority alone."""
        return ssl.create_default_context(cafile=str(self._upstream_ca_path))

    def register_supernode(self, public_key_text: str, name: str) -> int:
        """Register a node's Flower key and return its Flower node id; the same id when called again.

        The key is OpenSSH text of a NIST EC public key (`NodeIdentity.flower_public_key`); the first name stays.
        `FlowerCommandError` if Flower refuses the key or does not answer.
        """
        with tempfile.NamedTemporaryFile("w", suffix=".pub", dir=self.folder) as key_file:
            key_file.write(public_key_text.strip() + "\n")
            key_file.flush()
            arguments = ("supernode", "register", key_file.name)
            try:
                answer = self.command(*arguments, options=("--name", name))
            except FlowerApiError as error:
                if error.code != PUBLIC_KEY_ALREADY_IN_USE:
                    raise
                return self._registered_id(public_key_text)
        return int(answer["node-id"])

    def unregister_supernode(self, flower_node_id: int) -> None:
        """Let a node's Flower key in no more.

        `FlowerCommandError` if it is not registered, or Flower does not answer.
        """
        self.command("supernode", "unregister", str(flower_node_id))

    def farewell(self, public_key_text: str) -> bytes:
        """Return the message by which the SuperNode of a key leaves; `LearningPlaneError` if none is registered."""
        from fleet.learning.control_api import deactivation

        return deactivation(self._registered_id(public_key_text))

    def _registered_id(self, public_key_text: str) -> int:
        # `flwr supernode list` names no keys: only the API behind it tells which id a key got.
        from fleet.learning.control_api import supernode_ids_by_key

        ids = supernode_ids_by_key(self.control_address, self._upstream_ca_path.read_bytes())
        node_id = ids.get(canonical_key(public_key_text))
        if node_id is None:
            raise LearningPlaneError(
                "the SuperLink knows this public key, but lists no node with it: the node was unregistered; "
                "give the node a new Flower key and enrol it again"
            )
        return node_id


def canonical_key(public_key_text: str) -> bytes:
    """Return the part of an OpenSSH public key that identifies it: type and key, without the comment."""
    return b" ".join(public_key_text.encode().split()[:2])


def _superlink_command(folder: Path, address: str, certificate: SuperLinkCertificate) -> list[str]:
    host, _, port = address.rpartition(":")
    return [
        program("flower-superlink"),
        *("--host", host, "--port", port, "--database", str(folder / "superlink.db")),
        *("--ssl-ca-certfile", str(certificate.ca_path)),
        *("--ssl-certfile", str(certificate.server.certificate_path)),
        *("--ssl-keyfile", str(certificate.server.key_path)),
        *("--enable-supernode-auth", "--disable-runtime-dependency-installation"),
    ]


def _private_folder(state: Path) -> Path:
    folder = state.resolve() / "flower"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _write_connection(home: Path, address: str, ca_path: Path) -> None:
    # JSON strings are TOML basic strings.
    text = (
        f"[superlink]\ndefault = {json.dumps(CONNECTION)}\n\n"
        f"[superlink.{CONNECTION}]\n"
        f"address = {json.dumps(address)}\n"
        f"root-certificates = {json.dumps(str(ca_path))}\n"
    )
    write_atomically(home / "config.toml", text.encode())
