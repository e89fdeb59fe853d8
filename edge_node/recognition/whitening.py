"""Whitening of codes by the within-person covariance of a chip's public samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

#: Vectors shorter than this have no direction: their cosines are 0.
_SHORTEST = 1e-12


@dataclass(frozen=True, eq=False)
class Whitened:
    """Vectors on one chip, and what whitening makes of them.

    Attributes
    ----------
    codes
        f, integers as float64 [B, F].
    products
        X f, of integers and exact, float64 [B, P].
    along
        Coordinates on the axes, V' X f, float64 [B, P].
    length
        Of z, float64 [B].
    """

    codes: Tensor
    products: Tensor
    along: Tensor
    length: Tensor


@dataclass(frozen=True, eq=False)
class ChipWhitening:
    """``z = (C + r I)^(-1/2) f`` of one chip, with C the within-person covariance of P public samples.

    C = W' W / P, where W are the public codes X less their person's mean: ``W = H X``. With ``W W' / P = V diag(l) V'``
    and ``c = V' X f``, whatever is asked of whitened vectors follows from integer products and P numbers of each:
    ``z · z' = (f · f' - sum c c' / (P (l + r))) / r``. A public sample has ``c = P l V + c`` of its person's mean.

    Attributes
    ----------
    codes
        X, integers [P, F].
    axes, variances
        V, float64 [P, P], and l, float64 [P].
    means
        c of each public person's mean, as rows by sample, float64 [P, P].
    squares
        f · f of the public samples, float64 [P].
    ridge
        r.
    """

    codes: Tensor
    axes: Tensor
    variances: Tensor
    means: Tensor
    squares: Tensor
    ridge: float

    @property
    def _floor(self) -> float:
        return 1 / math.sqrt(self.ridge)

    @cached_property
    def _public(self) -> Tensor:
        return self.codes.double()

    @cached_property
    def _weights(self) -> Tensor:
        return -1 / (len(self.codes) * (self.variances + self.ridge))

    @cached_property
    def _along(self) -> Tensor:
        return self.axes * (len(self.codes) * self.variances) + self.means

    @cached_property
    def _length(self) -> Tensor:
        return self._length_of(self.squares, self._along)

    def of(self, codes: Tensor) -> Whitened:
        """Whiten vectors, integers [B, F]."""
        vectors = codes.double()
        products = vectors @ self._public.mT
        along = products @ self.axes
        return Whitened(vectors, products, along, self._length_of(vectors.square().sum(dim=1), along))

    def cosine(self, these: Whitened, those: Whitened) -> Tensor:
        """Return the cosines of whitened vectors, float64 [these, those]; 0 of a vector that is zero."""
        inner = (these.codes @ those.codes.mT + these.along * self._weights @ those.along.mT) / self.ridge
        return inner / these.length[:, None] / those.length

    def paired_cosine(self, these: Whitened, those: Whitened) -> Tensor:
        """Return the cosine of each with its like, float64 [these]."""
        inner = (these.codes * those.codes).sum(dim=1) + (these.along * self._weights * those.along).sum(dim=1)
        return inner / self.ridge / these.length / those.length

    def public_cosine(self, those: Whitened) -> Tensor:
        """Return the cosines of the public samples with whitened vectors, float64 [P, those]."""
        inner = (those.products.mT + self._along * self._weights @ those.along.mT) / self.ridge
        return inner / self._length[:, None] / those.length

    def unit(self, these: Whitened) -> Tensor:
        """Return z at length 1 (zero stays zero), float64 [B, F]."""
        z = these.codes + (these.along * self._root_weights) @ self.axes.mT @ self._public
        return z * (self._floor / these.length[:, None])

    def public_map(self, matrix: Tensor) -> Tensor:
        """Return ``A z`` of the public samples, z at length 1, float64 [P, rank]; A is integers [rank, F]."""
        rows = self.of(matrix)
        mapped = rows.products.mT + self._along * self._root_weights @ rows.along.mT
        return mapped * (self._floor / self._length[:, None])

    @cached_property
    def _root_weights(self) -> Tensor:
        # (sqrt(r / (l + r)) - 1) / (P l), without the difference of what may be nearly equal.
        high, root = (self.variances + self.ridge).sqrt(), math.sqrt(self.ridge)
        return -1 / (len(self.codes) * high * (high + root))

    def _length_of(self, squares: Tensor, along: Tensor) -> Tensor:
        return ((squares + along.square() @ self._weights) / self.ridge).clamp(min=0).sqrt().clamp(min=_SHORTEST)


@dataclass(frozen=True, eq=False)
class Whitening:
    """Whitening of N chips, as `ChipWhitening` has it of each.

    Attributes
    ----------
    codes
        X, centred: integers [N, P, F] of whatever type holds them.
    axes, variances, squares
        With the node axis first.
    means
        c of each public person's mean, float64 [N, people, P].
    ridge
        r, float64 [N].
    person
        Whose sample each public one is: its place among the people, int64 [P].
    """

    codes: Tensor
    axes: Tensor
    variances: Tensor
    means: Tensor
    squares: Tensor
    ridge: Tensor
    person: Tensor

    def chip(self, node: int) -> ChipWhitening:
        """Return the whitening of one chip."""
        return ChipWhitening(
            self.codes[node],
            self.axes[node],
            self.variances[node],
            self.means[node][self.person],
            self.squares[node],
            float(self.ridge[node]),
        )

    def renewed(self, node: int, fitted: Whitening) -> Whitening:
        """Put in one chip's whitening, fitted on it alone, and return what has all chips' by then."""
        codes = self.codes.to(torch.promote_types(self.codes.dtype, fitted.codes.dtype))
        codes[node], self.axes[node], self.variances[node] = fitted.codes[0], fitted.axes[0], fitted.variances[0]
        self.means[node], self.squares[node], self.ridge[node] = fitted.means[0], fitted.squares[0], fitted.ridge[0]
        return replace(self, codes=codes)

    @property
    def macs_per_vector(self) -> int:
        """Multiply-accumulates of whitening one vector on a device, which keeps P directions."""
        _, public, features = self.codes.shape
        return features * (2 * public + 1)
