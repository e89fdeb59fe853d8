"""Whitening by the public people's covariance, one per chip, never as a features x features matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from edge_node.errors import EngineError

#: Ridge on the covariance, in mean eigenvalues. Over all 84 public triples of the speakers, 0.3, 1 give
#: false acceptance 4.1, 5.1 % by the same rule; larger ones accept still more strangers.
SHRINKAGE = 0.3

#: Directions below this share of the largest eigenvalue are numerical noise of the rank deficit.
_RANK_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Whitening:
    """``z = (C + r I)^(-1/2) f`` of N chips, with C the within-person covariance of public samples.

    C has rank P at most (P public samples), so ``z = f / sqrt(r) + V diag(a) V' f`` with V the eigenvectors of
    C and ``a = 1 / sqrt(l + r) - 1 / sqrt(r)``: 2 F P multiplications a sample, instead of F^2.

    Attributes
    ----------
    basis
        V, float64 [N, F, P].
    gain
        a, float64 [N, P].
    floor
        1 / sqrt(r), float64 [N].
    """

    basis: Tensor
    gain: Tensor
    floor: Tensor

    @classmethod
    def fit(cls, codes: Tensor, person: Tensor) -> Whitening:
        """Fit on public samples, int32 [N, P, F], of the people `person`, int64 [P].

        `EngineError` if the public samples do not vary: no covariance can be had from them.
        """
        within = torch.empty(codes.shape, dtype=torch.float64)
        for index in sorted(set(person.tolist())):
            mine = person == index
            samples = codes[:, mine].double()
            within[:, mine] = samples - samples.mean(dim=1, keepdim=True)
        count, features = codes.shape[1:]
        gram = within @ within.mT / count
        eigenvalues, eigenvectors = torch.linalg.eigh(gram)
        ridge = SHRINKAGE * eigenvalues.clamp(min=0).sum(dim=1) / features
        if not bool((ridge > 0).all()):
            raise EngineError("the public samples of a person are all the same: cannot calibrate on them")
        kept = eigenvalues > _RANK_TOLERANCE * eigenvalues[:, -1:]
        safe = torch.where(kept, eigenvalues, 1.0)
        basis = within.mT @ (eigenvectors / (count * safe).sqrt()[:, None, :])
        floor = ridge.rsqrt()
        gain = torch.where(kept, (safe + ridge[:, None]).rsqrt() - floor[:, None], 0.0)
        return cls(basis, gain, floor)

    def unit(self, codes: Tensor, nodes: slice | list[int] = slice(None)) -> Tensor:
        """Return whitened vectors of length 1 (zero stays zero), float64 [N, B, F], from codes [N, B, F]."""
        f = codes.double()
        z = f * self.floor[nodes, None, None]
        z = z + ((f @ self.basis[nodes]) * self.gain[nodes, None, :]) @ self.basis[nodes].mT
        return functional.normalize(z, dim=-1)

    @property
    def macs_per_vector(self) -> int:
        """Multiply-accumulates of whitening one vector."""
        _, features, rank = self.basis.shape
        return features * (2 * rank + 1)
