"""Manifest of a forget by replay: everything but the codes that somebody needs to do it again.

It holds tags, logged participation, seeds, the recipe, salted hashes of captured codes (not the forgotten person's) and
digests of integers: nothing personal. What it was computed on does not matter. It is JSON in canonical form, so that
one manifest is one sequence of bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from reram_fleet.crypto.identifiers import NODE_ID

from edge_node.errors import RoundError
from fleet.errors import InvalidInputError
from fleet.lab.replay.codes import AuditCodes
from fleet.lab.replay.cohort import CohortPlan
from fleet.lab.replay.cohort_state import CohortState, LoraRecipe
from fleet.lab.replay.forgetting import ReplayResult, canonical_json, commitment, cost_share

#: What a re-execution will spend on an unknown manifest at most.
_MAX_RANK, _MAX_STEPS = 256, 10_000

NodeId = Annotated[str, Field(pattern=f"^{NODE_ID.pattern}$")]
Tag = Annotated[str, Field(min_length=1, max_length=128)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ReplayDigests(_Part):
    """Digests of the cohort's integers: with the person, before their entry, and after the forget."""

    before: Digest
    entry_checkpoint: Digest
    after: Digest


class ReplayWork(_Part):
    """Training steps summed over nodes: of the replay, and of training every shard from the start."""

    node_steps: int
    full_node_steps: int
    cost_share: float


class ReplayManifest(_Part):
    """Record of a forget: who, how, and what came out.

    `entries` and `commitments` have no trace of the forgotten person but their tag, which the forget log has for ever.
    Keys of `commitments` are ``node/tag``, and ``node/`` for the public codes of a node.
    """

    #: Version 1 was of training in float32, which another machine may not repeat; version 2 called checkpoints slices.
    kind: Literal["reram-fleet/cohort-replay/v3"] = "reram-fleet/cohort-replay/v3"
    fleet_seed: int
    shard: Annotated[int, Field(ge=0)]
    shards: Annotated[int, Field(ge=1)]
    recipe: LoraRecipe
    node_ids: tuple[NodeId, ...]
    participation: tuple[tuple[NodeId, ...], ...]
    entries: dict[Tag, int]
    forgotten_tag: Tag
    replay_from: int
    commitments: dict[str, Digest]
    digests: ReplayDigests
    work: ReplayWork

    @classmethod
    def of(
        cls, result: ReplayResult, tag: str, before: CohortState, codes: AuditCodes, fleet: Sequence[CohortPlan]
    ) -> ReplayManifest:
        """Describe a forget.

        Parameters
        ----------
        result, tag
            What `forget_by_replay` returned, and for whom.
        before
            The cohort with the person.
        codes
            What the auditor will get; without the person.
        fleet
            The plans of all shards before the forget, this one among them.
        """
        plan = result.plan
        with_person = next(shard for shard in fleet if shard.shard == plan.shard)
        return cls(
            fleet_seed=plan.fleet_seed,
            shard=plan.shard,
            shards=len(fleet),
            recipe=plan.recipe,
            node_ids=plan.node_ids,
            participation=plan.participation,
            entries=dict(plan.entries),
            forgotten_tag=tag,
            replay_from=result.first_round,
            commitments=committed(codes, plan.entries),
            digests=ReplayDigests(
                before=before.digest(), entry_checkpoint=result.checkpoint_digest, after=result.state.digest()
            ),
            work=ReplayWork(
                node_steps=result.work.node_steps,
                full_node_steps=sum(shard.node_steps() for shard in fleet),
                cost_share=cost_share(with_person, tag, fleet),
            ),
        )

    @classmethod
    def read(cls, path: Path) -> ReplayManifest:
        """Read and check a manifest.

        `InvalidInputError` if the file cannot be read, is none, is not in canonical form, or asks for more than a
        re-execution will spend.
        """
        try:
            content = path.read_bytes()
            manifest = cls.model_validate_json(content)
        except (OSError, ValidationError, RoundError) as error:
            raise InvalidInputError(f"{path} is no replay manifest: {error}") from error
        # Also refuses what validation passes over in silence: double and unknown keys.
        if manifest.to_bytes() != content.rstrip(b"\n"):
            raise InvalidInputError(
                f"{path} is not in canonical form (sorted keys, no spaces, each key once): it was edited"
            )
        if not 0 <= manifest.replay_from < manifest.recipe.rounds:
            raise InvalidInputError(f"{path} replays from round {manifest.replay_from} of {manifest.recipe.rounds}")
        if manifest.recipe.rank > _MAX_RANK or manifest.recipe.steps > _MAX_STEPS:
            raise InvalidInputError(
                f"{path} asks for rank {manifest.recipe.rank} and {manifest.recipe.steps} steps a round; at "
                f"most {_MAX_RANK} and {_MAX_STEPS} are re-executed"
            )
        return manifest

    def to_bytes(self) -> bytes:
        """Return it as canonical JSON."""
        return canonical_json(self.model_dump(mode="json"))

    def plan(self) -> CohortPlan:
        """Return the plan without the person.

        `InvalidInputError` if participation or entries do not fit the recipe's rounds.
        """
        try:
            return CohortPlan(self.fleet_seed, self.shard, self.recipe, self.node_ids, self.participation, self.entries)
        except RoundError as error:
            raise InvalidInputError(f"the manifest contradicts itself: {error}") from error


def committed(codes: AuditCodes, entries: Mapping[str, int]) -> dict[str, str]:
    """Return the salted hashes of what a replay reads: public codes, and the codes of these people."""
    found = {}
    for node in codes.nodes:
        for tag in ("", *sorted(set(entries) & set(node.people))):
            found[f"{node.node_id}/{tag}"] = commitment(codes.salts[node.node_id, tag], tag, node)
    return found
