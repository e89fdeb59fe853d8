"""Exact forgetting in a cohort: what knew the person is destroyed, and training is replayed without them.

A *checkpoint* is a cohort's state before a round in which somebody entered, sealed under a key of its own. The
checkpoint before a person's entry never knew them; later ones did. To forget: destroy the keys of those, take the
checkpoint of the entry, and train on without the person. The replay saves the later entrants' checkpoints anew.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from reram_fleet.crypto import sealing
from reram_fleet.crypto.key_store import KeyStore
from reram_fleet.processes.durable import destroy, write_atomically

from edge_node.errors import RoundError, StateFolderError
from fleet.lab.replay.cohort import CohortPlan, StartRows, WorkDone, train_cohort
from fleet.lab.replay.cohort_state import CohortState
from fleet.lab.replay.federated import NodeSamples

_SUFFIX = ".checkpoint"
_NAME = re.compile(r"shard-(\d{4})-round-(\d{4})")
SALT_BYTES = 32


@dataclass(frozen=True)
class CheckpointFiles:
    """Sealed checkpoints of cohorts, with a folder each for files and for keys; all are bound to an owner."""

    folder: Path
    keys: KeyStore
    owner: str

    def save(self, shard: int, round_number: int, state: CohortState) -> None:
        """Seal a checkpoint under a new key; one of the same round is erased first."""
        name = _name(shard, round_number)
        self.erase(shard, round_number)
        key = self.keys.get_or_create(name)
        sealed = sealing.seal_symmetric(key, self._purpose(name), state.to_bytes())
        write_atomically(self.folder / f"{name}{_SUFFIX}", sealed)

    def load(self, shard: int, round_number: int) -> CohortState:
        """Open a checkpoint.

        `StateFolderError` if it is not there, or does not open; `KeyFileError` if its key has been destroyed.
        """
        name = _name(shard, round_number)
        try:
            sealed = (self.folder / f"{name}{_SUFFIX}").read_bytes()
        except FileNotFoundError:
            raise StateFolderError(
                f"there is no checkpoint of shard {shard} before round {round_number}; there are: "
                f"{self.rounds(shard)}. Train the shard from the start without the person"
            ) from None
        try:
            return CohortState.from_bytes(sealing.open_symmetric(self.keys.get(name), self._purpose(name), sealed))
        except (sealing.SealError, RoundError) as error:
            raise StateFolderError(f"checkpoint {name} does not open: it was changed, or is another's") from error

    def rounds(self, shard: int) -> list[int]:
        """Return the rounds before which a shard has checkpoints that open."""
        found = (_NAME.fullmatch(path.stem) for path in self.folder.glob(f"*{_SUFFIX}"))
        names = [match for match in found if match and int(match[1]) == shard]
        return sorted(int(match[2]) for match in names if match[0] in self.keys.ids())

    def erase(self, shard: int, round_number: int) -> bool:
        """Destroy a checkpoint's key, then its file; False if neither was there."""
        name = _name(shard, round_number)
        key_gone = self.keys.destroy(name)
        return destroy(self.folder / f"{name}{_SUFFIX}") or key_gone

    def _purpose(self, name: str) -> str:
        return f"reram-fleet/cohort-checkpoint/{self.owner}/{name}"


@dataclass(frozen=True, eq=False)
class ReplayResult:
    """Outcome of a forget by replay."""

    #: After it; the person is in neither.
    state: CohortState
    plan: CohortPlan
    #: Of the replay: the person's entry, and the state that it started from.
    first_round: int
    checkpoint_digest: str
    #: Rounds of the checkpoints that knew the person, whose keys were destroyed.
    erased_rounds: tuple[int, ...]
    #: What was computed, and process seconds.
    work: WorkDone
    cpu_s: float


def forget_by_replay(
    plan: CohortPlan, nodes: Sequence[NodeSamples], starts: StartRows, checkpoints: CheckpointFiles, tag: str
) -> ReplayResult:
    """Forget a person of a shard: bitwise the cohort that they never entered.

    The checkpoints that knew them are destroyed first. The checkpoint before their entry stays until the replay is
    done, so that one that was cut off is simply run again. The person's own codes are not looked at, and may be gone.
    `RoundError` if they are not in the plan; `StateFolderError` or `KeyFileError` if the checkpoint of their entry
    cannot be had: then nothing is destroyed.
    """
    started = time.process_time()
    rest = plan.without(tag)
    entry = plan.entries[tag]
    before = checkpoints.load(plan.shard, entry)
    knew = tuple(number for number in checkpoints.rounds(plan.shard) if number > entry)
    for number in knew:
        checkpoints.erase(plan.shard, number)

    def keep(number: int, state: CohortState) -> None:
        # The checkpoint of the entry is at hand, and is what this starts from.
        if number != entry:
            checkpoints.save(plan.shard, number, state)

    work = WorkDone()
    kept = [node.without(tag) for node in nodes]
    after = train_cohort(rest, kept, starts, first_round=entry, state=before, on_checkpoint=keep, work=work)
    if not rest.entering(entry):
        checkpoints.erase(plan.shard, entry)
    return ReplayResult(after, rest, entry, before.digest(), knew, work, time.process_time() - started)


def cost_share(plan: CohortPlan, tag: str, fleet: Sequence[CohortPlan]) -> float:
    """Return what forgetting a person costs by theory: node steps of the replay over those of all shards."""
    return plan.node_steps(plan.entries[tag]) / sum(shard.node_steps() for shard in fleet)


def commitment(salt: bytes, tag: str, node: NodeSamples) -> str:
    """Return the salted SHA-256 of a person's codes on a node, or of the public ones for an empty tag.

    Without the salt, which stays with the codes, it says nothing about them.
    """
    codes = node.people[tag] if tag else node.public
    sha = hashlib.sha256(b"reram-fleet/cohort-codes/v1\0" + struct.pack("<I", len(salt)) + salt)
    for text in (node.node_id, tag):
        sha.update(struct.pack("<I", len(text.encode())) + text.encode())
    for values in (codes.inputs, codes.drives, *(() if tag else (node.centre,))):
        sha.update(struct.pack(f"<{1 + values.ndim}I", values.ndim, *values.shape))
        sha.update(np.ascontiguousarray(values.numpy(), "<i4").tobytes())
    return sha.hexdigest()


def canonical_json(value: Any) -> bytes:
    """Return JSON with sorted keys and no spaces: one document, one sequence of bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def _name(shard: int, round_number: int) -> str:
    return f"shard-{shard:04d}-round-{round_number:04d}"
