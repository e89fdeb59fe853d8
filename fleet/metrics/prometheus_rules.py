"""Rules as Prometheus reads them: a document of recordings and one of alerts, for YAML or JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from fleet.metrics.alerts import ALERTS
from fleet.metrics.definitions import Alert, runbook_of
from fleet.metrics.recordings import RECORDINGS

T = TypeVar("T")

#: Where the documentation is, unless its address is given: the folder in the repository.
DOCS = "docs"


def recordings() -> dict[str, Any]:
    """Return the recording rules."""
    return _groups(RECORDINGS, lambda rule: {"record": rule.name, "expr": rule.expr})


def alerts(docs: str = DOCS) -> dict[str, Any]:
    """Return the alert rules; `docs` is where the documentation is, for the runbooks."""

    def rule(alert: Alert) -> dict[str, Any]:
        return {
            "alert": alert.name,
            "expr": alert.expr,
            "for": alert.lasting,
            "labels": {"severity": str(alert.severity)},
            "annotations": {
                "summary": alert.summary,
                "description": alert.description,
                "runbook_url": f"{docs}/{runbook_of(alert.name)}",
            },
        }

    return _groups(ALERTS, rule)


def _groups(groups: Mapping[str, Sequence[T]], rule: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
    return {"groups": [{"name": name, "rules": [rule(each) for each in rules]} for name, rules in groups.items()]}
