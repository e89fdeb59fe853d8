"""Engine of one node on a few integer features; what it computes is trivial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from edge_node.engine import Identification, RecognitionEngine
from edge_node.errors import SampleError
from edge_node.recognition.training.rounds import RoundRequest, RoundResult
from hwmodel import Cost, EnergyLedger, NetworkSpec, Phase, load_preset

#: Read once: a process may have thousands of engines.
_PRESET = load_preset("180nm-1t1r")


class MemoryEngine(RecognitionEngine):
    """Engine of one node whose feature codes are the rounded channel sums of a sample [frames, features].

    `public` is what its chip makes of the public samples: codes [P, features], and whose each is; four made-up people
    of three samples if left out.
    """

    def __init__(
        self,
        saved_costs: Mapping[Phase, Cost] | None = None,
        *,
        features: int = 8,
        public: tuple[np.ndarray, Sequence[int]] | None = None,
    ) -> None:
        super().__init__(["node"], _PRESET, features, EnergyLedger(1))
        self._public = public
        if saved_costs:
            self.ledger.restore(saved_costs)
        else:
            self.ledger.charge(Phase.PROGRAM, Cost(1e-6, 1e-3, 0, 64))

    @property
    def accept_threshold(self) -> Tensor:
        """A cosine."""
        return torch.tensor([0.9], dtype=torch.float64)

    @property
    def cell_writes(self) -> Tensor:
        """A constant."""
        return torch.tensor([64])

    @property
    def wear(self) -> Tensor:
        """None: its writes are made up."""
        return torch.zeros(1, dtype=torch.float64)

    def network(self, node: int) -> NetworkSpec | None:
        """Return None: it has no crossbar."""
        self._bank(node)
        return None

    def capture(
        self, samples: Sequence[np.ndarray], phase: Phase = Phase.INFER, nodes: Sequence[int] | None = None
    ) -> Tensor:
        """Return codes int32 [1, samples, features]."""
        for sample in samples:
            if sample.ndim != 2 or sample.shape[1] != self.features or not np.isfinite(sample).all():
                raise SampleError(f"expected finite [frames, {self.features}], got {sample.shape}")
        self.ledger.charge(phase, Cost(1e-9 * len(samples), 1e-6 * len(samples)))
        codes = np.stack([np.rint(sample.sum(axis=0)).astype(np.int32) for sample in samples])
        return torch.from_numpy(codes)[None]

    def identify(
        self,
        codes: Tensor,
        phase: Phase = Phase.INFER,
        nodes: Sequence[int] | None = None,
        claimed: str | None = None,
    ) -> Identification:
        """Answer with the nearest subject by cosine, or with the claimed one."""
        self._check_codes(codes, 1)
        self.ledger.charge(phase, Cost(1e-9 * codes.shape[1], 1e-6))
        bank = self._bank(0)
        names, score = (("",) * codes.shape[1],), torch.full(codes.shape[:2], -torch.inf, dtype=torch.float64)
        if bank.tags:
            sums, _ = bank.sums()
            cosine = torch.nn.functional.cosine_similarity(codes[0].double()[:, None], sums[None].double(), dim=-1)
            if claimed is not None:
                cosine[:, [tag != claimed for tag in bank.tags]] = -torch.inf
            score, best = cosine.max(dim=-1, keepdim=True)
            names, score = (tuple(bank.tags[k] for k in best.flatten().tolist()),), score.T
        return Identification(names, score, score >= self.accept_threshold, names, names)

    def calibrate(self, node: int) -> None:
        """Take a calibration's costs and change nothing: its codes do not age."""
        self._bank(node)
        self.ledger.charge(Phase.INFER, Cost(1e-8, 1e-5))
        self.calibrations[node] += 1

    def public_codes(self, node: int) -> tuple[Tensor, Tensor]:
        """Return codes of public people, and whose each is."""
        codes, person = self._public or (
            np.random.default_rng(1).integers(-1000, 1000, (12, self.features), np.int32),
            np.repeat(range(4), 3),
        )
        return torch.from_numpy(codes.astype(np.int32)), torch.tensor(person, dtype=torch.int64)

    def run_rounds(self, requests: Sequence[RoundRequest]) -> list[RoundResult]:
        """Return each state as it came."""
        results = []
        for request in requests:
            self.ledger.charge(Phase.TRAIN, Cost(1e-9, 1e-6), request.node)
            metrics = {"samples": float(len(request.samples)), "forget": float(len(request.forget))}
            examples = sum(len(codes) for codes in request.samples.values())
            results.append(RoundResult(request.state, examples, metrics))
        return results
