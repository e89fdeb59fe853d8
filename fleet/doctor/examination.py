"""Examination: all checks of a coordinator, none of which hides what another has found."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psutil
from sqlalchemy.exc import DBAPIError

from fleet.doctor import certificates, clocks, database, disk, isolation, keys, log, nodes, ports, prometheus, versions
from fleet.doctor.findings import Area, Finding
from fleet.doctor.target import Target
from fleet.errors import FleetError

#: In the order in which they are shown.
CHECKS: tuple[tuple[Area, Callable[[Target], Iterator[Finding]]], ...] = (
    (versions.AREA, versions.check_versions),
    (ports.AREA, ports.check_ports),
    (keys.AREA, keys.check_keys),
    (certificates.AREA, certificates.check_certificates),
    (clocks.AREA, clocks.check_clocks),
    (database.AREA, database.check_database),
    (log.AREA, log.check_log),
    (disk.AREA, disk.check_disk),
    (nodes.AREA, nodes.check_nodes),
    (prometheus.AREA, prometheus.check_prometheus),
    (isolation.AREA, isolation.check_isolation),
)


def examine(target: Target) -> list[Finding]:
    """Run every check; one that cannot go on says why, and the others do."""
    found: list[Finding] = []
    for area, check in CHECKS:
        try:
            found += check(target)
        except FleetError as error:
            found.append(area.unknown(f"cannot be looked at: {error}", error.hint))
        except (OSError, psutil.Error, DBAPIError) as error:
            found.append(area.unknown(f"cannot be looked at: {str(error).partition(chr(10))[0]}"))
    return found
