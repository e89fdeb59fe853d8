"""Planted bugs: one line of the product each, changed in memory, which histories of faults must find."""

from __future__ import annotations

import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fleet.sim.faults.history import History
from fleet.sim.faults.running import Outcome, run


@dataclass(frozen=True)
class Mutant:
    """A bug that is planted.

    Parameters
    ----------
    where
        Module and name of the function that has the line.
    line, instead
        A part of its source that is there once, and what takes its place.
    """

    name: str
    where: str
    line: str
    instead: str

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
        # A function may have been imported by name.
        homes = (
            [each for each in sys.modules.values() if vars(each).get(name) is original] if owner is module else [owner]
        )
        try:
            for home in homes:
                setattr(home, name, found[name])
            yield
        finally:
            for home in homes:
                setattr(home, name, original)

    def outcome(self, history: History) -> Outcome:
        """Return the outcome of a history with the bug."""
        with self.planted():
            return run(history)


_ANNOTATIONS = importlib.import_module("__future__").annotations.compiler_flag
_COORDINATOR, _NODE = "fleet.coordinator", "edge_node.agent"

MUTANTS = (
    Mutant(
        "skipped fsync",
        "edge_node.storage.journal:Journal._of",
        "synchronous = FULL",
        "synchronous = OFF",
    ),
    Mutant(
        "acknowledgement before commit",
        f"{_COORDINATOR}.database:Database._committed",
        "return Outcome(failure=error)",
        'return Outcome(locals()["result"]) if "result" in locals() else Outcome(failure=error)',
    ),
    Mutant(
        "lease aged from receipt",
        f"{_NODE}.lease:ServeState.granted",
        "self._leases.granted(lease)",
        "self._leases.requested(lease.request_nonce, self._context.clock.boottime_s()), self._leases.granted(lease)",
    ),
    Mutant(
        "generation not compared",
        f"{_NODE}.lease:LeaseKeeper.status",
        "if self._lease.generation > generation:",
        "if False:",
    ),
    Mutant(
        "key destroyed before the record",
        f"{_NODE}.active:ActiveAdapters.install",
        'key_id = f"{manifest.revision}-{manifest.digest.hex()[:16]}"',
        'key_id = f"{manifest.revision}-{manifest.digest.hex()[:16]}"; '
        "self._context.cipher.revision_keys.destroy(active.key_id if active else key_id)",
    ),
    Mutant(
        "receipt unchecked",
        f"{_COORDINATOR}.campaigns.receipts:Receipts.take",
        "if verdict.accepted:",
        "if True:",
    ),
    Mutant(
        "ticket unchecked",
        f"{_COORDINATOR}.revisions.contributions:Contributions.take",
        "self._check_ticket(node, report)",
        "pass",
    ),
    Mutant(
        "ticket of another person taken",
        f"{_COORDINATOR}.revisions.contributions:Contributions._check_ticket",
        "if ticket.subject_tag != report.subject_tag:",
        "if False:",
    ),
    Mutant(
        "code range unchecked",
        f"{_COORDINATOR}.revisions.contributions:Contributions.take",
        "self._env.settings.codes.check(adapter)",
        "pass",
    ),
    Mutant(
        "log gap accepted",
        f"{_NODE}.forget_log:new_entries",
        "payload_hash, number = signing.payload_hash(envelope), command.generation",
        "payload_hash, number = signing.payload_hash(envelope), command.generation; "
        "generation, log_head = max(generation, number - 1), command.previous_hash",
    ),
    Mutant(
        "stale revision installed",
        f"{_NODE}.active:ActiveAdapters.install",
        "check_manifest(manifest, standpoint)",
        "pass",
    ),
    Mutant(
        "wake-up lost",
        f"{_COORDINATOR}.core:Coordinator.tell",
        "self.dispatcher.wake(None if everybody else touched.nodes)",
        "self.dispatcher.wake(None) if everybody else None",
    ),
    Mutant(
        "head kept with a forgotten column",
        f"{_COORDINATOR}.revisions.revisions:Revisions.redact",
        "cohort_shards=content.cohort_shards,",
        "cohort_shards=content.cohort_shards, head=content.head,",
    ),
    Mutant(
        "canary reused",
        "fleet.store.subjects:Subjects.forget",
        "if subject is None or not subject.forgotten:",
        "if subject is None or not (subject.forgotten or subject.canary):",
    ),
    Mutant(
        "tombstone unchecked by the coordinator",
        "fleet.store.subjects:Subjects.contribute",
        "if subject is not None and subject.forgotten:",
        "if False:",
    ),
    Mutant(
        "tombstone unchecked by the node",
        f"{_NODE}.enrolment:Enrolment._check",
        "if subject_tag in self._journal.tombstones():",
        "if False:",
    ),
    Mutant(
        "lease for a held node",
        f"{_COORDINATOR}.nodes.heartbeats:Heartbeats.take",
        "if node_id in env.held or ahead or env.awaited:",
        "if ahead or env.awaited:",
    ),
    Mutant(
        "lease numbers used again",
        "fleet.store.fleet:Fleet.reserve_leases",
        "self.get().lease_sequence + count",
        "count",
    ),
    Mutant(
        "contribution not repeated",
        f"{_NODE}.contributions:Contributions.reconnected",
        "self._sent.clear()",
        "pass",
    ),
    Mutant(
        "forget before all are heard after a restore",
        f"{_COORDINATOR}.campaigns.campaigns:Campaigns.create",
        "if awaited := self._tx.fleet.awaited():",
        "if awaited := ():",
    ),
    Mutant(
        "restored node unnoticed",
        f"{_COORDINATOR}.nodes.restored:Restored.check_rollback",
        "self.start_over(node, hello.receipt_counter, hello.last_receipt_hash)",
        "pass",
    ),
    Mutant(
        "forgotten kept in SRAM",
        f"{_NODE}.forgetting:Forgetting.suppress",
        "self._adapters.drop(tags)",
        "pass",
    ),
    Mutant(
        "key not destroyed",
        "edge_node.storage.erasure:Eraser._carry_out",
        "self._cipher.subject_keys.destroy(subject_tag)",
        "pass",
    ),
    Mutant(
        "keys of the coordinator kept",
        f"{_COORDINATOR}.at_rest:OwnedKeys.destroy_orphaned",
        "secrets.destroy(key_id)",
        "pass",
    ),
    Mutant(
        "retired node expected to hold",
        f"{_COORDINATOR}.campaigns.campaigns:Campaigns._held",
        "if node.retired_at_ms is not None:",
        "if False:",
    ),
    Mutant(
        "what a failed journal had not noted",
        f"{_NODE}.forgetting:Forgetting.suppress",
        "self._unnoted.setdefault(",
        "{}.setdefault(",
    ),
    Mutant(
        "revision that overtakes the log refused for good",
        f"{_NODE}.revisions:check_manifest",
        "raise LogRejectedError(",
        "raise RevisionRefusedError(",
    ),
    Mutant(
        "lost forget not committed anew after a restore",
        f"{_COORDINATOR}.campaigns.campaigns:Campaigns.end_restore",
        "lost.items()",
        "{}.items()",
    ),
)
