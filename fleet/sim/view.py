"""Tables of the simulator's verbs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from fleet.cli.output import clock, facts, seconds, table
from fleet.report.quantities import signed_text
from fleet.sim.figures import BY_NAME, described

Document = Mapping[str, Any]
#: Figures of a list: what one looks for first.
_LISTED = ("forgets", "suppressed_last_s", "serving_share", "joules")


def figure_text(name: str, value: float | None) -> str:
    """Return the value of a figure with its unit."""
    return "-" if value is None else signed_text(value, BY_NAME[name].unit)


def listing(body: Document) -> Iterable[RenderableType]:
    """Yield the gallery, and the runs of a folder."""
    yield table("Gallery", ["scenario", "about"], ((each["name"], each["title"]) for each in body["scenarios"]))
    if body["runs"]:
        yield table(
            f"Runs in {body['folder']}",
            ["folder", "state", "seed>", "begun", *(f"{BY_NAME[name].label}>" for name in _LISTED)],
            (
                (
                    run["folder"],
                    state_text(run),
                    run["seed"],
                    clock(run["started_at_unix_ms"]),
                    *(figure_text(name, run["figures"].get(name)) for name in _LISTED),
                )
                for run in body["runs"]
            ),
        )


def state_text(record: Document) -> str:
    """Return the state of a run, and how far it is if it is not done."""
    if record["state"] == "finished":
        return "finished"
    return f"{record['state']} at {100 * record['now_s'] / record['duration_s']:.0f} %"


def run_tables(record: Document) -> Iterable[RenderableType]:
    """Yield the record of a run and its figures."""
    yield facts(
        record["title"],
        {
            "run": f"{record['name']}, seed {record['seed']}",
            "state": state_text(record),
            "why": record["error"],
            "begun": clock(record["started_at_unix_ms"]),
            "took": seconds(record["wall_clock_s"]),
            "resumed": record["resumed"] or "",
            "configuration": record["configuration"][:16],
            "digest": record["digest"],
        },
    )
    if record["figures"]:
        yield figure_table(record["figures"])


def figure_table(figures: Mapping[str, float]) -> RenderableType:
    """Return the figures of a run."""
    rows = ((each["label"], signed_text(each["value"], each["unit"])) for each in described(figures))
    return table("Figures", ["figure", "value>"], rows)


def sweep_tables(points: Sequence[Document]) -> Iterable[RenderableType]:
    """Yield the figures in which the points of a sweep differ: means over seeds."""
    means = [_means([run["figures"] for run in point["runs"]]) for point in points]
    differing = [name for name in BY_NAME if len({mean.get(name) for mean in means}) > 1]
    heads = [", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in each["values"].items()) for each in points]
    yield table(
        "Means over seeds; figures that are equal everywhere are left out",
        ["figure", *(f"{head}>" for head in heads)],
        ([BY_NAME[name].label, *(figure_text(name, mean.get(name)) for mean in means)] for name in differing),
    )


def _means(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    shared = [name for name in BY_NAME if runs and all(name in run for run in runs)]
    return {name: fmean(run[name] for run in runs) for name in shared}


def comparison_tables(body: Document) -> Iterable[RenderableType]:
    """Yield both sides, and what is said of each figure."""
    a, b = body["sides"]
    differs = "; ".join(f"{key} {one} / {other}" for key, (one, other) in body["differs_in"].items())
    yield facts(
        "Comparison",
        {
            "a": f"{a['name']} {a['configuration'][:8]}, seeds {', '.join(map(str, a['seeds']))}",
            "b": f"{b['name']} {b['configuration'][:8]}, seeds {', '.join(map(str, b['seeds']))}",
            "they differ in": differs or "nothing but seeds",
        },
    )
    yield table(
        "Means, and standard deviations between seeds",
        ["figure", "a>", "b>", "b less a>", "p>", "told apart", "better"],
        (
            (
                line["label"],
                _side(line, "a"),
                _side(line, "b"),
                signed_text(line["difference"], line["unit"]),
                "" if line["p_value"] is None or line["told"] == "equal" else f"{line['p_value']:.2g}",
                line["told"],
                line["better"],
            )
            for line in body["figures"]
        ),
    )
    yield Text(f"Test: {body['test']}.")


def _side(line: Document, name: str) -> str:
    side = line[name]
    spread = f" ± {signed_text(side['spread'], line['unit'])}" if side["spread"] else ""
    return signed_text(side["mean"], line["unit"]) + spread
