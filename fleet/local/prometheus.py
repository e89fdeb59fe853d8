"""A Prometheus beside a fleet on this machine: its configuration, and the command that runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from reram_fleet.processes.durable import write_atomically

from fleet.local.errors import LocalFleetError
from fleet.metrics.prometheus_rules import DOCS, alerts_yaml, recordings_yaml

PROGRAM = "prometheus"
#: Short, so that a forget can be watched.
_INTERVAL = "2s"
_KEPT = "7d"


def prometheus_program() -> str:
    """Return the path of the program; `LocalFleetError` if there is none."""
    path = shutil.which(PROGRAM)
    if path is None:
        raise LocalFleetError(
            "Prometheus is not installed", hint="apt-get install prometheus, or go on without --prometheus"
        )
    return path


def prometheus_command(folder: Path, port: int, coordinator_metrics: str) -> list[str]:
    """Write the configuration and the rules into a folder, and return the command.

    `coordinator_metrics` is host:port of the coordinator's metrics: all else is found through it.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    config = folder / "prometheus.json"
    discovery = {"url": f"http://{coordinator_metrics}/sd", "refresh_interval": "5s"}
    for name, text in (("recordings.yml", recordings_yaml()), ("alerts.yml", alerts_yaml(DOCS))):
        write_atomically(folder / name, text.encode())
    content = {
        "rule_files": ["recordings.yml", "alerts.yml"],
        "global": {"scrape_interval": _INTERVAL, "evaluation_interval": _INTERVAL},
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
