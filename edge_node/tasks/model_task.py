"""Tasks of a torch model and a folder of samples: what `fleet task new` writes an object of.

torch is imported where it is used: a coordinator loads the module of a task for its code range, and has none.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from reram_fleet.code_ranges import CodeRange

from edge_node.errors import TaskError
from edge_node.tasks import Person, Split
from edge_node.tasks.sample_folder import SampleFolder

if TYPE_CHECKING:
    from torch import nn

    from edge_node.backbones.torch_model import TorchModel
    from hwmodel import EnergyLedger, Preset


@dataclass(frozen=True)
class ModelTask:
    """A recognition task whose backbone is a torch model.

    Attributes
    ----------
    name
        Of the entry points.
    model
        ``package.module:factory``; called without arguments, it returns the model, the same on every node: random
        weights are drawn from a fixed seed of torch.
    samples
        People, their samples, and who has which role.
    codes, gain
        Range of the feature codes, and codes per unit of the model's output.
    """

    name: str
    model: str
    samples: SampleFolder
    codes: CodeRange
    gain: float

    @property
    def split(self) -> Split:
        """Who is public, who gets enrolled in demos, who never is."""
        return self.samples.split

    def with_seed(self, seed: int) -> Self:
        """Return the task with the strangers and the test samples that another seed draws."""
        return replace(self, samples=replace(self.samples, seed=seed))

    def load_people(self) -> Mapping[str, Person]:
        """Return everybody, by name."""
        split = self.split
        return self.samples.people([*split.public, *split.enrolled, *split.strangers])

    def public_samples(self) -> Mapping[str, Sequence[np.ndarray]]:
        """Return all samples of the public people: nobody is tested on them."""
        public = self.samples.people(self.split.public)
        return {name: (*person.train, *person.test) for name, person in public.items()}

    def program(self, preset: Preset, fleet_seed: int, node_ids: Sequence[str], ledger: EnergyLedger) -> TorchModel:
        """Program the model into every node's crossbars."""
        from edge_node.backbones.torch_model import TorchModel

        examples = [sample for samples in self.public_samples().values() for sample in samples]
        return TorchModel.program(
            load_model(self.model),
            examples,
            self.codes,
            self.gain,
            self.samples.shaped,
            preset,
            fleet_seed,
            node_ids,
            ledger,
        )


def load_model(factory: str) -> nn.Module:
    """Return the model that ``package.module:factory`` makes, in evaluation mode on the CPU.

    `TaskError` if it cannot be imported or made, or is no torch model.
    """
    import torch
    from torch import nn

    if ":" not in factory:
        raise TaskError(f"{factory!r} names no model: write package.module:factory")
    try:
        make = pkgutil.resolve_name(factory)
    except (ImportError, AttributeError, ValueError) as error:
        raise TaskError(
            f"the model {factory} cannot be imported ({type(error).__name__}: {error}): install its package, or put "
            "the folder of its module on PYTHONPATH"
        ) from error
    try:
        # The same random weights in every process, and nobody else's stream is moved.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = make()
    except Exception as error:
        raise TaskError(f"the model {factory} cannot be made ({type(error).__name__}: {error})") from error
    if not isinstance(model, nn.Module):
        raise TaskError(f"{factory} made {type(model).__name__}, expected a torch.nn.Module")
    return model.cpu().eval().requires_grad_(False)
