"""Ports: the coordinator answers where it says, and nobody else holds what is its own."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from fleet.doctor.findings import Area, Finding
from fleet.doctor.target import Target, listener
from fleet.doctor.web import PageError, page
from fleet.domain.addresses import monitoring_url

AREA = Area("ports")


def check_ports(target: Target) -> Iterator[Finding]:
    """Call the coordinator and its metrics; say who else listens there."""
    if target.address is None:
        yield AREA.unknown("no coordinator has said where it is, and none is named", "fleet serve; or --address")
        return
    if target.stranger:
        yield AREA.failure(
            f"{target.address} is the coordinator's, and {target.stranger} listens there; it was sent no token",
            "end that process, then start the coordinator: fleet serve",
        )
    elif target.answer is not None:
        yield AREA.ok(f"the coordinator of fleet {target.answer.fleet.fleet_id} answers at {target.address}")
    elif target.served is not None and target.process is None:
        assert target.folder is not None, "serve.json is in a folder"
        yield AREA.warning(
            f"no coordinator runs: the one that served at {target.address} (process {target.served.pid}) has ended",
            f"fleet serve --state {shlex.quote(str(target.folder.root))}, or however it is started here",
        )
    elif target.silence is not None:
        yield AREA.failure(str(target.silence), target.silence.hint)
    else:
        yield AREA.unknown(f"{target.address}: no token file is known", "--token-file")
    yield from _metrics(target)


def _metrics(target: Target) -> Iterator[Finding]:
    if target.served is None or target.process is None:
        yield AREA.unknown("metrics: no coordinator runs on this machine")
        return
    where = target.served.metrics_address
    holder = listener(where)
    if holder is not None and not holder.may_be(target.process):
        yield AREA.failure(f"{where} is for the coordinator's metrics, and {holder.name} listens there")
        return
    if target.answer is None:
        yield AREA.unknown(f"metrics at {where}: the coordinator does not answer")
        return
    for name in ("/metrics", "/healthz", "/readyz"):
        url = f"{monitoring_url(where)}{name}"
        try:
            page(url, target.ca_file)
            yield AREA.ok(f"{url} answers")
        except PageError as error:
            yield AREA.failure(str(error))
