"""Series as `promtool test rules` is given them, and what its rules make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from tests.deployment import DEPLOY, run

#: Values a minute apart; None where there is none.
Values: TypeAlias = Sequence[float | None]
#: Values by series, e.g. `up{job="a"}`.
Series: TypeAlias = Mapping[str, Values]
Labels: TypeAlias = Mapping[str, str]

#: An hour, which is the longest that a rule looks back, and what was before.
MINUTES = 75


def steady(value: float) -> Values:
    """Return a value that stays."""
    return [value] * MINUTES


def growing(by: float) -> Values:
    """Return a value that begins at 0 and grows each minute."""
    return [by * minute for minute in range(MINUTES)]


def jump(before: float, after: float, ago: int = 10) -> Values:
    """Return a value that became another one so many minutes ago."""
    return [before] * (MINUTES - ago) + [after] * ago


def labelled(series: str, **labels: str) -> str:
    """Return a series with more labels."""
    name, _, rest = series.partition("{")
    present = [rest.removesuffix("}")] if rest else []
    return f"{name}{{{','.join([*present, *_matchers(labels)])}}}"


def told_twice(series: Series) -> Series:
    """Return what stands where two Prometheis send it, each of which knows the coordinator by another address."""
    return {
        labelled(name, instance=instance, prometheus=prometheus): values
        for name, values in series.items()
        for prometheus, instance in (("one", "127.0.0.1:9810"), ("two", "coordinator:9810"))
    }


def after_a_reset(series: Series) -> Series:
    """Return series whose counters stood high before they began at 0, ten minutes ago in their own time."""
    counters = ("_total", "_bucket", "_count", "_sum")
    return {
        name: [1000 if name.partition("{")[0].endswith(counters) else values[0]] * 10 + list(values)
        for name, values in series.items()
    }


@dataclass(frozen=True)
class Check:
    """Series, and what expressions must give at their end."""

    name: str
    series: Series
    expected: Mapping[str, Sequence[tuple[Labels, float]]]

    def group(self, step_min: int) -> dict[str, Any]:
        """Return it as promtool reads it."""
        steps = max(len(values) for values in self.series.values())
        return {
            "name": self.name,
            "interval": f"{step_min}m",
            "input_series": [
                {"series": name, "values": " ".join("_" if each is None else f"{each:g}" for each in values)}
                for name, values in self.series.items()
            ],
            "promql_expr_test": [
                {
                    "expr": expr,
                    "eval_time": f"{step_min * (steps - 1)}m",
                    "exp_samples": [{"labels": _metric(labels), "value": value} for labels, value in samples],
                }
                for expr, samples in self.expected.items()
            ],
        }


def check(folder: Path, *checks: Check, step_min: int = 1, look_min: int | None = None) -> None:
    """Let promtool evaluate all rules over the series of each check.

    Values of a series are `step_min` minutes apart; the rules are looked at so often, unless `look_min` says otherwise.
    """
    test = {
        "rule_files": sorted(str(path) for path in (DEPLOY / "prometheus/rules").glob("*.yml")),
        "evaluation_interval": f"{look_min or step_min}m",
        "tests": [each.group(step_min) for each in checks],
    }
    path = folder / "test.yml"
    path.write_text(yaml.dump(test, Dumper=yaml.CSafeDumper, sort_keys=False))
    run("promtool", "test", "rules", path)


def firing(*alerts: Labels) -> dict[str, list[tuple[Labels, float]]]:
    """Return that these alerts fire, and no others."""
    return {
        'ALERTS{alertstate="firing"}': [
            ({"__name__": "ALERTS", "alertstate": "firing", **each}, 1.0) for each in alerts
        ]
    }


def _metric(labels: Labels) -> str:
    name = labels.get("__name__", "")
    return labelled(name, **{key: value for key, value in labels.items() if key != "__name__"})


def _matchers(labels: Labels) -> list[str]:
    return [f'{key}="{value}"' for key, value in labels.items()]
