"""A Prometheus beside a fleet on this machine: its configuration, and the command that runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from reram_fleet.processes.durable import write_atomically

from fleet.local.errors import LocalFleetError
from fleet.metrics.prometheus_rules import alerts, recordings

PROGRAM = "prometheus"
#: Short, so that a forget can be watched.
INTERVAL_S = 2
_KEPT = "7d"


def prometheus_program() -> str:
    """Return the path of the program; `LocalFleetError` if there is none."""
    path = shutil.which(PROGRAM)
    if path is None:
        raise LocalFleetError(
            "Prometheus is not installed", hint="apt-get install prometheus, or go on without --prometheus"
        )
    return path


def prometheus_command(
    folder: Path, port: int, coordinator_metrics: str, *, interval_s: int = INTERVAL_S, alertmanager: str = ""
) -> list[str]:
    """Write the configuration and the rules into a folder, and return the command.

    Parameters
    ----------
    coordinator_metrics
        host:port of the coordinator's metrics: all else is found through it.
    alertmanager
        host:port of who is told of alerts; nobody if empty.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, rules in (("recordings", recordings()), ("alerts", alerts())):
        write_atomically(folder / f"{name}.json", json.dumps(rules, indent=2).encode())
    config = folder / "prometheus.json"
    interval = f"{interval_s}s"
    discovery = {"url": f"http://{coordinator_metrics}/sd", "refresh_interval": "5s"}
    content = {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": ["recordings.json", "alerts.json"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager] if alertmanager else []}]}]},
        "scrape_configs": [
            {"job_name": "prometheus", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]},
            {"job_name": "fleet-coordinator", "static_configs": [{"targets": [coordinator_metrics]}]},
            {"job_name": "fleet-nodes", "http_sd_configs": [discovery]},
        ],
    }
    # JSON is YAML.
    write_atomically(config, json.dumps(content, indent=2).encode())
    return [
        prometheus_program(),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--storage.tsdb.retention.time={_KEPT}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
