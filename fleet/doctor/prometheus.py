"""Prometheus: reachable, scraping this fleet, its rules loaded, and what it alerts of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fleet.doctor.findings import Area, Finding, some
from fleet.doctor.target import Target
from fleet.doctor.web import PageError, answer
from fleet.metrics.prometheus import Prometheus
from fleet.metrics.prometheus_rules import alerts

AREA = Area("Prometheus")
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
        builds = [each.labels for each in Prometheus(base, answer).query("fleet_build_info")]
    except (PageError, KeyError, TypeError) as error:
        why = str(error) if isinstance(error, PageError) else f"{base} does not answer as a Prometheus does"
        yield AREA.failure(why, "systemctl status prometheus, on its machine")
        return
    yield AREA.ok(f"{base} answers")
    yield from _targets(target, scraped, builds)
    yield from _rules([rule for group in groups for rule in group.get("rules", ())])


def _targets(target: Target, scraped: list[dict[str, Any]], builds: Sequence[Mapping[str, str]]) -> Iterator[Finding]:
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
    loaded = {rule["name"] for rule in rules}
    missing = [rule["alert"] for group in alerts()["groups"] for rule in group["rules"] if rule["alert"] not in loaded]
    if missing:
        yield AREA.warning(
            f"alerts that are not loaded: {some(missing)}", "rule_files: deploy/prometheus/rules/*.yml, beside your own"
        )
    else:
        yield AREA.ok("all alerts of this version are loaded")
    broken = [rule for rule in rules if rule.get("health") == "err"]
    for rule in broken[:5]:
        yield AREA.failure(f"rule {rule['name']} cannot be evaluated: {rule.get('lastError', '')}")
    firing = sorted({rule["name"] for rule in rules if rule.get("state") == "firing"})
    if firing:
        yield AREA.warning(f"it alerts: {some(firing)}", "docs/operations/runbooks.md, or the runbook of your own")
