"""Small chips that learn real voices by the product's rounds, and forget one of them."""

from __future__ import annotations

from fleet.sim import gallery
from fleet.sim.simulation import Simulation

CHANGES = {
    "fleet.nodes": 3,
    "fleet.people": 3,
    "fleet.samples": 6,
    "chip.relaxation": "none",
    "time.duration": "1d",
    "time.heartbeat": "30min",
    "time.lease": "6h",
    "time.sample_every": "6h",
    "forgets.at": ["13h"],
    "learning.rounds": 2,
    "sweep": {},
}


def simulated(folder, changes, **options) -> Simulation:
    simulation = Simulation(gallery.load("small-chips").changed({**CHANGES, **changes}), 1, folder=folder, **options)
    while not simulation.done:
        simulation.advance()
    return simulation


def test_person_in_a_cohort_is_forgotten_exactly_and_alike_in_batches_and_alone(tmp_path) -> None:
    together = simulated(tmp_path / "together", {"learning.shards": 1})
    alone = simulated(tmp_path / "alone", {"learning.shards": 1}, chunk=1)

    assert [row["verdict"] for row in together.tables["forgets"]] == ["EXACT"]
    assert together.tables["rounds"][-1]["accuracy"] > 0.5
    assert together.digest() == alone.digest()
    for name in ("rounds", "answers", "forgets"):
        assert together.tables[name] == alone.tables[name]


def test_lora_that_all_share_is_repaired_when_one_of_them_is_forgotten(tmp_path) -> None:
    run = simulated(tmp_path, {})

    assert [row["verdict"] for row in run.tables["forgets"]] == ["APPROXIMATE EXACT"]
    assert run.tables["state"][-1]["forgets_open"] == 0
