"""A fleet that Prometheus and Alertmanager watch: nodes as processes, more of them in this one, and people."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.processes.flower import free_port
from reram_fleet.processes.supervised import ReapedProcess
from reram_fleet.v1 import operator_pb2 as operator

from edge_node.tasks.samples import encode_sample
from edge_node.tasks.speakers import load_people
from fleet.doctor.web import PageError, answer
from fleet.local.fleet import LocalFleet, LocalSettings
from fleet.local.prometheus import prometheus_command
from fleet.metrics.prometheus import Prometheus
from tests.deployment import DEPLOY, checker
from tests.guest import Guest
from tests.integration.coordinator.coordinator_process import eventually

INTERVAL_S = 1
_PORTS = range(20_000, 32_000)


class Webhook:
    """Receiver of alerts, as a pager's would be: keeps what Alertmanager sends, by path."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                webhook.heard.append((self.path, body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def alerts(self, path: str) -> dict[str, Mapping[str, Any]]:
        """Return what has fired for a receiver, by the alert's name."""
        told = [alert for where, body in list(self.heard) if where == path for alert in body["alerts"]]
        return {alert["labels"]["alertname"]: alert for alert in told if alert["status"] == "firing"}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class WatchedFleet:
    """The fleet, and those who watch it; use it in a `with` statement.

    Parameters
    ----------
    full_nodes, guests
        How many nodes have a chip and a process of their own, and how many are in this process.
    """

    def __init__(self, folder: Path, *, full_nodes: int = 3, guests: int = 17) -> None:
        self.folder = folder
        self.nodes, self._guests_wanted = full_nodes + guests, guests
        self.local = LocalFleet(LocalSettings(folder / "fleet", nodes=full_nodes, learning=False))
        self.guests: list[Guest] = []
        self.tags: Sequence[str] = ()
        self.webhook = Webhook()
        self.url = ""
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.webhook.close)
            stack.enter_context(self.local)
            self.local.start()
            self._watch(stack)
            for number in range(self._guests_wanted):
                self.guests.append(guest := Guest(self.local, f"guest-{number + 1:02d}"))
                stack.callback(guest.go_away)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _watch(self, stack: ExitStack) -> None:
        checker("prometheus")
        prometheus_port, alert_port = free_port(_PORTS), free_port(_PORTS)
        folder = self.folder / "prometheus"
        prometheus = prometheus_command(
            folder,
            prometheus_port,
            self.local.served().metrics_address,
            interval_s=INTERVAL_S,
            alertmanager=f"127.0.0.1:{alert_port}",
        )
        alertmanager = [
            checker("prometheus-alertmanager"),
            f"--config.file={self._routes()}",
            f"--storage.path={self.folder / 'alerts'}",
            f"--web.listen-address=127.0.0.1:{alert_port}",
            "--cluster.listen-address=",
        ]
        for name, command in (("alertmanager", alertmanager), ("prometheus", prometheus)):
            process = ReapedProcess(name, command, self.folder / f"{name}.log")
            process.start()
            stack.callback(process.stop)
        self.url = f"http://127.0.0.1:{prometheus_port}"

    def _routes(self) -> Path:
        """Write the routes that are deployed, with a receiver here and without the wait for others like it."""
        described = yaml.safe_load((DEPLOY / "alertmanager/alertmanager.yml").read_text())
        for route in (described["route"], *described["route"]["routes"]):
            route["group_wait"] = "0s"
        for receiver in described["receivers"]:
            for hook in receiver["webhook_configs"]:
                hook["url"] = f"{self.webhook.address}/{receiver['name']}"
                hook["http_config"]["authorization"]["credentials_file"] = str(self.folder / "token")
        (self.folder / "token").write_text("secret")
        path = self.folder / "alertmanager.yml"
        path.write_text(yaml.safe_dump(described))
        return path

    @cached_property
    def prometheus(self) -> Prometheus:
        """The Prometheus that scrapes it."""
        return Prometheus(self.url, answer)

    def rules(self) -> list[dict[str, Any]]:
        """Return what Prometheus says of its rules."""
        groups = answer(f"{self.url}/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def value(self, expr: str) -> float | None:
        """Return the newest value of the one series of an expression; None if there is none."""
        try:
            found = self.prometheus.query(expr)
        except PageError:
            return None
        return found[0].newest if len(found) == 1 else None

    def await_value(self, expr: str, value: float) -> None:
        """Return once Prometheus has a value."""
        eventually(f"{expr} is {value}", lambda: self.value(expr) == value)

    def enrol_people(self) -> Sequence[str]:
        """Enrol three people, one on a node with a chip; returns their tags when every node knows them."""
        registry = self.local.registry
        tags = [registry.enrol(name) for name in ("ann", "ben", "cleo")]
        person = load_people(["s04"])["s04"]
        with self.local.engine(0) as engine:
            engine.enroll(self.local.ticket(tags[0], 0), [encode_sample(sample) for sample in person.train])
        for number, tag in enumerate(tags[1:]):
            self.guests[number].capture(tag, Guest.made_up(number))
        self.until("everybody is known everywhere", lambda client: self._all_know(client, len(tags)))
        with self.local.engine(0) as engine:
            engine.identify([encode_sample(sample) for sample in person.test[:5]])
        return tags

    def until(self, what: str, probe: Callable[[Any], object]) -> None:
        """Return once the coordinator says something of its fleet."""
        with self.local.client() as client:
            eventually(what, lambda: bool(probe(client)))

    def forget(self, tag: str) -> str:
        """Have somebody forgotten; returns the campaign at once."""
        with self.local.client() as client:
            return client.create_forget(new_tag(), [tag]).forget.campaign_id

    def lie(self, guest: Guest) -> None:
        """Have somebody forgotten whose node hides what it was asked to show."""
        guest.amend = lambda receipt: receipt.ClearField("probe_results")
        tag = self.local.registry.enrol("dora")
        with self.local.client() as client:
            before = client.get_fleet().subjects
        guest.capture(tag, Guest.made_up(9))
        self.until("dora is known", lambda client: client.get_fleet().subjects > before)
        self.forget(tag)

    def converged(self, campaign_id: str) -> operator.Forget:
        """Return a forget once it has converged."""
        self.until("it has converged", lambda client: client.get_forget(campaign_id).state == "converged")
        with self.local.client() as client:
            return client.get_forget(campaign_id)

    def _all_know(self, client: Any, people: int) -> bool:
        nodes = client.list_nodes().items
        fleet = client.get_fleet()
        return (
            fleet.subjects >= people
            and len(nodes) == self.nodes
            and {each.revision for each in nodes} == {fleet.revision}
            and all(each.subject_adapters >= people for each in nodes)
        )
