"""Layout of the folder of a fleet on this machine, and its logs."""

from __future__ import annotations

from pathlib import Path

from fleet.config import SERVE_FILE
from fleet.local.errors import LocalFleetError


class Layout:
    """Paths in a local fleet's folder: the only place that knows the names of its files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        #: State folder of the coordinator, folder of the nodes' state folders, and what all of them print.
        self.coordinator, self.nodes, self.logs = root / "coordinator", root / "nodes", root / "logs"
        #: What the coordinator writes when it is ready.
        self.serve_file = self.coordinator / SERVE_FILE
        #: What the chips of this fleet were programmed for.
        self.programmed = root / "fleet.json"
        #: The caller's map of people to tags.
        self.registry = root / "registry.json"
        #: Configuration and data of a Prometheus.
        self.prometheus = root / "prometheus"
        #: What the supervisor in the background says of itself; absent when none runs.
        self.supervisor = root / "supervisor.json"

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

    def node(self, node_id: str) -> Path:
        """Return the state folder of a node."""
        return self.nodes / node_id

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self.logs / f"{name}.log"

    def complaints(self, lines: int = 5) -> list[str]:
        """Return the last warnings and errors of every log."""
        found = []
        for path in sorted(self.logs.glob("*.log")):
            text = path.read_text(encoding="utf-8", errors="replace").splitlines()
            wrong = [line for line in text if any(word in line for word in ("WARNING", "ERROR", "Error:"))]
            found += [f"{path.stem}: {line[:300]}" for line in wrong[-lines:]]
        return found


def log_tail(path: Path, lines: int = 8, *, start: int = 0) -> str:
    """Return the last lines of a log from an offset (in bytes) on, for an error message."""
    try:
        text = path.read_bytes()[start:].decode(errors="replace")
    except OSError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"
