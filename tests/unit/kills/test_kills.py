"""Coordinator and nodes are killed at every durable step, before it and after: nothing acknowledged is lost.

What is a step is read out of the code (`durable_steps`). Here each place of the code that takes one dies once on both
sides, over SQLite and PostgreSQL; `make kills` (`tests/every_kill`) lets every single step of every story die, one in
each run.
"""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from tests.unit.kills.durable_steps import ELSEWHERE, all_sites, found_in, is_elsewhere, unclear_works, writes_nothing
from tests.unit.kills.kills import Kills, Side, Step
from tests.unit.kills.stories import STORIES, live
from tests.unit.store.kinds import POSTGRESQL, SQLITE

WANTED = {(site, side) for site in all_sites() if not is_elsewhere(site) and not writes_nothing(site) for side in Side}


@pytest.mark.parametrize("kept_in", [SQLITE, POSTGRESQL])
def test_a_death_on_either_side_of_each_step_loses_nothing_acknowledged(request, tmp_path, monkeypatch, kept_in):
    # Nodes keep their journals as they do, whatever the coordinator's database is.
    wanted = {(site, side) for site, side in WANTED if kept_in == SQLITE or site.path.startswith("fleet/")}
    alive = set(wanted)

    def due(step: Step) -> bool:
        first = (step.site, step.side) in alive
        alive.discard((step.site, step.side))
        return first

    for name in STORIES:
        kills = Kills(due)
        kills.files(monkeypatch)
        with request.getfixturevalue("postgres").database() if kept_in != SQLITE else nullcontext() as url:
            live(name, tmp_path / name, kills, url)
        monkeypatch.undo()
    missed = sorted(f"{side} {site}" for site, side in alive)
    assert not missed, "no story dies there, so nobody knows what is lost"


def test_every_transaction_says_whether_it_writes():
    assert unclear_works() == []


NEW_STEPS = {
    "a call's work": "class S:\n async def Call(self):\n  await self._change(context, lambda unit: unit.jobs.start())",
    "a loop's work": "async def loop(c):\n def work(unit):\n  unit.jobs.start()\n await c.run(work)",
    "a transaction": "def save(journal):\n with journal.transaction():\n  pass",
    "a key made": "def seal(env):\n return env.secrets.create('key')",
    "a key destroyed": "def erase(keys):\n keys.destroy('key')",
    "a file": "def save(path):\n write_atomically(path, b'')",
}


@pytest.mark.parametrize("source", NEW_STEPS.values(), ids=NEW_STEPS)
def test_a_new_step_is_seen(source):
    """And fails the tests above, until a story dies there."""
    found = found_in("fleet/coordinator/new.py", source)
    assert len(found.sites) == 1
    assert not is_elsewhere(found.sites[0])
    assert found.unclear() == []


def test_work_that_nobody_is_known_to_run_is_unclear():
    assert found_in("new.py", "def begin(later):\n later(lambda unit: unit.jobs.start())").unclear() == [
        "new.py:2 begin"
    ]
    assert not found_in("new.py", "async def show(c):\n await c.read(lambda unit: unit.views.fleet())").sites


@pytest.mark.parametrize("place", ELSEWHERE)
def test_what_is_left_out_is_there(place):
    assert any(site.key.startswith(place) for site in all_sites())
