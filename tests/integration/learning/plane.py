"""A learning plane: a SuperLink, two nodes that reach it through a proxy, and a coordinator that serves one job."""

from __future__ import annotations

import ssl
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleet.learning.proxy import FleetProxy
from fleet.learning.superlink import SuperLink
from tests.integration.learning.engines import Learner, ProbeNode
from tests.integration.learning.jobs import Job, ProbeCoordinator
from tests.tls import issued, local_tls

TAGS = ["a" * 32, "b" * 32]
LEARNERS = {"edge-1": Learner(TAGS[0], examples=1), "edge-2": Learner(TAGS[1], examples=3)}


@dataclass
class Plane:
    """The plane, while it runs.

    Attributes
    ----------
    superlink
        Embedded in this process, and asked for runs.
    attached
        The same one, as a coordinator sees it that did not start it: by this one the nodes are registered and proxied.
    nodes
        By Flower node id.
    """

    folder: Path
    superlink: SuperLink
    attached: SuperLink
    proxy: FleetProxy
    tls: ssl.SSLContext
    coordinator: ProbeCoordinator
    token_file: Path
    nodes: dict[int, ProbeNode]
    _closing: ExitStack = field(repr=False)

    @classmethod
    def start(cls, folder: Path) -> Self:
        """Start everything; nodes are registered, and perhaps not yet online."""
        with ExitStack() as closing:
            command_key = Ed25519PrivateKey.generate()
            coordinator = ProbeCoordinator(command_key)
            closing.callback(coordinator.stop)
            token_file = folder / "learning.token"
            token_file.write_text(coordinator.token + "\n")
            local_tls().ca_file(folder)
            superlink = SuperLink.embedded(folder)
            superlink.start()
            closing.callback(superlink.stop)
            superlink.wait_ready()
            (folder / "attached").mkdir()
            attached = SuperLink.attached(
                folder / "attached", superlink.control_address, superlink.folder / "tls" / "ca.pem"
            )
            attached.wait_ready()
            files, authority = issued(folder)
            proxy = attached.open_proxy(files)
            proxy.start()
            closing.callback(proxy.stop)
            nodes: dict[int, ProbeNode] = {}
            for node_id, learner in LEARNERS.items():
                node = ProbeNode(folder / node_id, node_id, learner, command_key.public_key().public_bytes_raw())
                closing.callback(node.stop)
                nodes[attached.register_supernode(node.flower_public_key, node_id)] = node
                node.start_supernode(proxy.address, authority.pem)
            tls = ssl.create_default_context(cadata=authority.pem.decode())
            return cls(folder, superlink, attached, proxy, tls, coordinator, token_file, nodes, closing.pop_all())

    def stop(self) -> None:
        """End everything, once."""
        self._closing.close()

    def submit(self, job: Job) -> int:
        """Start a run for a job, which is served from now on; returns its id."""
        self.coordinator.serve(job, self.nodes)
        return self.superlink.command.submit(
            self.superlink.app_folder,
            job.job_id,
            job.attempt,
            self.coordinator.address,
            self.folder / "ca.pem",
            self.token_file,
        )

    def wait_finished(self, run_id: int) -> str:
        """Return the status of a run, once it is over or has been asked for 20 times."""
        for _ in range(20):
            run = self.superlink.command.run_status(run_id)
            if run.finished:
                return run.status
            time.sleep(0.5)
        return run.status

    def superlink_processes(self) -> list[psutil.Process]:
        """Return the embedded SuperLink's reaper and all below it."""
        reaper = psutil.Process(self.superlink.process_id)
        return [reaper, *reaper.children(recursive=True)]
