"""Figures of a run: one number for each question that runs are compared by, taken from its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, median
from typing import Any

from fleet.domain.node import EnergyPhase
from fleet.sim.tables import Columns, Tables

_Reduce = Callable[[Sequence[float]], float]


class Better(StrEnum):
    """Direction in which a figure is better."""

    LESS = "less"
    MORE = "more"
    #: A fact, or a cost that follows from what was asked.
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class Figure:
    """Number that sums up a run."""

    name: str
    label: str
    #: "s", "J", "B", "share", "x" (so many times), or "" for a number of things.
    unit: str
    better: Better
    of: Callable[[Tables], float | None]


def _values(table: Columns, column: str) -> list[float]:
    return [float(value) for value in table.get(column, ()) if value is not None]


def _from(table: str, column: str, reduce: _Reduce) -> Callable[[Tables], float | None]:
    def value(tables: Tables) -> float | None:
        values = _values(tables.get(table, {}), column)
        return float(reduce(values)) if values else None

    return value


def _last(values: Sequence[float]) -> float:
    return values[-1]


def _of_state(column: str, label: str, unit: str = "", better: Better = Better.LESS) -> Figure:
    return Figure(column, label, unit, better, _from("state", column, _last))


def _share_of_nodes(column: str) -> Callable[[Tables], float | None]:
    """Return the mean over time of a number of nodes, as a share of those in the fleet."""

    def value(tables: Tables) -> float | None:
        state = tables.get("state", {})
        shares = [few / all_ for few, all_ in zip(state.get(column, ()), state.get("nodes", ()), strict=False) if all_]
        return fmean(shares) if shares else None

    return value


def _joules(tables: Tables) -> float | None:
    spent = [_from("state", f"joules_{phase}", _last)(tables) for phase in EnergyPhase]
    known = [value for value in spent if value is not None]
    return sum(known) if known else None


def _saved(tables: Tables) -> float | None:
    would, did = (_from("state", column, _last)(tables) for column in ("reprogramming_j", "overhead_j"))
    return would / did if would is not None and did else None


def _verdict_share(tables: Tables) -> float | None:
    verdicts = [verdict for verdict in tables.get("forgets", {}).get("verdict", ()) if verdict]
    return sum(verdict == "EXACT" for verdict in verdicts) / len(verdicts) if verdicts else None


def _forgets(tables: Tables) -> float | None:
    return float(len(tables.get("forgets", {}).get("generation", ())))


#: All figures, in the order in which they are shown.
FIGURES: Sequence[Figure] = (
    Figure("forgets", "forgets", "", Better.NEITHER, _forgets),
    _of_state("forgets_open", "forgets not converged"),
    Figure("exact_share", "forgets that are EXACT throughout", "share", Better.MORE, _verdict_share),
    Figure("suppressed_p50_s", "median suppression", "s", Better.LESS, _from("forgets", "suppressed_p50_s", median)),
    Figure("suppressed_last_s", "slowest suppression", "s", Better.LESS, _from("forgets", "suppressed_last_s", max)),
    Figure("converged_s", "median convergence", "s", Better.LESS, _from("forgets", "converged_s", median)),
    Figure("serving_share", "share of nodes serving", "share", Better.MORE, _share_of_nodes("serving")),
    Figure(
        "serving_behind_share",
        "share of nodes serving without a forget",
        "share",
        Better.LESS,
        _share_of_nodes("serving_behind"),
    ),
    _of_state("held", "nodes held"),
    Figure("lost", "nodes that a forget went on without", "", Better.LESS, _from("forgets", "lost", max)),
    Figure(
        "enrolled_accuracy",
        "accuracy on enrolled people",
        "share",
        Better.MORE,
        _from("answers", "enrolled_accuracy", _last),
    ),
    Figure(
        "accepted_strangers", "strangers accepted", "share", Better.LESS, _from("answers", "accepted_strangers", fmean)
    ),
    Figure(
        "accepted_forgotten",
        "forgotten people accepted",
        "share",
        Better.LESS,
        _from("answers", "accepted_forgotten", max),
    ),
    _of_state("messages", "messages", better=Better.LESS),
    _of_state("bytes", "bytes sent", "B"),
    Figure("joules", "energy", "J", Better.LESS, _joules),
    *(_of_state(f"joules_{phase}", f"energy, {phase}", "J") for phase in EnergyPhase),
    Figure("joules_per_forget", "energy of a forget", "J", Better.LESS, _from("forgets", "joules", fmean)),
    Figure("saved", "re-programming instead, on the chips", "x", Better.MORE, _saved),
    _of_state("cell_writes", "cell writes"),
    _of_state("calibrations", "calibrations of chips while they run", better=Better.NEITHER),
    _of_state("wear_max", "wear of the most worn chip", "share"),
    Figure("round_accuracy", "accuracy of the last round", "share", Better.MORE, _from("rounds", "accuracy", _last)),
)
BY_NAME: Mapping[str, Figure] = {figure.name: figure for figure in FIGURES}


def figures_of(tables: Tables) -> dict[str, float]:
    """Return the figures that a run's tables tell, by name."""
    found = {figure.name: figure.of(tables) for figure in FIGURES}
    return {name: value for name, value in found.items() if value is not None}


def described(values: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return figures with their labels, units and directions, for a reader who has no such list."""
    return [
        {"name": f.name, "label": f.label, "unit": f.unit, "better": str(f.better), "value": values[f.name]}
        for f in FIGURES
        if f.name in values
    ]
