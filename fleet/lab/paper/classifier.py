"""The protocol for faces and speakers: learn five people, forget one, strip the adapter, learn a sixth.

1. The backbone is trained on five people in float and programmed; its output for the sixth stays unused.
2. A LoRA makes the chips forget one of the five (the paper's method of the task).
3. Strip test: the LoRA is taken off. The paper does not do this.
4. A second LoRA, stacked on the first, learns the sixth person from their and the retained people's inputs. Nothing of
   the forgotten person is shown again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_node.errors import EngineError
from fleet.lab.paper.arms import CLASSES, KNOWN, NEWCOMER, PRESET, Arm, DividedPeople, Hardware, Progress
from fleet.lab.paper.methods import Adapter, Descent, Method
from fleet.lab.paper.stacked_lora import LoraShape, StackedNetwork
from hwmodel import keyed_generator, keyed_seed, program

#: Inputs, about, by which the ranges of DACs and ADCs are set.
_RANGE_INPUTS = 64


@dataclass(frozen=True)
class ClassifierRecipe:
    """Everything about a task that is not data.

    Attributes
    ----------
    task
        Its name.
    make
        The network for a number of outputs.
    epochs, batch, learning_rate
        Of the backbone's training by Adam; full batch if `batch` is None.
    method
        How the paper forgets.
    forgetting, learning
        The first and the second LoRA.
    continual
        How the second one is trained.
    temperature
        What scores are divided by in the loss that forgets. At 1 a person who is recognised for certain has next to no
        gradient to ascend.
    """

    task: str
    make: Callable[[int], nn.Module]
    epochs: int
    batch: int | None
    learning_rate: float
    method: Method
    forgetting: LoraShape
    learning: LoraShape
    continual: Descent
    temperature: float = 1.0


@dataclass(frozen=True)
class ClassifierArm:
    """Outcome of one arm of one seed on one kind of hardware; shares of test inputs unless said otherwise."""

    #: Whose photo or recording was also learnt from.
    leaked: float
    #: Recognised before anything is forgotten: of the five people, and of the person to be forgotten.
    base: float
    known: float
    #: Not recognised any more, with the unlearning LoRA: of the person's training and test inputs (UA).
    forgotten_train: float
    forgotten: float
    #: Recognised, of the four others, before and with it (RA).
    retained_before: float
    retained: float
    #: Recognised, of the forgotten person, once the LoRA is taken off.
    stripped: float
    #: With the second LoRA on top: recognised of the sixth person and of the four, not recognised of the forgotten one.
    newcomer: float
    retained_after: float
    forgotten_after: float
    #: Recognised, of the forgotten person, once the first LoRA is taken off and the second stays.
    stripped_after: float
    #: Mean cross-entropy of the person's training inputs under their own label before and after, nats.
    loss_before: float
    loss: float
    #: Pulses to cells of a chip after programming.
    cell_writes: int


@dataclass(frozen=True)
class PeopleRun:
    """One seed, on a chip and without errors; which of the five is forgotten goes round with the seeds."""

    data: str
    forgotten: int
    published: ClassifierArm
    honest: ClassifierArm
    published_noise_free: ClassifierArm
    honest_noise_free: ClassifierArm


@dataclass(frozen=True, eq=False)
class ForgettingObjective:
    """Cross-entropy over all classes as a `RepairObjective` of an adapter of this shape, for the paper's methods.

    The network's active adapters take part, frozen. `retained` are inputs and labels of the others, `forgotten` the
    inputs of the person to be forgotten; the temperature is what scores are divided by in all losses.
    """

    network: StackedNetwork
    shape: LoraShape
    retained: tuple[Tensor, Tensor]
    forgotten: Tensor
    forgotten_class: int
    temperature: float = 1.0

    @property
    def present(self) -> Tensor:
        """Every input is real on every node, bool [N, S]."""
        return torch.ones(self.network.nodes, len(self.forgotten), dtype=torch.bool)

    @property
    def classes(self) -> int:
        """People whom the network knows: labels are drawn from these, never from the sixth's."""
        return KNOWN

    def retained_loss(self, adapter: Adapter) -> Tensor:
        """Return the others' mean loss, float32 [N]."""
        return self.network.losses(self.shape, adapter, *self.retained, self.temperature).mean(dim=1)

    def forgotten_loss(self, adapter: Adapter) -> Tensor:
        """Return the loss of each forgotten input under its own label, float32 [N, S]."""
        return self.relabelled_loss(adapter, torch.full(self.present.shape, self.forgotten_class))

    def public_loss(self, adapter: Adapter) -> Tensor:
        """Refuse with an `EngineError`: the paper's protocol has no public people."""
        raise EngineError("the paper's protocol has no public people: use one of the paper's own methods")

    def relabelled_loss(self, adapter: Adapter, labels: Tensor) -> Tensor:
        """Return the loss of each forgotten input under other labels, int64 [N, S], as float32 [N, S]."""
        return self.network.losses(self.shape, adapter, self.forgotten, labels, self.temperature)


def train_backbone(recipe: ClassifierRecipe, people: DividedPeople, seed: int, progress: Progress) -> nn.Module:
    """Return the recipe's network trained on the five people, the one to be forgotten among them; frozen.

    The same for the same seed, data, thread count and torch build.
    """
    inputs, labels = people.training(*range(KNOWN))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(keyed_seed(seed, "paper.weights", recipe.task))
        network = recipe.make(CLASSES)
    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    batch = recipe.batch or len(inputs)
    for epoch in range(recipe.epochs):
        if epoch % 10 == 0:
            progress(f"training the backbone, epoch {epoch} of {recipe.epochs}")
        order = torch.randperm(len(inputs), generator=keyed_generator(seed, "paper.order", epoch))
        for picked in order.split(batch):  # type: ignore[no-untyped-call]
            optimiser.zero_grad()
            functional.cross_entropy(network(inputs[picked]), labels[picked]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return network.eval().requires_grad_(False)


def run_arm(
    recipe: ClassifierRecipe,
    people: DividedPeople,
    backbone: nn.Module,
    forgotten: int,
    seed: int,
    hardware: Hardware,
    progress: Progress,
) -> ClassifierArm:
    """Forget one of the five people, strip and learn anew on a freshly programmed chip.

    The seed is that of the chip, of first factors and of drawn labels.
    """
    known = [label for label in range(KNOWN) if label != forgotten]
    shown, _ = people.training(*range(KNOWN))
    calibration = shown[:: max(1, len(shown) // _RANGE_INPUTS)]
    chips = program(backbone, PRESET, seed, nodes=["chip-0"], fidelity=hardware.fidelity, calibration=calibration)
    network = StackedNetwork(chips)
    programmed = chips.ledger.mark()

    def recognised(inputs: Tensor, labels: Tensor) -> float:
        with torch.no_grad():
            return float((network.logits(inputs).argmax(dim=-1) == labels).double().mean())

    mine, mine_labels = people.training(forgotten)
    tested, retained = people.testing(forgotten), people.testing(*known)
    # Nats are told of the scores as they are, whatever the loss divides them by.
    plain = ForgettingObjective(network, recipe.forgetting, people.training(*known), mine, forgotten)

    def nats(adapter: Adapter) -> float:
        with torch.no_grad():
            return float(plain.forgotten_loss(adapter).mean())

    progress("forgetting one person")
    start = network.start(recipe.forgetting, seed)
    base, before = recognised(*people.testing(*range(KNOWN))), recognised(*tested)
    retained_before, loss_before = recognised(*retained), nats(start)
    unlearnt = recipe.method.repair(replace(plain, temperature=recipe.temperature), start, seed)
    loss = nats(unlearnt)
    network.install(recipe.forgetting, unlearnt)
    forgotten_train, forgotten_test = 1 - recognised(mine, mine_labels), 1 - recognised(*tested)
    retained_now = recognised(*retained)
    with network.stripped(recipe.forgetting.name):
        stripped = recognised(*tested)

    progress("learning a sixth person")
    lesson = people.training(*known, NEWCOMER)
    second = recipe.continual.run(
        lambda adapter: network.losses(recipe.learning, adapter, *lesson).mean(dim=1),
        network.start(recipe.learning, seed),
    )
    network.install(recipe.learning, second)
    newcomer, retained_after = recognised(*people.testing(NEWCOMER)), recognised(*retained)
    forgotten_after = 1 - recognised(*tested)
    with network.stripped(recipe.forgetting.name):
        stripped_after = recognised(*tested)
    return ClassifierArm(
        leaked=people.leaked,
        base=base,
        known=before,
        forgotten_train=forgotten_train,
        forgotten=forgotten_test,
        retained_before=retained_before,
        retained=retained_now,
        stripped=stripped,
        newcomer=newcomer,
        retained_after=retained_after,
        forgotten_after=forgotten_after,
        stripped_after=stripped_after,
        loss_before=loss_before,
        loss=loss,
        cell_writes=sum(spent.cell_writes for spent in chips.ledger.since(programmed).values()),
    )


def run_both_arms(
    recipe: ClassifierRecipe, data: str, divide: Callable[[Arm], DividedPeople], seed: int, progress: Progress
) -> PeopleRun:
    """Train a backbone for each arm, whose inputs `divide` returns, and run it on a chip and without errors."""
    forgotten = seed % KNOWN
    arms: dict[str, ClassifierArm] = {}

    def under(heading: str) -> Progress:
        return lambda what: progress(f"{heading}: {what}")

    for arm in Arm:
        people = divide(arm)
        backbone = train_backbone(recipe, people, seed, under(arm.value))
        for hardware in Hardware:
            report = under(f"{arm.value}, {hardware.value}")
            field = arm.name.lower() + ("" if hardware is Hardware.CHIP else "_noise_free")
            arms[field] = run_arm(recipe, people, backbone, forgotten, seed, hardware, report)
    return PeopleRun(data, forgotten, **arms)
