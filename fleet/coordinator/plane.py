"""Learning plane as the coordinator holds it: the SuperLink, the nodes' way to it, and our token."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleet.config import ServeSettings
from fleet.learning.proxy import FleetProxy
from fleet.learning.superlink import SuperLink


@dataclass(frozen=True)
class LearningPlane:
    """One SuperLink, embedded or attached, and the proxy in front of it.

    Its methods block for up to seconds: call them off the event loop.
    """

    superlink: SuperLink
    proxy: FleetProxy
    token_path: Path
    attached: bool

    @classmethod
    def open(cls, settings: ServeSettings, token_path: Path) -> LearningPlane:
        """Prepare the plane that the settings ask for."""
        if settings.flower_attach is None or settings.flower_ca is None:
            superlink, attached = SuperLink.embedded(settings.state), False
        else:
            superlink = SuperLink.attached(settings.state, settings.flower_attach, settings.flower_ca)
            attached = True
        return cls(superlink, superlink.open_proxy(settings.host), token_path, attached)

    @property
    def state(self) -> str:
        """State as `fleet status` shows it: attached, or the state of the supervised SuperLink."""
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
