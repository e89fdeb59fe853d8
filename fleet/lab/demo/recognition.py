"""Demo of nodes that recognise people: how they are measured, what has to hold, and how it is reported."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass

from reram_fleet.v1.engine_pb2 import Answer
from reram_fleet.v1.types_pb2 import Receipt
from rich.table import Table

from fleet.documents import Document, quarantine_name
from fleet.domain.learning import LoraKind
from fleet.errors import InvalidInputError
from fleet.lab.demo import learning
from fleet.lab.demo.claims import Claim, per_node
from fleet.lab.demo.evidence import ChipRates, Evidence, ProbeAnswer
from fleet.lab.demo.people import DemoPeople
from fleet.lab.demo.report import change, titled_table
from fleet.lab.demo.task import DemoTask, Moment, Subjects
from fleet.local.engine_client import EngineClient

#: Least closed-set accuracy on the kept people, before and after.
LEAST_RETAIN_ACCURACY = 0.95
#: How much more often than a stranger the forgotten person may be accepted.
ACCEPTANCE_MARGIN = 0.05
#: ... unless so few samples cannot tell: one of a person's five photos is 20 points. One-sided exact test.
ACCEPTANCE_CHANCE = 0.01
#: What a LoRA may cost on chips that are large enough without it.
CHIP_MARGIN = 0.01
#: Samples per person in each question to the restarted node: few, to ask often.
_PROBE_SAMPLES = 2


@dataclass(frozen=True)
class Quality:
    """Quality of one node's answers to test samples; rates are shares of samples, 0..1."""

    #: Closed-set top-1 on the kept people, and on the person to forget; also by the subject adapters alone, and by
    #: subject adapters and LoRA, without the closed-form head.
    retain_accuracy: float
    retain_accuracy_subject_only: float
    forget_accuracy: float
    forget_accuracy_subject_only: float
    retain_accuracy_without_head: float
    forget_accuracy_without_head: float
    #: Samples at or above the calibrated threshold: of kept people, of the person to forget, of the never enrolled.
    genuine_accept_rate: float
    forget_accept_rate: float
    stranger_accept_rate: float
    #: As for the kept people; 0 until the newcomer is enrolled.
    newcomer_accuracy: float
    #: How many samples of the person to forget, and of strangers, were tried.
    forget_samples: int
    stranger_samples: int
    #: The node answered without adapters, so that none of the figures means anything.
    backbone_only: bool


def _retain(evidence: Evidence[Quality]) -> Claim:
    return Claim(
        f"kept people are recognised before and after (at least {LEAST_RETAIN_ACCURACY:.2f} on every node)",
        all(
            quality.retain_accuracy >= LEAST_RETAIN_ACCURACY and not quality.backbone_only
            for quality in [*evidence.before.values(), *evidence.after.values()]
        ),
        per_node(
            {
                node: (evidence.before[node].retain_accuracy, evidence.after[node].retain_accuracy)
                for node in evidence.after
            },
            lambda pair: f"{pair[0]:.3f} -> {pair[1]:.3f}",
        ),
    )


def _silent(evidence: Evidence[Quality]) -> Claim:
    return Claim(
        "once suppressed, no node names the forgotten person, though erasure is still going on",
        evidence.outage.leaked_meanwhile == 0,
        f"{evidence.outage.leaked_meanwhile} samples named",
    )


def _forgotten(evidence: Evidence[Quality]) -> Claim:
    return Claim(
        "no node recognises the forgotten person any more",
        all(
            q.forget_accuracy == q.forget_accuracy_subject_only == q.forget_accuracy_without_head == 0
            for q in evidence.after.values()
        )
        and all(q.forget_accuracy > 0 for q in evidence.before.values()),
        per_node(
            {n: (evidence.before[n].forget_accuracy, evidence.after[n].forget_accuracy) for n in evidence.after},
            lambda pair: f"{pair[0]:.3f} -> {pair[1]:.3f}",
        ),
    )


def _stranger(evidence: Evidence[Quality]) -> Claim:
    return Claim(
        "the forgotten person is accepted no more often than strangers, or than they were before they were "
        f"enrolled (+ {ACCEPTANCE_MARGIN:.2f}, or within chance at {ACCEPTANCE_CHANCE:.0%})",
        all(_like_a_stranger(q, evidence.never[n].forget_accept_rate) for n, q in evidence.after.items()),
        per_node(
            {
                n: (q.forget_accept_rate, q.stranger_accept_rate, evidence.never[n].forget_accept_rate)
                for n, q in evidence.after.items()
            },
            lambda rates: f"{rates[0]:.3f} against {rates[1]:.3f}, and {rates[2]:.3f} before",
        ),
    )


def _like_a_stranger(quality: Quality, never_enrolled: float) -> bool:
    # Some people resemble somebody who stays: they were taken for them before, and will be again.
    usual = max(quality.stranger_accept_rate, never_enrolled)
    if quality.forget_accept_rate <= usual + ACCEPTANCE_MARGIN:
        return True

    def counts(rate: float, samples: int) -> list[int]:
        return [round(rate * samples), samples - round(rate * samples)]

    # Imported here: seldom asked for, and half a second.
    from scipy.stats import fisher_exact

    # Of all samples that were accepted, as many or more are the forgotten person's, if nothing tells theirs from
    # strangers'. The strangers' rate is of a sample, too: it may be 0 by chance.
    table = [
        counts(quality.forget_accept_rate, quality.forget_samples),
        counts(quality.stranger_accept_rate, quality.stranger_samples),
    ]
    chance = float(fisher_exact(table, alternative="greater").pvalue)
    return chance >= ACCEPTANCE_CHANCE


def _welcomed(evidence: Evidence[Quality]) -> Claim:
    after, last = evidence.after, evidence.welcomed
    return Claim(
        f"a newcomer is learnt (at least {LEAST_RETAIN_ACCURACY:.2f} on every node), nobody is lost, "
        "and the forgotten person does not come back",
        bool(last)
        and all(
            q.newcomer_accuracy >= LEAST_RETAIN_ACCURACY
            and q.retain_accuracy >= min(LEAST_RETAIN_ACCURACY, after[node].retain_accuracy)
            and q.forget_accuracy == 0
            and not q.backbone_only
            for node, q in last.items()
        ),
        per_node(
            {node: (q.newcomer_accuracy, after[node].retain_accuracy, q.retain_accuracy) for node, q in last.items()},
            lambda seen: f"{seen[0]:.3f}, the others {seen[1]:.3f} -> {seen[2]:.3f}",
        ),
    )


def _small_chips(evidence: Evidence[Quality]) -> Claim:
    rates = evidence.chips
    return Claim(
        f"on small chips a LoRA names more than the neurons alone, on large ones it loses at most {CHIP_MARGIN:.2f}",
        bool(rates)
        and all(
            rate.lora >= rate.closed_form - CHIP_MARGIN if rate.neurons is None else rate.lora > rate.neurons
            for rate in rates
        ),
        "; ".join(
            f"{rate.task}, cells {rate.cells}: "
            f"{rate.closed_form if rate.neurons is None else rate.neurons:.3f} -> {rate.lora:.3f}"
            for rate in rates
        )
        or "not measured",
    )


class Recognition(DemoTask[Quality]):
    """Nodes that recognise people, and train a LoRA together."""

    nouns = "people"
    learns = True

    def __init__(self, people: DemoPeople, lora: LoraKind = LoraKind.COHORT, name: str = "speakers") -> None:
        if not people.strangers:
            raise InvalidInputError(
                "the split of this task has no strangers, whom the demo compares the forgotten with: "
                "take another, such as speakers or faces"
            )
        self.people = people.enrolled
        self._strangers, self._name = people.strangers, name
        self.newcomer = people.strangers[0]
        self.claims = (*learning.claims(lora), _silent, _retain, _forgotten, _stranger, _welcomed, _small_chips)

    def measure(self, engine: EngineClient, index: int, subjects: Subjects, moment: Moment) -> Quality:
        """Return how a node treats everybody's test samples."""
        kept: list[tuple[str | None, Answer]] = []
        gone: list[tuple[str | None, Answer]] = []
        new: list[tuple[str | None, Answer]] = []
        strangers: list[tuple[str | None, Answer]] = []
        backbone_only = False
        for person in (*self.people, *self._strangers):
            response = engine.identify(person.test)
            backbone_only |= response.backbone_only
            tag = subjects.tag if person is self.forgotten else subjects.kept.get(person.name)
            if person is self.forgotten:
                answers = gone
            elif person in self.people:
                answers = kept
            else:
                answers = strangers if tag is None else new
            answers += [(tag, answer) for answer in response.answers]
        return Quality(
            retain_accuracy=_share([a.best_tag == tag for tag, a in kept]),
            retain_accuracy_subject_only=_share([a.best_tag_subject_only == tag for tag, a in kept]),
            forget_accuracy=_share([a.best_tag == tag for tag, a in gone]),
            forget_accuracy_subject_only=_share([a.best_tag_subject_only == tag for tag, a in gone]),
            retain_accuracy_without_head=_share([a.best_tag_without_head == tag for tag, a in kept]),
            forget_accuracy_without_head=_share([a.best_tag_without_head == tag for tag, a in gone]),
            genuine_accept_rate=_share([a.accepted for _, a in kept]),
            forget_accept_rate=_share([a.accepted for _, a in gone]),
            stranger_accept_rate=_share([a.accepted for _, a in strangers]),
            newcomer_accuracy=_share([a.best_tag == tag for tag, a in new]),
            forget_samples=len(gone),
            stranger_samples=len(strangers),
            backbone_only=backbone_only,
        )

    def leaks(self, engine: EngineClient, tag: str) -> int:
        """Return for how many of their test samples a node still names the forgotten person."""
        return _named(engine.identify(self.forgotten.test).answers, [tag])

    def probe(self, engine: EngineClient, subjects: Subjects, at_s: float) -> ProbeAnswer:
        """Ask whose samples these are, a few of each person's."""
        response = engine.identify([sample for person in self.people for sample in person.test[:_PROBE_SAMPLES]])
        return ProbeAnswer(
            at_s=at_s,
            backbone_only=response.backbone_only,
            reason=quarantine_name(response.quarantine_reason),
            generation=response.generation,
            named=sum(bool(a.best_tag or a.best_tag_subject_only or a.best_tag_without_head) for a in response.answers),
            named_forgotten=_named(response.answers, [str(subjects.tag)]),
        )

    def on_other_chips(self, say: Callable[[str], None]) -> tuple[ChipRates, ...]:
        """Return how the same people fare on worn chips, and on the smallest ones that the task has a twin on."""
        # Imported here: it brings torch, which a process that only asks does not need.
        from fleet.lab.demo.chips import chip_rates

        return chip_rates(self._name, say)

    def fields(self, evidence: Evidence[Quality]) -> Document:
        """Return how the same people fare on other chips."""
        return {"chips": [asdict(rate) for rate in evidence.chips]}

    def node_fields(self, evidence: Evidence[Quality], node_id: str, receipt: Receipt | None) -> Document:
        """Return accuracies and acceptance, before and after, and with the newcomer."""
        before, after, welcomed = (found[node_id] for found in (evidence.before, evidence.after, evidence.welcomed))
        return {
            "retain_accuracy_before": before.retain_accuracy,
            "retain_accuracy_after": after.retain_accuracy,
            "forget_accuracy_before": before.forget_accuracy,
            "forget_accuracy_after": after.forget_accuracy,
            "forget_accept_rate_before": before.forget_accept_rate,
            "forget_accept_rate_after": after.forget_accept_rate,
            "newcomer_accuracy": welcomed.newcomer_accuracy,
            "retain_accuracy_with_newcomer": welcomed.retain_accuracy,
            "stranger_accept_rate": after.stranger_accept_rate,
            "forget_accept_rate_never_enrolled": evidence.never[node_id].forget_accept_rate,
            "genuine_accept_rate": after.genuine_accept_rate,
            # The ablation: what the subject adapters do alone.
            "subject_adapters_only": {
                "retain_accuracy_before": before.retain_accuracy_subject_only,
                "retain_accuracy_after": after.retain_accuracy_subject_only,
                "forget_accuracy_after": after.forget_accuracy_subject_only,
            },
            # And what they do with the LoRA; the figures above are with the head as well.
            "without_head": {
                "retain_accuracy_before": before.retain_accuracy_without_head,
                "retain_accuracy_after": after.retain_accuracy_without_head,
                "forget_accuracy_after": after.forget_accuracy_without_head,
            },
            "head_digest": receipt.head_digest.hex() if receipt is not None else None,
            "accept_threshold": evidence.status_after[node_id].accept_threshold,
        }

    def tables(self, document: Document) -> Iterable[Table]:
        """Return recognition, and what each kind of adapter adds to it."""
        person = document["forgotten_person"]
        recognition = titled_table(
            f"Recognition, before and after forgetting {person}",
            "node",
            "state",
            "gen",
            "kept people",
            f"{person}",
            f"{person} accepted",
            "not enrolled",
            "strangers",
        )
        parts = titled_table(
            "What each kind of adapter adds: kept people recognised, before and after",
            "node",
            "subject adapters alone",
            "with the LoRA",
            "with the closed-form head",
        )
        for node in document["nodes"]:
            serving = node["serve_state"] == "serving"
            recognition.add_row(
                node["node_id"],
                node["state"] if serving else f"{node['state']}, {node['serve_state']}",
                str(node["generation"]),
                change(node["retain_accuracy_before"], node["retain_accuracy_after"]),
                change(node["forget_accuracy_before"], node["forget_accuracy_after"]),
                change(node["forget_accept_rate_before"], node["forget_accept_rate_after"]),
                f"{node['forget_accept_rate_never_enrolled']:.3f}",
                f"{node['stranger_accept_rate']:.3f}",
            )
            kinds = (node["subject_adapters_only"], node["without_head"], node)
            pairs = [change(kind["retain_accuracy_before"], kind["retain_accuracy_after"]) for kind in kinds]
            parts.add_row(node["node_id"], *pairs)
        chips = titled_table(
            "The same people on worn chips (5 uS, 1 % stuck) and on small ones: named rightly, mean of three fleets",
            "task",
            "cells",
            "neurons alone",
            "closed form",
            "with the LoRA",
            "pulses a cell",
        )
        for rate in document["chips"]:
            chips.add_row(
                rate["task"],
                rate["cells"],
                "-" if rate["neurons"] is None else f"{rate['neurons']:.3f}",
                f"{rate['closed_form']:.3f}",
                f"{rate['lora']:.3f}",
                f"{rate['pulses_per_cell']:.1f}",
            )
        return recognition, parts, chips


def _named(answers: Iterable[Answer], tags: Collection[str]) -> int:
    """Return how many answers name one of these tags, accepted or not."""
    return sum(not {a.best_tag, a.best_tag_subject_only, a.best_tag_without_head}.isdisjoint(tags) for a in answers)


def _share(hits: Sequence[bool]) -> float:
    # No answers is no accuracy, and must not look like a perfect one.
    return sum(hits) / len(hits) if hits else 0.0
