from __future__ import annotations

import numpy as np
import pytest
from flwr.app import ArrayRecord
from flwr.supercore.task_identity import TaskIdentity
from reram_fleet.crypto.sealing import new_key

from fleet.learning.state_codec import StateCodec, record_of
from tests.unit.learning.loop_grid import JOB, state


@pytest.fixture(autouse=True)
def task_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower builds messages only inside a task."""
    monkeypatch.setattr(TaskIdentity, "_task_id", 1)
    monkeypatch.setattr(TaskIdentity, "_run_id", 1)
    monkeypatch.setattr(TaskIdentity, "_node_id", 1)


@pytest.fixture
def codec() -> StateCodec:
    return StateCodec(JOB, new_key(), state(np.arange(6)))


@pytest.fixture
def arrays() -> ArrayRecord:
    return record_of(state(np.arange(6)))
