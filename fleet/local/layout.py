"""Paths inside the folder of a fleet on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleet.config import SERVE_FILE
from fleet.local.errors import LocalFleetError


@dataclass(frozen=True)
class Layout:
    """The only place that knows the names of files in a local fleet's folder."""

    root: Path

    def create(self) -> None:
        """Make the folder, readable by its owner only.

        Raises
        ------
        LocalFleetError
            If it cannot be made or written to.
        """
        try:
            for folder in (self.root, self.coordinator, self.nodes, self.logs):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise LocalFleetError(f"cannot make the fleet's folder: {error}", hint="--state DIR") from error

    @property
    def coordinator(self) -> Path:
        """State folder of the coordinator."""
        return self.root / "coordinator"

    @property
    def serve_file(self) -> Path:
        """What the coordinator writes when it is ready."""
        return self.coordinator / SERVE_FILE

    @property
    def nodes(self) -> Path:
        """Folder of the nodes' state folders."""
        return self.root / "nodes"

    @property
    def logs(self) -> Path:
        """What the processes print."""
        return self.root / "logs"

    @property
    def programmed(self) -> Path:
        """What the chips of this fleet were programmed for."""
        return self.root / "fleet.json"

    @property
    def registry(self) -> Path:
        """The caller's map of people to tags."""
        return self.root / "registry.json"

    @property
    def supervisor(self) -> Path:
        """What the background supervisor says of itself; absent when none runs."""
        return self.root / "supervisor.json"

    def node(self, node_id: str) -> Path:
        """Return the state folder of a node."""
        return self.nodes / node_id

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self.logs / f"{name}.log"
