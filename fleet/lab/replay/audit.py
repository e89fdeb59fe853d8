"""Audit of a forget by replay: an auditor's check of a manifest against the captured codes.

What is shown: the cohort after the forget is, integer for integer, what training from the very start gives when the
person never entered. What is not: that the fleet runs this cohort (its digest is in the nodes' receipts), and that no
copy of the codes is left elsewhere (nodes sign that).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from edge_node.errors import EngineError
from fleet.errors import FleetError, InvalidInputError
from fleet.heads.errors import HeadError
from fleet.lab.replay.codes import AuditCodes
from fleet.lab.replay.cohort import train_cohort
from fleet.lab.replay.cohort_start import RidgeStarts
from fleet.lab.replay.manifest import ReplayManifest, committed
from fleet.trust.checks import CheckLine, compare


class ReplayVerdict(StrEnum):
    """Result of an audit."""

    #: Every line holds; the digests of integers are equal.
    REPRODUCED = "REPRODUCED"
    #: Something else came out, or the codes are not those committed to.
    NOT_REPRODUCED = "NOT REPRODUCED"


@dataclass(frozen=True)
class ReplayAudit:
    """Outcome of an audit."""

    #: In a word.
    verdict: ReplayVerdict
    #: What was compared; the digests last.
    lines: tuple[CheckLine, ...]


def audit_replay(manifest_file: Path, codes_folder: Path) -> ReplayAudit:
    """Re-execute a forget and compare digests of integers.

    `InvalidInputError` if one of them cannot be used: nothing can be said.
    """
    manifest = ReplayManifest.read(manifest_file)
    codes = AuditCodes.read(codes_folder, manifest.node_ids)
    lines = list(_claims(manifest, codes))
    # Codes that are not those committed to would only give a second, less clear failure.
    if all(line.holds for line in lines):
        lines += _re_executed(manifest, codes)
    holds = all(line.holds for line in lines)
    return ReplayAudit(ReplayVerdict.REPRODUCED if holds else ReplayVerdict.NOT_REPRODUCED, tuple(lines))


def _claims(manifest: ReplayManifest, codes: AuditCodes) -> Iterator[CheckLine]:
    """Compare what the manifest says with itself and with the codes."""
    tag, plan = manifest.forgotten_tag, manifest.plan()
    yield compare("forgotten person among the people trained with", False, tag in manifest.entries)
    holders = [node.node_id for node in codes.nodes if tag in node.people]
    yield compare("nodes that still have codes of the forgotten person", "none", ", ".join(holders) or "none")
    found = committed(codes, manifest.entries)
    wrong = sorted(k for k in found | manifest.commitments if found.get(k) != manifest.commitments.get(k))
    yield compare("codes that are not those committed to", "none", ", ".join(wrong) or "none")
    replayed = plan.node_steps(manifest.replay_from)
    yield compare("training steps of the replay", replayed, manifest.work.node_steps)
    share = manifest.work.node_steps / max(1, manifest.work.full_node_steps)
    yield compare("share of a full retrain", f"{share:.6f}", f"{manifest.work.cost_share:.6f}")
    changed = manifest.digests.before != manifest.digests.after
    yield compare("the forget changed the cohort", True, changed)


def _re_executed(manifest: ReplayManifest, codes: AuditCodes) -> Iterator[CheckLine]:
    """Train from the start without the person; compare the checkpoint on the way and the end."""
    plan, recipe = manifest.plan(), manifest.recipe
    starts = RidgeStarts(codes.nodes, recipe.gain)
    entry = manifest.replay_from
    try:
        before = train_cohort(plan, codes.nodes, starts, end_round=entry)
        after = train_cohort(plan, codes.nodes, starts, first_round=entry, state=before)
    except (EngineError, HeadError, FleetError) as error:
        raise InvalidInputError(f"the manifest cannot be re-executed: {error}") from error
    yield compare("digest before the person's entry", manifest.digests.entry_checkpoint, before.digest())
    yield compare("digest after the forget", manifest.digests.after, after.digest())
