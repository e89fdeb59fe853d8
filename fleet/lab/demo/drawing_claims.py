"""What the demo of a fleet that draws claims, beside what every fleet claims. Pure."""

from __future__ import annotations

from collections.abc import Callable

from fleet.documents import verdict_name
from fleet.lab.demo import claims as fleet_claims
from fleet.lab.demo.claims import Claim, chance_of_more, open_receipts, per_node
from fleet.lab.demo.evidence import Drawings, DrawnEvidence

#: Least share of images that show their class, over all nodes.
LEAST_PUBLIC, LEAST_PRIVATE, LEAST_PRIVATE_CLASS = 0.98, 0.95, 0.90
#: So few images miss a rate, and two samples of one model differ so much, once in a hundred times.
CHANCE = 0.01
_FORGOTTEN = "forgotten-tag"


def _public(evidence: DrawnEvidence) -> Claim:
    shares = [_mean([d.public for d in drawn]) for drawn in _stages(evidence)]
    return Claim(
        f"public classes are drawn before, meanwhile and after (at least {LEAST_PUBLIC:.2f} over all nodes)",
        all(share >= LEAST_PUBLIC for share in shares),
        " -> ".join(f"{share:.3f}" for share in shares),
    )


def _private(evidence: DrawnEvidence) -> Claim:
    classes = sorted(evidence.enrolled_on)
    before, after = list(evidence.before.values()), list(evidence.after.values())
    images = sum(d.alone_images for d in before)
    enrolled = {name: _mean([_share(d, name, evidence) for d in before]) for name in classes}
    kept = {name: _mean([d.private[name] for d in after]) for name in after[0].private}
    # Learning draws on the tag, which is random: no two demos draw the same images of a private class.
    return Claim(
        "private classes are drawn by their own adapters, on nodes that never saw an image of them too "
        f"(mean at least {LEAST_PRIVATE:.2f}, each at least {LEAST_PRIVATE_CLASS:.2f}, or within chance at "
        f"{CHANCE:.0%})",
        _reaches(_mean(list(enrolled.values())), images * len(classes), LEAST_PRIVATE)
        and all(_reaches(share, images, LEAST_PRIVATE_CLASS) for share in [*enrolled.values(), *kept.values()]),
        ", ".join(
            f"{name} {share:.3f}" + (f" -> {kept[name]:.3f}" if name in kept else "")
            for name, share in enrolled.items()
        )
        + f"; mean {_mean(list(enrolled.values())):.3f}",
    )


def _reaches(share: float, images: int, least: float) -> bool:
    """Return whether a share of images is at least this, or so little below that chance explains it."""
    missed = round((1 - share) * images)
    return share >= least or chance_of_more(missed, images, 1 - least) >= CHANCE


def _silent(evidence: DrawnEvidence) -> Claim:
    return Claim(
        "once suppressed, no connected node draws the forgotten class, though erasure is still going on",
        evidence.outage.leaked_meanwhile == 0,
        f"{evidence.outage.leaked_meanwhile} images drawn",
    )


def _refused(evidence: DrawnEvidence) -> Claim:
    return Claim(
        "every node drew the class by its tag before, and refuses that tag now as forgotten",
        all(d.forgotten is not None for d in evidence.before.values())
        and all(d.forgotten is None and d.refusal == _FORGOTTEN for d in evidence.after.values()),
        per_node(
            {node: (evidence.before[node].forgotten, d.refusal) for node, d in evidence.after.items()},
            lambda pair: f"{pair[0] if pair[0] is not None else 0:.3f} -> {pair[1] or 'drawn'}",
        ),
    )


def _bytes(evidence: DrawnEvidence) -> Claim:
    equal = {node: d.digest == evidence.after[node].digest for node, d in evidence.never.items()}
    return Claim(
        "what every node draws is, byte for byte, what it drew before the class was ever enrolled",
        bool(equal) and set(equal) == set(evidence.identities) and all(equal.values()),
        per_node(evidence.after, lambda d: f"SHA-256 {d.digest[:12]}"),
    )


def _unknown(evidence: DrawnEvidence) -> Claim:
    hits, images = evidence.fresh_alone
    low, high = evidence.never_interval
    return Claim(
        "asked for the class by its name, from fresh noise, nodes show it as often as before it was known "
        f"(within chance at {CHANCE:.0%})",
        images > 0 and evidence.fresh_p >= CHANCE,
        f"{hits} of {images} images, p = {evidence.fresh_p:.2f}; never enrolled {low:.3f} to {high:.3f}",
    )


def _active(evidence: DrawnEvidence) -> Claim:
    """Compare what receipts list as active: integers of every adapter, on every node the same."""
    listed = {
        node: frozenset((entry.subject_tag, entry.digest) for entry in receipt.active_adapters)
        for node, receipt in open_receipts(evidence).items()
    }
    tags = {tag for adapters in listed.values() for tag, _ in adapters}
    return Claim(
        "every node's active adapters are the same to the bit, and none is of the forgotten class",
        set(listed) == set(evidence.identities)
        and len(set(listed.values())) == 1
        and bool(tags)
        and not tags & evidence.forgotten_tags,
        per_node(listed, lambda adapters: f"{len(adapters)} adapters (planted canaries among them)"),
    )


def _exact(evidence: DrawnEvidence) -> Claim:
    found = {v.adapter_kind: verdict_name(v.verdict) for v in evidence.forget.verdicts}
    return Claim(
        "the verdict is exact, and there is no other",
        found == {"subject-adapter": "EXACT"},
        ", ".join(f"{kind} {verdict}" for kind, verdict in sorted(found.items())) or "no verdicts",
    )


def _no_job(evidence: DrawnEvidence) -> Claim:
    return Claim(
        "a learning job, for which these nodes have no feature codes, is refused before there is one",
        bool(evidence.job_refusal),
        evidence.job_refusal or "a job was made",
    )


def _stages(evidence: DrawnEvidence) -> list[list[Drawings]]:
    return [list(stage.values()) for stage in (evidence.never, evidence.before, evidence.after)]


def _share(drawn: Drawings, name: str, evidence: DrawnEvidence) -> float:
    if name == evidence.forgotten_person:
        return drawn.forgotten or 0.0
    return drawn.private[name]


def _mean(shares: list[float]) -> float:
    return sum(shares) / len(shares) if shares else 0.0


DRAWING_CLAIMS: tuple[Callable[[DrawnEvidence], Claim], ...] = (
    fleet_claims.programmed,
    _no_job,
    fleet_claims.suppressed,
    _silent,
    fleet_claims.backbone_only,
    fleet_claims.converged,
    fleet_claims.revision,
    fleet_claims.receipts,
    fleet_claims.erased,
    _public,
    _private,
    _refused,
    _bytes,
    _unknown,
    _active,
    fleet_claims.no_writes,
    fleet_claims.overhead,
    _exact,
    fleet_claims.certificate,
    fleet_claims.metrics,
)
