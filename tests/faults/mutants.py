"""Planted bugs: one line of the product each, changed in memory, which histories of faults must find."""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fleet.sim.faults.drawing import drawn
from fleet.sim.faults.running import Outcome, run

#: A mutant is found within so many histories.
WITHIN = 200


@dataclass(frozen=True)
class Mutant:
    """A bug that is planted.

    Parameters
    ----------
    where
        Module and name of the function that has the line.
    line, instead
        A part of its source that is there once, and what takes its place.
    seed
        Of a history that finds it.
    """

    name: str
    where: str
    line: str
    instead: str
    seed: int

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Have the bug while the block runs."""
        module_name, _, path = self.where.partition(":")
        module: Any = importlib.import_module(module_name)
        *owners, name = path.split(".")
        owner = module
        for each in owners:
            owner = getattr(owner, each)
        original = inspect.getattr_static(owner, name)
        source = textwrap.dedent(inspect.getsource(getattr(owner, name)))
        assert source.count(self.line) == 1, f"{self.name}: {self.line!r} is {source.count(self.line)} times in {path}"
        found: dict[str, Any] = {}
        code = compile(
            source.replace(self.line, self.instead), f"<{self.name}>", "exec", _ANNOTATIONS, dont_inherit=True
        )
        exec(code, module.__dict__, found)
        try:
            setattr(owner, name, found[name])
            yield
        finally:
            setattr(owner, name, original)

    def outcome(self, seed: int | None = None) -> Outcome:
        """Return the outcome of a history with the bug: its own, or that of another seed."""
        with self.planted():
            return run(drawn(self.seed if seed is None else seed))


_ANNOTATIONS = importlib.import_module("__future__").annotations.compiler_flag
_COORDINATOR, _NODE = "fleet.coordinator", "edge_node.agent"

MUTANTS = (
    Mutant(
        "skipped fsync",
        "edge_node.storage.journal:Journal._of",
        "synchronous = FULL",
        "synchronous = OFF",
        0,
    ),
    Mutant(
        "acknowledgement before commit",
        f"{_COORDINATOR}.database:Database._committed",
        "return Outcome(failure=error)",
        'return Outcome(locals()["result"]) if "result" in locals() else Outcome(failure=error)',
        0,
    ),
    Mutant(
        "lease aged from receipt",
        f"{_NODE}.lease:ServeState.granted",
        "self._leases.granted(lease)",
        "self._leases.requested(lease.request_nonce, self._context.clock.boottime_s()), self._leases.granted(lease)",
        0,
    ),
    Mutant(
        "generation not compared",
        f"{_NODE}.lease:LeaseKeeper.status",
        "if self._lease.generation > generation:",
        "if False:",
        0,
    ),
    Mutant(
        "key destroyed before the record",
        "edge_node.storage.erasure:Eraser.erase",
        "enrolled = self._journal.enrolled().keys()",
        "enrolled = self._journal.enrolled().keys(); [self._cipher.subject_keys.destroy(tag) for tag in tags]",
        0,
    ),
    Mutant(
        "receipt unchecked",
        f"{_COORDINATOR}.campaigns.receipts:Receipts.take",
        "if verdict.accepted:",
        "if True:",
        0,
    ),
    Mutant(
        "ticket unchecked",
        f"{_COORDINATOR}.revisions.contributions:Contributions.take",
        "self._check_ticket(node, report)",
        "pass",
        0,
    ),
    Mutant(
        "ticket of another person taken",
        f"{_COORDINATOR}.revisions.contributions:Contributions._check_ticket",
        "if ticket.subject_tag != report.subject_tag:",
        "if False:",
        0,
    ),
    Mutant(
        "code range unchecked",
        f"{_COORDINATOR}.revisions.contributions:Contributions.take",
        "self._env.settings.codes.check(adapter)",
        "pass",
        0,
    ),
    Mutant(
        "log gap accepted",
        f"{_NODE}.forget_log:new_entries",
        "payload_hash, number = signing.payload_hash(envelope), command.generation",
        "payload_hash, number = signing.payload_hash(envelope), command.generation; "
        "generation, log_head = max(generation, number - 1), command.previous_hash",
        0,
    ),
    Mutant(
        "stale revision installed",
        f"{_NODE}.active:ActiveAdapters.install",
        "check_manifest(manifest, standpoint)",
        "pass",
        0,
    ),
    Mutant(
        "wake-up lost",
        f"{_COORDINATOR}.dispatcher:Dispatcher.wake",
        "self._woken |= self._coordinator",
        "self._woken = self._coordinator",
        0,
    ),
    Mutant(
        "head kept with a forgotten column",
        f"{_COORDINATOR}.revisions.revisions:Revisions.redact",
        "cohort_shards=content.cohort_shards,",
        "cohort_shards=content.cohort_shards, head=content.head,",
        0,
    ),
    Mutant(
        "canary reused",
        "fleet.store.subjects:Subjects.forget",
        "if subject is None or not subject.forgotten:",
        "if subject is None or not (subject.forgotten or subject.canary):",
        0,
    ),
    Mutant(
        "tombstone unchecked by the coordinator",
        "fleet.store.subjects:Subjects.contribute",
        "if subject is not None and subject.forgotten:",
        "if False:",
        0,
    ),
    Mutant(
        "tombstone unchecked by the node",
        f"{_NODE}.enrolment:Enrolment._check",
        "if subject_tag in self._journal.tombstones():",
        "if False:",
        0,
    ),
    Mutant(
        "lease for a held node",
        f"{_COORDINATOR}.nodes.heartbeats:Heartbeats.take",
        "if node_id in env.held or ahead or env.awaited:",
        "if ahead or env.awaited:",
        0,
    ),
    Mutant(
        "lease for what the node says",
        f"{_COORDINATOR}.nodes.heartbeats:Heartbeats.take",
        "generation=env.generation,",
        "generation=heartbeat.generation,",
        0,
    ),
    Mutant(
        "lease numbers used again",
        "fleet.store.fleet:Fleet.reserve_leases",
        "self.get().lease_sequence + count",
        "count",
        0,
    ),
    Mutant(
        "contribution not repeated",
        f"{_NODE}.contributions:Contributions.reconnected",
        "self._sent.clear()",
        "pass",
        0,
    ),
    Mutant(
        "forget before all are heard after a restore",
        f"{_COORDINATOR}.campaigns.campaigns:Campaigns.create",
        "if awaited := self._tx.fleet.awaited():",
        "if awaited := ():",
        0,
    ),
    Mutant(
        "restored node unnoticed",
        f"{_COORDINATOR}.nodes.restored:Restored.check_rollback",
        "self.start_over(node, hello.receipt_counter, hello.last_receipt_hash)",
        "pass",
        0,
    ),
    Mutant(
        "forgotten kept in SRAM",
        f"{_NODE}.forgetting:Forgetting.suppress",
        "self._adapters.drop(tags)",
        "pass",
        0,
    ),
    Mutant(
        "key not destroyed",
        "edge_node.storage.erasure:Eraser._carry_out",
        "self._cipher.subject_keys.destroy(subject_tag)",
        "pass",
        0,
    ),
    Mutant(
        "keys of the coordinator kept",
        f"{_COORDINATOR}.at_rest:OwnedKeys.destroy_orphaned",
        "secrets.destroy(key_id)",
        "pass",
        0,
    ),
    Mutant(
        "retired node expected to hold",
        f"{_COORDINATOR}.campaigns.campaigns:Campaigns._held",
        "if node.retired_at_ms is not None:",
        "if False:",
        0,
    ),
    Mutant(
        "what a failed journal had not noted",
        f"{_NODE}.forgetting:Forgetting.suppress",
        "self._unnoted.setdefault(",
        "{}.setdefault(",
        0,
    ),
)
