"""Rules as Prometheus reads them: YAML, a file for recordings and one for alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from fleet.metrics.alerts import ALERTS
from fleet.metrics.definitions import Alert, runbook_of
from fleet.metrics.recordings import RECORDINGS

#: Longer strings have lines of their own.
_FOLDED = 80
_NOTE = "# Written by `make mixin` from fleet/metrics: change it there.\n"


def recordings_yaml() -> str:
    """Return the file of recording rules."""
    return _groups(RECORDINGS, lambda rule: {"record": rule.name, "expr": rule.expr})


def alerts_yaml(docs: str) -> str:
    """Return the file of alert rules; `docs` is where the documentation is, for the runbooks."""

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


def _groups(groups: Mapping[str, Sequence[Any]], rule: Any) -> str:
    body = {"groups": [{"name": name, "rules": [rule(each) for each in rules]} for name, rules in groups.items()]}
    text: str = yaml.dump(body, Dumper=_Tidy, sort_keys=False, width=72, allow_unicode=True)
    return _NOTE + text


class _Tidy(yaml.SafeDumper):
    """Dumper that indents lists below their key, and folds long lines."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent, also within lists."""
        super().increase_indent(flow, False)

    def text(self, value: str) -> yaml.ScalarNode:
        """Return a string, folded if it fills a line."""
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=">" if len(value) > _FOLDED else None)


_Tidy.add_representer(str, _Tidy.text)
