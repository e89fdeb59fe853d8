"""Whoever enters when, whichever node misses a training, and in whatever order people leave: replay is exact."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from reram_fleet.code_ranges import CodeRange, LoraStage
from reram_fleet.v1.types_pb2 import LoraBranch, LoraRow

from fleet.coordinator.testing import FEATURES
from tests.integration.cohorts.cohort_fleet import SHARDS, CohortFleet
from tests.integration.cohorts.story import ANN, AT, BOB, CEM, CLOCK, EVE, FAY, NODES, audited

CODES = CodeRange(FEATURES, 2**16 - 1, stage=LoraStage(rank=8, neurons=FEATURES - 8))
TRAININGS = 3


@dataclass(frozen=True)
class History:
    """Before which training each person enters, who misses which, rounds of each, and who leaves in which order."""

    entries: dict[str, int]
    away: tuple[str | None, ...]
    rounds: tuple[int, ...]
    leaving: tuple[str, ...]


@st.composite
def histories(draw: st.DrawFn) -> History:
    people = draw(st.lists(st.sampled_from([ANN, BOB, CEM, EVE, FAY]), min_size=2, unique=True))
    numbers = range(TRAININGS)
    return History(
        {tag: draw(st.sampled_from(numbers)) for tag in people},
        tuple(draw(st.sampled_from([None, *NODES])) for _ in numbers),
        tuple(draw(st.integers(1, 2)) for _ in numbers),
        tuple(draw(st.permutations(people))[: draw(st.integers(1, len(people)))]),
    )


def lived(folder: Path, history: History, absent: Sequence[str] = ()) -> CohortFleet:
    """Return a fleet after all trainings, in which some people never were."""
    fleet = CohortFleet.make(folder, CLOCK, NODES, CODES)
    entries = {tag: entry for tag, entry in history.entries.items() if tag not in absent}
    for number, (away, rounds) in enumerate(zip(history.away, history.rounds, strict=True)):
        fleet.enrol({tag: AT[tag] for tag, entry in sorted(entries.items()) if entry == number})
        if not any(entry <= number for entry in entries.values()):
            continue
        if away is not None:
            fleet.unplug(away)
        fleet.train(f"t{number}", rounds)
        if away is not None:
            fleet.online.add(away)
            fleet.settle()
    return fleet


def learnt(fleet: CohortFleet) -> tuple[list[LoraRow], list[LoraBranch]]:
    """Return rows and branches: a fleet that never learnt has no shape of a LoRA either."""
    return list(fleet.lora().rows), list(fleet.lora().branches)


@settings(max_examples=5, deadline=None)
@given(history=histories())
def test_forgets_in_any_order_leave_the_fleet_in_which_they_never_were(history: History) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fleet = lived(Path(folder, "fleet"), history)
        gone: list[str] = []
        for tag in history.leaving:
            gone.append(tag)
            fleet.forget(tag)
            fleet.run()
            never = lived(Path(folder, f"never-{len(gone)}"), history, gone)
            assert learnt(fleet) == learnt(never)
            never.coordinator.close()
        here = [shard for shard in range(SHARDS) if fleet.shard(shard).history.entries]
        assert [audited(fleet, shard)["state"] for shard in here] == ["reproduced"] * len(here)
        fleet.coordinator.close()
