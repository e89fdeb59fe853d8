"""The fleet that all how-tos share: a coordinator and two nodes as processes, and nodes of the test that misbehave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.processes.flower import free_port

from fleet.client import FleetClient
from fleet.local.fleet import LocalFleet, LocalSettings
from tests.deployed.docs.console import Console
from tests.deployment import checker
from tests.guest import FEATURES, Guest
from tests.integration.coordinator.coordinator_process import eventually
from tests.unit.coordinator.small_fleet import captured


class HowTos:
    """A fleet whose operator follows pages, and what makes the situation that a page is about."""

    def __init__(self, fleet: LocalFleet, folder: Path) -> None:
        self.fleet = fleet
        self.prometheus: subprocess.Popen[bytes] | None = None
        self.prometheus_address = ""
        config = folder / "config.toml"
        config.write_text(
            'current = "here"\n[contexts.here]\n'
            f'state = "{fleet.layout.coordinator}"\nregistry = "{fleet.layout.registry}"\n'
        )
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.console = Console(
            folder,
            {"FLEET_CONFIG": str(config), "PATH": programs, "NO_COLOR": "1", "NO_PROXY": "127.0.0.1"},
            {
                "systemctl stop fleet-coordinator": fleet.stop_coordinator,
                "systemctl start fleet-coordinator": fleet.start_coordinator,
                "systemctl restart prometheus": self.start_prometheus,
                "systemctl reload prometheus": self.reload_prometheus,
            },
            {
                "CAMPAIGN": self.newest_campaign,
                "127.0.0.1:9810": lambda: fleet.served().metrics_address,
                "127.0.0.1:9090": lambda: self.prometheus_address,
            },
        )

    def start_prometheus(self) -> None:
        """Start the Prometheus whose configuration lies in the folder."""
        port = free_port(range(20_000, 32_000))
        self.prometheus_address = f"127.0.0.1:{port}"
        command = [checker("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=prometheus"]
        with (self.console.folder / "prometheus.log").open("wb") as log:
            self.prometheus = subprocess.Popen(
                [*command, f"--web.listen-address={self.prometheus_address}"],
                cwd=self.console.folder,
                stdout=log,
                stderr=log,
            )

    def reload_prometheus(self) -> None:
        """Let it read its configuration anew."""
        assert self.prometheus is not None, "a page has started it"
        self.prometheus.send_signal(signal.SIGHUP)

    def forget(self, tag: str) -> None:
        """Have somebody forgotten; returns once every connected node has that in its log."""
        with self.fleet.client() as client:
            client.create_forget(new_tag(), [tag])

        def arrived(client: FleetClient) -> bool:
            newest = client.get_fleet().generation
            return all(each.generation == newest for each in client.list_nodes().items if each.connected)

        self.seen("the forget is in the log of every connected node", arrived)

    def newest_campaign(self) -> str:
        """Return the id of the newest forget."""
        with self.fleet.client() as client:
            return client.list_forgets(1).items[0].campaign_id

    def seen(self, what: str, probe: Callable[[FleetClient], object]) -> None:
        """Return once the coordinator says something of its fleet."""
        with self.fleet.client() as client:
            eventually(what, lambda: bool(probe(client)))

    def enrol(self, person: str, node: Guest) -> str:
        """Enrol somebody on a node; returns their tag once every node has them in its revision."""
        tag = self.fleet.registry.enrol(person)
        with self.fleet.client() as client:
            before = client.get_fleet().revision

        def everywhere(client: FleetClient) -> bool:
            newest = client.get_fleet().revision
            return newest > before and {each.revision for each in client.list_nodes().items} == {newest}

        node.capture(tag, captured(1).repeat(FEATURES // 32, axis=1))
        self.seen(f"{person} is in the revision of every node", everywhere)
        return tag


@pytest.fixture(scope="module")
def how_tos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HowTos]:
    folder = tmp_path_factory.mktemp("how-tos")
    # A lease is over before anybody waits for it.
    settings = LocalSettings(folder / "fleet", nodes=2, lease_s=3.0, learning=False)
    with LocalFleet(settings) as fleet:
        fleet.start()
        how_tos = HowTos(fleet, folder)
        yield how_tos
        if how_tos.prometheus is not None:
            how_tos.prometheus.kill()
            how_tos.prometheus.wait()
