"""Every single durable step of every story dies once, one in each run, over SQLite: `make kills`, about an hour."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.kills.kills import Kills, Side
from tests.unit.kills.stories import STORIES, live


def steps_of(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    kills = Kills()
    kills.files(monkeypatch)
    live(name, folder, kills)
    monkeypatch.undo()
    return kills.number


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("name", STORIES)
def test_a_single_death_at_any_step_loses_nothing_acknowledged(tmp_path, monkeypatch, name, side):
    for number in range(1, steps_of(name, tmp_path / "plain", monkeypatch) + 1):
        kills = Kills(lambda step: (step.number, step.side) == (number, side))  # noqa: B023
        kills.files(monkeypatch)
        live(name, tmp_path / str(number), kills)
        monkeypatch.undo()
        assert len(kills.killed) == 1
