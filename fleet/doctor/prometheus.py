"""Prometheus: reachable, scraping this fleet, its rules loaded, and what it alerts of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fleet.doctor.findings import Area, Finding, some
from fleet.doctor.target import Target
from fleet.doctor.web import PageError, answer

AREA = Area("Prometheus")
#: What rules of this fleet are about.
_OURS = "fleet_"
#: Labels that the coordinator's service discovery gives to shards and devices.
_ROLES = ("nodes", "node")
_CONFIGURED = "deploy/prometheus/prometheus.yml is how it is configured"


def check_prometheus(target: Target) -> Iterator[Finding]:
    """Look whether what the coordinator names to be scraped is scraped, and whether rules watch it."""
    if target.prometheus is None:
        yield AREA.unknown("none is named", "fleet doctor --prometheus http://HOST:9090")
        return
    base = target.prometheus.rstrip("/")
    try:
        scraped = answer(f"{base}/api/v1/targets?state=active")["data"]["activeTargets"]
        groups = answer(f"{base}/api/v1/rules")["data"]["groups"]
        builds = answer(f"{base}/api/v1/query?query=fleet_build_info")["data"]["result"]
    except (PageError, KeyError, TypeError) as error:
        why = str(error) if isinstance(error, PageError) else f"{base} does not answer as a Prometheus does"
        yield AREA.failure(why, "systemctl status prometheus, on its machine")
        return
    yield AREA.ok(f"{base} answers")
    yield from _targets(target, scraped, [build["metric"] for build in builds])
    yield from _rules([rule for group in groups for rule in group.get("rules", ())])


def _targets(target: Target, scraped: list[dict[str, Any]], builds: list[dict[str, str]]) -> Iterator[Finding]:
    if target.answer is None:
        yield AREA.unknown("whether it scrapes this fleet: the coordinator was not asked")
        return
    fleet = target.answer.fleet
    jobs = {build.get("job") for build in builds if build.get("fleet_id") == fleet.fleet_id}
    if not jobs:
        yield AREA.failure(
            f"it has nothing of fleet {fleet.fleet_id}: nobody scrapes the coordinator's /metrics "
            f"({fleet.metrics_address})",
            _CONFIGURED,
        )
        return
    roles = {each["labels"].get("role") for each in scraped}
    if "nodes" not in roles:
        yield AREA.failure("it scrapes no /metrics/nodes, which the coordinator names at /sd", _CONFIGURED)
    ours = [each for each in scraped if each["labels"].get("job") in jobs or each["labels"].get("role") in _ROLES]
    down = [each for each in ours if each["health"] == "down"]
    for each in down[:5]:
        yield AREA.failure(f"{each['scrapeUrl']} is down: {each['lastError']}")
    if len(down) > 5:
        yield AREA.failure(f"{len(down) - 5} more targets are down")
    if not down:
        yield AREA.ok(f"it scrapes fleet {fleet.fleet_id}; targets that are up: {len(ours)}")


def _rules(rules: list[dict[str, Any]]) -> Iterator[Finding]:
    ours = [rule for rule in rules if _OURS in rule.get("query", "")]
    if not ours:
        yield AREA.warning("no rule watches this fleet", "rule_files: deploy/prometheus/rules/*.yml")
        return
    broken = [rule for rule in ours if rule.get("health") == "err"]
    for rule in broken[:5]:
        yield AREA.failure(f"rule {rule['name']} cannot be evaluated: {rule.get('lastError', '')}")
    if not broken:
        yield AREA.ok(f"rules that watch this fleet: {len(ours)}")
    firing = sorted(rule["name"] for rule in ours if rule.get("state") == "firing")
    if firing:
        yield AREA.warning(f"it alerts: {some(firing)}", "the runbook that each alert names")
