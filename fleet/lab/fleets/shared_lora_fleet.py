"""A fleet whose people share one LoRA: trained with everybody or without somebody, repaired, measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from fleet.lab.fleets.captured_fleet import CapturedFleet
from fleet.lab.fleets.shared_lora import (
    HIDDEN,
    OWN_SHARE,
    RANK,
    LabelledViews,
    SharedNetwork,
    Views,
    averaged,
    closed_form,
    joined,
    padded,
    stepped,
    train,
)
from fleet.lab.paper.methods import Adam, Adapter, Method
from fleet.lab.verification.evidence import ModelScores, RepairPair
from fleet.lab.verification.intervals import Rate
from fleet.lab.verification.metrics import (
    ModelOutputs,
    confidence_svc,
    entropy,
    js_divergence,
    loss_attack_auc,
    named,
    one_photo_probe,
    relearn_steps,
)
from hwmodel import Cost, Phase, Preset, cost

#: Logit from which a sample is accepted: the binary loss draws the line there.
ACCEPT_LOGIT = 0.0
#: Rounds of a repair job.
REPAIR_ROUNDS = 1
#: Further rounds without the person, after which they must still be forgotten.
RESURFACING_ROUNDS = 20
#: Relearning ends when the person is known as well as before, less this; or after so many steps.
RELEARN_TOLERANCE, RELEARN_CAP = 0.05, 60


@dataclass(frozen=True, eq=False)
class Reference:
    """The fleet that never had a person, beside the one that has: scores of both, and the first one's adapter."""

    original: ModelScores
    retrained: ModelScores
    adapter: Adapter


@dataclass(frozen=True, eq=False)
class ForgetObjective:
    """One person's forget on N nodes: `fleet.lab.paper.methods.RepairObjective` for the shared network."""

    network: SharedNetwork
    retained: LabelledViews
    forgotten: Views
    present: Tensor
    public: Views
    forgotten_class: int

    @property
    def classes(self) -> int:
        """People that the LoRA has rows for."""
        return self.retained.knows.shape[1]

    def retained_loss(self, adapter: Adapter) -> Tensor:
        """Return the training loss without the person, float32 [N]."""
        return self.retained.loss(self.network, adapter)

    def forgotten_loss(self, adapter: Adapter) -> Tensor:
        """Return the loss of the person's own row, float32 [N, S]: for other rows they need not answer."""
        return functional.softplus(-self.network.logits(adapter, self.forgotten)[..., self.forgotten_class])

    def public_loss(self, adapter: Adapter) -> Tensor:
        """Return the same of the public people's samples, float32 [N]."""
        logits = self.network.logits(adapter, self.public)[..., self.forgotten_class]
        return functional.softplus(-logits).mean(dim=1)

    def relabelled_loss(self, adapter: Adapter, labels: Tensor) -> Tensor:
        """Return the loss of the person's samples as somebody else's, over all rows."""
        logits = self.network.logits(adapter, self.forgotten)
        target = functional.one_hot(labels, self.classes).to(logits.dtype)
        return functional.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(dim=2)


class SharedLoraFleet:
    """Everybody's views on one fleet's chips, and the LoRA that was trained with all of them."""

    def __init__(self, people: CapturedFleet, preset: Preset, seed: int, hidden: int = HIDDEN) -> None:
        self.names, self.seed = people.enrolled, seed
        self._places = people.places
        public = torch.from_numpy(people.public.codes)
        self.network = SharedNetwork.program(public, preset, seed, people.engine.node_ids, hidden)
        self._public = self.network.views(public)
        self._train = {name: self.network.views(people.train[name]) for name in self.names}
        self._test = {name: self.network.views(people.test[name]) for name in self.names}
        self._nodes = len(people.engine.node_ids)

    def samples(self, without: str | None = None) -> LabelledViews:
        """Return the training samples of every node, of everybody but one."""
        kept = [(k, name) for k, name in enumerate(self.names) if name != without]
        mine = [
            {k: self._taken(name, node) for k, name in kept if node in self._places[name]}
            for node in range(self._nodes)
        ]
        public = [self._public.of_nodes(node, slice(None)) for node in range(self._nodes)]
        return LabelledViews.of(mine, public, len(self.names), OWN_SHARE)

    @cached_property
    def start(self) -> Adapter:
        """The closed form of everybody."""
        return closed_form(self.network, self.samples(), self._public)

    @cached_property
    def original(self) -> Adapter:
        """Trained with everybody."""
        return train(self.network, self.samples(), self.start)

    def closed_form_without(self, name: str) -> Adapter:
        """Return the closed form of everybody but one person."""
        return closed_form(self.network, self.samples(name), self._public)

    def retrained(self, name: str) -> Adapter:
        """Return what the same recipe gives without the person: the reference."""
        return train(self.network, self.samples(name), self.closed_form_without(name))

    def row_destroyed(self, name: str, adapter: Adapter) -> Adapter:
        """Return an adapter with the person's row as if it had never been trained: what suppression does."""
        rows = adapter[1].clone()
        rows[:, self.names.index(name)] = 0.0
        return adapter[0], rows

    def cleared(self, name: str) -> Adapter:
        """Return the original without what can be taken away exactly.

        That is the closed form's share of the person in everybody's rows, and their own row. What gradients did to B
        and to the others' rows stays.
        """
        swapped = self.original[1] - self.start[1] + self.closed_form_without(name)[1]
        return self.row_destroyed(name, (self.original[0], swapped))

    def objective(self, name: str) -> ForgetObjective:
        """Return what a method is given: the person's samples are where they were taken."""
        nothing = self._public.of_nodes(0, slice(0, 0))
        forgotten, present = padded(
            [self._taken(name, node) if node in self._places[name] else nothing for node in range(self._nodes)]
        )
        return ForgetObjective(
            self.network, self.samples(name), forgotten, present, self._public, self.names.index(name)
        )

    def repaired(self, name: str, method: Method, rounds: int, start: Adapter) -> Adapter:
        """Run a repair job: rounds of a method on the nodes that met the person, averaged after each.

        A node that never met the person has nothing to repair: averaging it in would only undo the others.
        """
        objective, now = self.objective(name), start
        met = objective.present.any(dim=1)
        knows = objective.retained.knows & met[:, None]
        knows[:, objective.forgotten_class] = met
        for number in range(rounds):
            spread = tuple(part.expand(self._nodes, *part.shape[1:]) for part in now)
            now = averaged(method.repair(objective, spread, self.seed + number), now, met, knows)
        return now

    def after_more_rounds(self, name: str, adapter: Adapter, rounds: int = RESURFACING_ROUNDS) -> Adapter:
        """Return an adapter after further training without the person."""
        return train(self.network, self.samples(name), adapter, rounds)

    def outputs(self, name: str, adapter: Adapter) -> ModelOutputs:
        """Return what a model says to everybody's samples, on every node."""
        others = [other for other in self.names if other != name]

        def logits(views: Sequence[Views]) -> Tensor:
            return self.network.logits(adapter, joined(views))

        return ModelOutputs(
            forget_train=logits([self._train[name]]),
            forget_test=logits([self._test[name]]),
            retain_train=logits([self._train[other] for other in others]),
            retain_test=logits([self._test[other] for other in others]),
            retain_train_labels=self._labels(others, self._train),
            retain_test_labels=self._labels(others, self._test),
            forgotten_class=self.names.index(name),
            accept_logit=ACCEPT_LOGIT,
        )

    def scores(self, name: str, adapter: Adapter, *, resurfacing: bool = False) -> ModelScores:
        """Measure a model; `resurfacing` costs further training."""
        outputs = self.outputs(name, adapter)
        label = outputs.forgotten_class
        bare = (torch.zeros_like(adapter[0]), adapter[1])
        resurfaced = None
        if resurfacing:
            later = self.network.logits(self.after_more_rounds(name, adapter), self._train[name])
            resurfaced = named(later, label, ACCEPT_LOGIT)
        return ModelScores(
            recognised_train=outputs.recognised_train,
            recognised_test=outputs.recognised_test,
            accepted=outputs.accepted,
            retained_train=outputs.retained_train,
            retained_test=outputs.retained_test,
            attack_auc=loss_attack_auc(outputs),
            called_non_member=confidence_svc(outputs),
            forget_loss=outputs.forget_loss,
            forget_entropy=entropy(outputs.forget_train),
            probe=self._probe(name, adapter),
            relearn_steps=self._relearn(name, adapter),
            stripped=named(self.network.logits(bare, self._train[name]), label, ACCEPT_LOGIT),
            resurfaced=resurfaced,
        )

    def reference(self, name: str) -> Reference:
        """Return what a repair of one person is held against."""
        retrained = self.retrained(name)
        return Reference(self.scores(name, self.original), self.scores(name, retrained, resurfacing=True), retrained)

    def pair(self, name: str, repaired: Adapter, reference: Reference, *, resurfacing: bool) -> RepairPair:
        """Measure a repaired adapter beside the reference; people are told apart by number."""
        return RepairPair(
            f"person {self.names.index(name)}",
            self.seed,
            reference.original,
            self.scores(name, repaired, resurfacing=resurfacing),
            reference.retrained,
            *self.distances(name, repaired, reference.adapter),
        )

    def distances(self, name: str, one: Adapter, other: Adapter) -> tuple[float, float]:
        """Return the JS divergence of two models on the person's samples, and on the others' held-out ones."""
        a, b = self.outputs(name, one), self.outputs(name, other)
        return js_divergence(a.forget_train, b.forget_train), js_divergence(a.retain_test, b.retain_test)

    def repair_cost(self, name: str, method: Method, rounds: int, preset: Preset) -> dict[Phase, Cost]:
        """Return what a repair job costs all nodes together: its steps, and the adapter sent out and back."""
        objective = self.objective(name)
        counts = (objective.retained.target.shape[1] + objective.present.sum(dim=1)).tolist()
        met = objective.present.any(dim=1).tolist()
        hidden, people = self.network.centre.shape[2], len(self.names)
        spent = Cost()
        for count in (int(count) for count, there in zip(counts, met, strict=True) if there):
            # The rows of people are a factor of rank H, and the gradient passes through them to B.
            for outputs, rank in ((hidden, RANK), (people, hidden)):
                spent += cost.lora_training_step(
                    preset,
                    inputs=0,
                    outputs=outputs,
                    rank=rank,
                    samples=count,
                    train_a=False,
                    accesses_per_parameter=cost.ADAM_ACCESSES,
                )
            spent += cost.digital_macs(preset, count * hidden * people, cost.Precision.FP32)
        sent = 4 * hidden * (RANK + people) * rounds * (sum(met) + self._nodes)
        return {Phase.TRAIN: spent * (method.steps * rounds), Phase.RADIO: cost.radio(preset, sent)}

    def _taken(self, name: str, node: int) -> Views:
        where = self._places[name]
        return self._train[name].of_nodes(node, slice(where.index(node), None, len(where)))

    def _labels(self, names: Sequence[str], samples: Mapping[str, Views]) -> Tensor:
        return torch.cat([torch.full(samples[name].hidden.shape[1:2], self.names.index(name)) for name in names])

    def _probe(self, name: str, adapter: Adapter) -> Rate:
        others = [other for other in self.names if other != name]

        def features(views: Views) -> Tensor:
            return self.network.features(adapter, views)

        return one_photo_probe(
            features(self._train[name])[:, :1],
            features(joined([self._train[other] for other in others])),
            self._labels(others, self._train),
            features(self._test[name]),
        )

    def _relearn(self, name: str, adapter: Adapter) -> int:
        """Train on everybody again where the person was; count the steps until they are known."""
        met = list(self._places[name])
        samples, label = self.samples(), self.names.index(name)
        mine = LabelledViews(
            Views(samples.views.projected[met], samples.views.hidden[met]),
            samples.target[met],
            samples.weight[met],
            samples.knows[met],
        )
        own = mine.target[..., label] > 0
        network = self.network.of_nodes(met)
        now = [part.expand(len(met), *part.shape[1:]).clone() for part in adapter]
        optimisers = [Adam(part) for part in now]

        def accuracy_after(step: int) -> float:
            now[:] = stepped(network, mine, tuple(now), optimisers)
            with torch.no_grad():
                best = network.logits(tuple(now), mine.views).max(dim=2)
            return float(((best.indices == label) & (best.values >= ACCEPT_LOGIT))[own].float().mean())

        known = self.outputs(name, self.original).recognised_train.value
        return relearn_steps(accuracy_after, known - RELEARN_TOLERANCE, RELEARN_CAP)
