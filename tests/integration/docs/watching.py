"""Prometheus of the how-tos: runs with the configuration that a page shows, and is restarted as the page says."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator

from reram_fleet.processes.flower import free_port

from fleet.doctor.web import PageError, answer
from tests.deployment import DEPLOY, checker
from tests.house import ROOT
from tests.integration.coordinator.coordinator_process import eventually
from tests.integration.docs.conftest import HowTos

_FILE = re.compile(r"^```yaml\n# (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Watch:
    """A Prometheus in the folder in which pages are followed."""

    def __init__(self, how_tos: HowTos) -> None:
        self._how_tos, self.folder = how_tos, how_tos.console.folder
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"127.0.0.1:{free_port(range(20_000, 32_000))}"
        if not (self.folder / "deploy").exists():
            (self.folder / "deploy").symlink_to(DEPLOY)
        how_tos.console.stands_for.update(METRICS=self.metrics_address, PROMETHEUS=lambda: self.address)
        how_tos.console.done_otherwise.update(
            {"systemctl restart prometheus": self.restart, "systemctl reload prometheus": self.reload}
        )

    def metrics_address(self) -> str:
        """Return host:port of the coordinator's metrics."""
        return self._how_tos.fleet.served().metrics_address

    def write_files(self, page: str) -> None:
        """Write what a page shows as a file; a test does not wait 15 seconds for a scrape."""
        for name, text in _FILE.findall((ROOT / "docs/operations" / page).read_text(encoding="utf-8")):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("METRICS", self.metrics_address()).replace(": 15s", ": 1s"))

    def restart(self) -> None:
        """Run it with the configuration that is there."""
        self.stop()
        command = [
            checker("prometheus"),
            f"--config.file={self.folder / 'prometheus/prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'prometheus-data'}",
            f"--web.listen-address={self.address}",
        ]
        with (self.folder / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        eventually("rules were evaluated", lambda: self._evaluated() >= 17)

    def reload(self) -> None:
        """Let it read its files anew."""
        assert self._process is not None
        before = self._evaluated()
        self._process.send_signal(signal.SIGHUP)
        eventually("another rule was evaluated", lambda: self._evaluated() > before)

    def _evaluated(self) -> int:
        try:
            groups = answer(f"http://{self.address}/api/v1/rules")["data"]["groups"]
        except PageError:
            return 0
        return sum(rule["health"] == "ok" for group in groups for rule in group["rules"])

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def a_prometheus(how_tos: HowTos) -> Iterator[None]:
    """Have a folder with the configuration of the page, and nothing that runs yet."""
    watch = Watch(how_tos)
    watch.write_files("scrape.md")
    yield
    watch.stop()


def a_prometheus_with_our_rules(how_tos: HowTos) -> Iterator[None]:
    """Have a Prometheus that has our rules, and another one beside them."""
    watch = Watch(how_tos)
    watch.write_files("scrape.md")
    rules = watch.folder / "prometheus/rules"
    rules.mkdir(exist_ok=True)
    for path in (DEPLOY / "prometheus/rules").glob("*.yml"):
        (rules / path.name).write_bytes(path.read_bytes())
    watch.restart()
    watch.write_files("add-an-alert.md")
    yield
    watch.stop()
