"""Calibration LoRA: brings the features of a noisy, drifted or partly stuck chip back to the ideal ones.

Fitted on public data alone, so nobody ever has to be forgotten from it. Each layer on crossbars gets a low-rank branch
``B (A x)`` per node, held in SRAM, computed digitally and added to the crossbar's output. It is fitted in closed form,
layer by layer: with X what the layer multiplies on this chip and R what its output lacks there,
``min |R - X A' B'|^2 + ridge |A' B'|^2`` over matrices of rank r is solved by ridge regression followed by a projection
onto its r strongest output directions (reduced-rank regression: Izenman, J. Multivar. Anal. 5, 248, 1975; with a ridge:
Mukherjee and Zhu, Stat. Anal. Data Min. 4, 612, 2011).

What a layer lacks is measured against the network in exact arithmetic on its own inputs, while X is what the layer sees
on the chip, behind the layers that have been calibrated before it: so a layer also makes good what the earlier ones
left. A layer that is used several times for one input (in a recurrent network) is the exception: its own correction
would change what it sees next, so it is fitted on the inputs of the network.

What was tried, at 2 to 10 uS on the networks of `fleet.lab.paper.networks`, rank 6 and 8. Fitting the mixer, too, on
the network's inputs leaves a fifth more feature error. Fitting the LSM on the chip's inputs leaves a fifth more, and
doing so twice 7 % more. A hundred steps of Adam on the feature error end to end, started from the closed form, take at
most another fifth off it and move accuracy by less than its spread over chips, for a hundred times the chip reads: left
out. int8 factors do as well as float32 ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from edge_node.errors import AdapterError
from edge_node.recognition.lora.branch import LoraBranch
from fleet.lab.exchange.storage import stored_branch
from hwmodel import Cost, Phase, Precision, cost
from hwmodel.nn import Correction, ProgrammedModel
from hwmodel.nn.calibration import layer_inputs
from hwmodel.nn.placement import ROOT

#: Ridge as a share of the mean energy of an input.
DEFAULT_RIDGE = 1e-3


@dataclass(frozen=True, eq=False, slots=True)
class ChipCalibration:
    """The calibration LoRAs of one model on N nodes."""

    branches: Mapping[str, LoraBranch]  #: by layer, in the order in which an input passes them

    @property
    def parameters(self) -> int:
        """Numbers in all branches, of one node."""
        return sum(branch.parameters for branch in self.branches.values())

    @property
    def sram_bytes(self) -> int:
        """Bytes in the SRAM of one node."""
        return sum(branch.sram_bytes for branch in self.branches.values())

    def attach(self, chip: ProgrammedModel) -> None:
        """Let the layers of `chip` add their branches, in place of any other correction, and pay for them.

        Raises `AdapterError` if the chip lacks a layer, or has it in another size or on another number of nodes.
        """
        layers = chip.analog
        for name, branch in self.branches.items():
            if name not in layers:
                raise AdapterError(f"the chip has no layer {name!r}; it has: {', '.join(layers)}")
            crossbar = layers[name].crossbar
            expected = (len(crossbar.nodes), crossbar.in_features, crossbar.out_features)
            got = (branch.a.shape[0], branch.a.shape[2], branch.b.shape[1])
            if got != expected:
                raise AdapterError(
                    f"layer {name!r} has (nodes, inputs, outputs) = {expected}; its calibration is for {got}"
                )
        for name, branch in self.branches.items():
            layers[name].correction = replace(branch, preset=chip.preset, meter=layers[name].meter)


def calibrate_chip(
    chip: ProgrammedModel,
    network: nn.Module,
    public: Tensor,
    *,
    rank: int,
    ridge: float = DEFAULT_RIDGE,
    storage: Precision = Precision.INT8,
    layers: Collection[str] | None = None,
) -> ChipCalibration:
    """Fit a calibration LoRA on every node of a programmed model, and attach it.

    Other corrections of the same layers are replaced. Charged to `Phase.TRAIN` of the chip's ledger: two analogue reads
    of each vector, the ideal outputs and the regression as digital float32 arithmetic on the node (it takes the float
    weights, or those outputs, from whoever calibrates; their way there is not charged), the use of the branches, and
    writing them into SRAM. Raises `AdapterError` if the rank is less than 1, the ridge not positive, there is no public
    input, or a layer does not exist or is never used.

    Parameters
    ----------
    chip
        The model on N nodes, at the age at which it is to be calibrated.
    network
        The model that was programmed, with its float weights; not changed.
    public
        Inputs of the model, ``[P, ...]``: public data, without labels.
    rank
        Rank of the branches; a layer with fewer inputs or outputs gets its full rank.
    ridge
        Penalty, as a share of the mean energy of an input; positive, so that inputs that public data never drive stay
        uncorrected.
    layers
        Layers to correct; all on crossbars if None.
    """
    if rank < 1:
        raise AdapterError(f"the rank of a calibration LoRA is at least 1; got {rank}")
    if not ridge > 0:
        raise AdapterError(f"ridge must be positive; got {ridge}")
    if public.shape[0] < 1:
        raise AdapterError("a chip is calibrated on public inputs; got none")
    analog = chip.analog
    wanted = tuple(analog) if layers is None else tuple(layers)
    if unknown := sorted(set(wanted) - set(analog)):
        raise AdapterError(f"the chip has no layer {', '.join(unknown)}; it has: {', '.join(analog)}")
    floats = {name: network.get_submodule("" if name == ROOT else name) for name in wanted}
    ideal_inputs = layer_inputs(network, floats, public)
    if unused := sorted(set(wanted) - set(ideal_inputs)):
        raise AdapterError(f"no public input reaches layer {', '.join(unused)}: leave it out with `layers`")

    branches: dict[str, LoraBranch] = {}

    def fit(name: str, seen: Tensor, aim: Tensor) -> LoraBranch:
        layer = analog[name]
        layer.correction = None
        a, b = reduced_rank_regression(seen, aim - layer.product(seen), rank=rank, ridge=ridge)
        branch = stored_branch(a, b, storage, chip.preset, layer.meter)
        layer.correction = branches[name] = branch
        chip.ledger.charge(Phase.TRAIN, _fit_cost(branch, vectors=seen.shape[1]))
        return branch

    def fit_when_reached(name: str, aim: Tensor) -> Correction:
        return lambda vectors: fit(name, vectors, aim)(vectors)

    with torch.no_grad(), chip.charging(Phase.TRAIN):
        for name, calls in ideal_inputs.items():
            seen = torch.cat(calls)
            aim = seen @ analog[name].ideal_weight.T
            if len(calls) > 1:
                fit(name, seen.expand(analog[name].nodes, -1, -1), aim)
            else:
                analog[name].correction = fit_when_reached(name, aim)
        # One pass: each layer is fitted when its input arrives, behind those that have just been fitted.
        chip(public)
    return ChipCalibration({name: branches[name] for name in ideal_inputs})


def reduced_rank_regression(x: Tensor, r: Tensor, *, rank: int, ridge: float) -> tuple[Tensor, Tensor]:
    """Return factors A ``[N, rank, in]``, B ``[N, out, rank]`` such that ``x A' B'`` approximates r best.

    The solution of ``min |r - x W|^2 + lambda |W|^2`` over W of that rank, lambda being `ridge` times the mean energy
    of an input: with the ridge solution W of full rank, the strongest eigenvectors V of ``W' x' r`` give ``A' = W V``
    and ``B = V``. Returns float64. An input that is always zero gets zeros. The rank is less if there are fewer inputs
    or outputs; x and r are ``[N, V, in]`` and ``[N, V, out]``.
    """
    x, r = x.to(torch.float64), r.to(torch.float64)
    inputs, outputs = x.shape[-1], r.shape[-1]
    gram, cross = x.mT @ x, x.mT @ r
    energy = gram.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
    # A layer that is only ever given zeros has no energy: any ridge then gives the zero solution.
    penalty = torch.where(energy > 0, energy * ridge, 1.0)
    full = torch.linalg.solve(gram + penalty[:, None, None] * torch.eye(inputs, dtype=torch.float64), cross)
    explained = full.mT @ cross
    _, directions = torch.linalg.eigh((explained + explained.mT) / 2)
    strongest = directions[..., -min(rank, inputs, outputs) :]
    return (full @ strongest).mT.contiguous(), strongest.contiguous()


def _fit_cost(branch: LoraBranch, vectors: int) -> Cost:
    """What fitting one layer takes on a node, beside the analogue reads.

    Ideal outputs, Gram and cross products of all vectors; the Cholesky solution; the eigenvectors at nine cubes of
    their number (Golub and Van Loan, symmetric QR); the factor; and its way into SRAM.
    """
    inputs, outputs = branch.a.shape[2], branch.b.shape[1]
    macs = vectors * inputs * (inputs + 2 * outputs)
    macs += inputs**3 // 6 + inputs**2 * outputs + inputs * outputs**2
    macs += 9 * outputs**3 + branch.rank * inputs * outputs
    preset = branch.preset
    return cost.digital_macs(preset, macs, Precision.FP32) + cost.sram_write(preset, branch.sram_bytes)
