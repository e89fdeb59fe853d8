"""SIGKILL at each durable step of an erase, and after an enrolment: a real process dies, the next one goes on.

Every step of a node, in memory, is in `tests/unit/kills`; here are files, of the journal and of keys.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from reram_fleet.crypto import signing
from reram_fleet.crypto.identifiers import new_tag
from reram_fleet.crypto.key_store import FileKeyStore
from reram_fleet.v1 import types_pb2 as types

from edge_node.agent.node import Node
from edge_node.storage.journal import Journal
from edge_node.testing import FakeClock, FakeCoordinator, open_node


def samples(voice: int, count: int) -> list[np.ndarray]:
    direction = np.eye(8, dtype=np.float32)[voice] * 1000
    return [direction[None] + np.full((4, 8), number, np.float32) for number in range(count)]


def adapter(tag: str, voice: int) -> types.SubjectAdapter:
    return types.SubjectAdapter(subject_tag=tag, count=1, code_sum=[4000 * (k == voice) for k in range(8)])


def killed_while(work: Callable[[], None]) -> None:
    """Do the work in a forked process that must end by its own SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the child ended with {status} and was not killed: was the step reached?"
    assert os.WTERMSIG(status) == signal.SIGKILL


class Steps:
    """Counts commits of a journal and destroyed key files; may die by SIGKILL before or after one of them."""

    def __init__(self, last: int = 0, *, after: bool = False) -> None:
        self.taken, self._last, self._after = 0, last, after

    @contextmanager
    def _step(self) -> Iterator[None]:
        self.taken += 1
        if (self.taken, self._after) == (self._last, False):
            os.kill(os.getpid(), signal.SIGKILL)
        yield
        if (self.taken, self._after) == (self._last, True):
            os.kill(os.getpid(), signal.SIGKILL)

    def count(self, monkeypatch: pytest.MonkeyPatch) -> Steps:
        """Let every journal and key store of this process be counted."""
        transaction, destroy = Journal.transaction, FileKeyStore.destroy

        @contextmanager
        def counted(journal: Journal) -> Iterator[None]:
            step = self._step()
            with transaction(journal):
                yield
                step.__enter__()
            step.__exit__(None, None, None)

        def destroyed(keys: FileKeyStore, key_id: str) -> bool:
            with self._step():
                return destroy(keys, key_id)

        monkeypatch.setattr(Journal, "transaction", counted)
        monkeypatch.setattr(FileKeyStore, "destroy", destroyed)
        return self


@pytest.fixture
def coordinator() -> FakeCoordinator:
    return FakeCoordinator()


@pytest.fixture
def forgotten(tmp_path: Path, coordinator: FakeCoordinator) -> str:
    """A folder where a person is suppressed everywhere and revision 2 is active; returns who is kept."""
    kept, person, other = new_tag(), new_tag(), new_tag()
    node = open_node(tmp_path, coordinator, FakeClock())
    identity = node.context.keys.identity
    node.enroll(coordinator.consent(person), samples(1, 3))
    node.enroll(coordinator.consent(other), samples(2, 2))
    adapters = [adapter(kept, 0), adapter(person, 1), adapter(other, 2)]
    node.receive(coordinator.revision(identity, 1, adapters))
    coordinator.forget(person, other)
    node.receive(coordinator.log_after(0))
    node.receive(coordinator.revision(identity, 2, [adapter(kept, 0)]))
    node.close()
    return kept


def receipts(node: Node) -> list[types.Receipt]:
    key = node.context.keys.identity.receipt_public_key
    return [
        signing.open_envelope(types.Envelope.FromString(row.envelope), types.Receipt, key)
        for row in node._journal.receipts()
    ]


#: The intent, two keys of people and one of a revision, the rows, the receipt.
STEPS_OF_AN_ERASE = 6


def test_an_erase_has_as_many_durable_steps_as_it_is_killed_at(
    tmp_path: Path, coordinator: FakeCoordinator, forgotten: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = open_node(tmp_path, coordinator, FakeClock())
    steps = Steps().count(monkeypatch)
    node.receive(coordinator.erase(1, 2))
    assert steps.taken == STEPS_OF_AN_ERASE
    node.close()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, STEPS_OF_AN_ERASE + 1))
def test_an_erase_killed_at_any_step_ends_in_one_receipt_with_the_right_counts(
    tmp_path: Path,
    coordinator: FakeCoordinator,
    forgotten: str,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    after: bool,
) -> None:
    order = coordinator.erase(1, 2, nonce=b"challenge", probes=[[4000 * (k == 1) for k in range(8)]])

    def erase() -> None:
        node = open_node(tmp_path, coordinator, FakeClock())
        Steps(number, after=after).count(monkeypatch)
        node.receive(order)

    killed_while(erase)
    node = open_node(tmp_path, coordinator, FakeClock())
    node.receive(order)
    (receipt,) = receipts(node)
    assert receipt.outcome == types.RECEIPT_OUTCOME_ERASED
    assert (receipt.subject_adapters_erased, receipt.code_samples_erased, receipt.keys_destroyed) == (2, 5, 3)
    assert (receipt.counter, receipt.challenge_nonce) == (1, b"challenge")
    assert [entry.subject_tag for entry in receipt.active_adapters] == [forgotten]
    assert [result.subject_tag for result in receipt.probe_results] == [""]
    assert not list((tmp_path / "subject-keys").iterdir())
    assert len(list((tmp_path / "revision-keys").iterdir())) == 1
    node.close()


def test_a_second_order_after_a_crash_gets_the_one_receipt_for_its_own_challenge(
    tmp_path: Path, coordinator: FakeCoordinator, forgotten: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def erase() -> None:
        node = open_node(tmp_path, coordinator, FakeClock())
        # The intent, and the first key.
        Steps(2, after=True).count(monkeypatch)
        node.receive(coordinator.erase(1, 2, nonce=b"lost"))

    killed_while(erase)
    assert len(list((tmp_path / "subject-keys").iterdir())) == 1
    node = open_node(tmp_path, coordinator, FakeClock())
    # The keys are gone before any order comes again.
    assert not list((tmp_path / "subject-keys").iterdir())
    node.receive(coordinator.erase(1, 2, nonce=b"again"))
    (receipt,) = receipts(node)
    assert (receipt.challenge_nonce, receipt.keys_destroyed) == (b"again", 3)
    node.close()


def test_an_answered_enrolment_and_suppression_survive_sigkill(tmp_path: Path, coordinator: FakeCoordinator) -> None:
    kept, forgotten = new_tag(), new_tag()
    coordinator.forget(forgotten)

    def work() -> None:
        node = open_node(tmp_path, coordinator, FakeClock())
        node.enroll(coordinator.consent(kept), samples(0, 2))
        node.enroll(coordinator.consent(forgotten), samples(1, 2))
        node.receive(coordinator.log_after(0))
        os.kill(os.getpid(), signal.SIGKILL)

    killed_while(work)
    node = open_node(tmp_path, coordinator, FakeClock())
    status = node.status()
    assert (status.generation, list(status.subject_tags)) == (1, [kept])
    node.close()


def test_a_key_file_without_a_row_is_destroyed_at_start(tmp_path: Path, coordinator: FakeCoordinator) -> None:
    node = open_node(tmp_path, coordinator, FakeClock())
    node.context.cipher.subject_keys.get_or_create(new_tag())
    node.close()
    (tmp_path / "subject-keys" / f".{new_tag()}.key.0000").write_bytes(b"half written")
    open_node(tmp_path, coordinator, FakeClock()).close()
    assert not list((tmp_path / "subject-keys").iterdir())
