"""Distance between two sets of images, by what the judge's hidden layer makes of them."""

from __future__ import annotations

import torch
from torch import Tensor

from edge_node.errors import EngineError


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """Return ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))`` of two sets of activations.

    The distance between two normal distributions of their means and covariances (Dowson and Landau, 1982). It is *not*
    FID, which is over another network; and it grows as sets get smaller, so it only says something beside that of two
    sets of real images of the same sizes.

    Activations are floats ``[B, features]``. `EngineError` if a set has fewer than two members.
    """
    if min(len(one), len(other)) < 2:
        raise EngineError(f"a covariance needs two images; got {len(one)} and {len(other)}")
    one, other = one.double(), other.double()
    root = _square_root(one.T.cov())
    # tr((S1 S2)^(1/2)) by the symmetric S1^(1/2) S2 S1^(1/2), which has the same eigenvalues.
    shared = torch.linalg.eigvalsh(root @ other.T.cov() @ root).clamp(min=0).sqrt().sum()
    traces = one.var(dim=0).sum() + other.var(dim=0).sum()
    distance = (one.mean(dim=0) - other.mean(dim=0)).square().sum() + traces - 2 * shared
    return max(0.0, float(distance))


def _square_root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = vectors * values.clamp(min=0).sqrt() @ vectors.T
    return root
