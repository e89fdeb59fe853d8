"""The learning plane as the coordinator holds it: the SuperLink, the nodes' way to it, and our token."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleet.config import ConfigError, ServeSettings
from fleet.learning.flower_command import RunInfo
from fleet.learning.proxy import FleetProxy
from fleet.learning.superlink import SuperLink


@dataclass(frozen=True)
class LearningPlane:
    """One SuperLink, embedded or attached, and the proxy in front of it.

    Every method but the properties blocks for up to seconds: call them off the event loop.
    """

    superlink: SuperLink
    proxy: FleetProxy
    token_path: Path
    attached: bool

    @classmethod
    def open(cls, settings: ServeSettings, token_path: Path) -> LearningPlane:
        """Prepare the plane that the settings ask for."""
        if settings.flower_attach is None:
            superlink = SuperLink.embedded(settings.state)
        elif settings.flower_ca is None:
            raise ConfigError("attaching to a SuperLink needs its CA certificate: --flower-ca FILE")
        else:
            superlink = SuperLink.attached(settings.state, settings.flower_attach, settings.flower_ca)
        proxy = superlink.open_proxy(settings.host)
        return cls(superlink, proxy, token_path, attached=settings.flower_attach is not None)

    @property
    def state(self) -> str:
        """What `fleet status` shows: attached, or the state of the supervised SuperLink."""
        return "attached" if self.attached else str(self.superlink.state)

    def start(self) -> None:
        """Start the SuperLink and the proxy; returns when both answer."""
        self.superlink.start()
        self.proxy.start()
        self.superlink.wait_ready()

    def stop(self) -> None:
        """End both, with every run."""
        self.proxy.stop()
        self.superlink.stop()

    def submit(self, job_id: str, attempt: int, coordinator_address: str) -> int:
        """Start the Flower run of an attempt; returns its run id."""
        link = self.superlink
        return link.command.submit(link.app_folder, job_id, attempt, coordinator_address, self.token_path)

    def stop_run(self, run_id: int) -> None:
        """Stop a run; one that is over counts as stopped."""
        self.superlink.command.stop(run_id)

    def run_status(self, run_id: int) -> RunInfo:
        """Return what Flower says of a run."""
        return self.superlink.command.run_status(run_id)
