"""Whitening of codes by the within-person covariance of a chip's public samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from edge_node.recognition import exact_algebra

#: Nodes whose public samples are kept as they are compared: 130 kB each.
_PUBLIC_KEPT = 512
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
        ``L^-1 W f``, float64 [B, P].
    length
        Of z, float64 [B].
    """

    codes: Tensor
    products: Tensor
    along: Tensor
    length: Tensor

    def __getitem__(self, which: slice) -> Whitened:
        """Return some of the vectors."""
        return Whitened(self.codes[which], self.products[which], self.along[which], self.length[which])

    def followed_by(self, more: Whitened) -> Whitened:
        """Return these vectors and then those, of the same chip."""
        pairs = zip(vars(self).values(), vars(more).values(), strict=True)
        return Whitened(*(torch.cat(pair) for pair in pairs))


class Derived(dict[int, Tensor]):
    """Numbers of chips, by node, that follow from their whitening: copies have none, and make them again."""

    def __reduce__(self) -> tuple[type[Derived], tuple[()]]:
        return Derived, ()


@dataclass(frozen=True, eq=False)
class ChipWhitening:
    """``z = (C + r I)^(-1/2) f`` of one chip, with C the within-person covariance of P public samples.

    C = W' W / P, where W are the public codes X less their person's mean: ``W = H X``. With ``W W' + P r I = L D L'``
    and ``c = L^-1 W f``, whatever is compared of whitened vectors follows from integer products and P numbers of each:
    ``z · z' = (f · f' - sum c c' / d) / r``. What is read of z itself has ``z = (f - W' B W f) / sqrt(r)``, where
    ``B = (S S + sqrt(P r) S)^-1`` and S is the root of ``W W' + P r I``.

    Attributes
    ----------
    codes
        X, integers [P, F].
    axes, pivots
        ``(L^-1 H)'``, float64 [P, P], and d, float64 [P].
    ridge
        r.
    person
        Whose sample each public one is: its place among the people, int64 [P].
    multiply
        Product of float64 matrices: that of `exact_algebra` where all bits count.
    node
        Its place on the node axis.
    roots, publics
        What was derived so far: ``H B H``, float64 [P, P]; and of the public samples products, along, and length as a
        column, side by side.
    """

    codes: Tensor
    axes: Tensor
    pivots: Tensor
    ridge: float
    person: Tensor
    multiply: Callable[[Tensor, Tensor], Tensor]
    node: int
    roots: Derived
    publics: Derived

    @cached_property
    def _public(self) -> Tensor:
        return self.codes.double()

    @cached_property
    def public(self) -> Whitened:
        """The public samples."""
        if self.multiply is not exact_algebra.product:
            return self.of(self.codes)
        kept, count = self.publics.get(self.node), len(self.codes)
        if kept is None:
            found = self.of(self.codes)
            kept = torch.cat([found.products, found.along, found.length[:, None]], dim=1)
            if len(self.publics) >= _PUBLIC_KEPT:
                self.publics.clear()
            self.publics[self.node] = kept
        return Whitened(self._public, kept[:, :count], kept[:, count:-1], kept[:, -1])

    def of(self, codes: Tensor) -> Whitened:
        """Whiten vectors, integers [B, F].

        Those with codes of which products might reach 2^53 are taken at half, a quarter, ... of their length.
        """
        vectors, largest = codes.double(), 2.0 ** ((52 - codes.shape[1].bit_length()) // 2)
        if len(vectors) and float(vectors.abs().amax()) >= largest:
            excess = vectors.abs().amax(dim=1, keepdim=True) / largest
            vectors = (vectors * torch.ldexp(torch.ones_like(excess), -excess.frexp().exponent.clamp(min=0))).round_()
        products = vectors @ self._public.mT
        along = self.multiply(products, self.axes)
        square = vectors.square().sum(dim=1) - self._total(along.square() / self.pivots)
        length = exact_algebra.root((square / self.ridge).clamp_(min=0)).clamp_(min=_SHORTEST)
        return Whitened(vectors, products, along, length)

    def cosine(self, these: Whitened, those: Whitened) -> Tensor:
        """Return the cosines of whitened vectors, float64 [these, those]; 0 of a vector that is zero."""
        inner = these.codes @ those.codes.mT - self.multiply(these.along / self.pivots, those.along.mT)
        return inner / self.ridge / these.length[:, None] / those.length

    def paired_cosine(self, these: Whitened, those: Whitened) -> Tensor:
        """Return the cosine of each with its like, float64 [these]."""
        along = self._total(these.along * those.along / self.pivots)
        inner = (these.codes * those.codes).sum(dim=1) - along
        return inner / self.ridge / these.length / those.length

    def _total(self, values: Tensor) -> Tensor:
        return exact_algebra.total(values) if self.multiply is exact_algebra.product else values.sum(dim=1)

    def mapped(self, these: Whitened, matrix: Tensor) -> Tensor:
        """Return ``A z``, z at length 1 (zero stays zero), float64 [B, rank]; A is integers [rank, F]."""
        matrix = matrix.double()
        root = self.roots.get(self.node)
        if root is None:
            root = self.roots[self.node] = _root(self)
        bent = self.multiply(root, self._public @ matrix.mT)
        mapped = these.codes @ matrix.mT - self.multiply(these.products, bent)
        return mapped / (math.sqrt(self.ridge) * these.length[:, None])


@dataclass(frozen=True, eq=False)
class Whitening:
    """Whitening of N chips, as `ChipWhitening` has it of each.

    Attributes
    ----------
    codes
        X, centred: integers [N, P, F] of whatever type holds them.
    axes, pivots
        With the node axis first.
    ridge
        r, float64 [N].
    person
        Whose sample each public one is: its place among the people, int64 [P].
    """

    codes: Tensor
    axes: Tensor
    pivots: Tensor
    ridge: Tensor
    person: Tensor
    _roots: Derived = field(default_factory=Derived, repr=False)
    _publics: Derived = field(default_factory=Derived, repr=False)

    @classmethod
    def fit(cls, codes: Tensor, person: Tensor, within: Tensor, ridge: Tensor) -> Whitening:
        """Fit on centred public codes, of which `within` are ``W W'``, float64 [N, P, P]."""
        count = len(person)
        spread = centred_by_person(torch.eye(count, dtype=torch.float64), person)
        matrix = within + torch.diag_embed((count * ridge)[:, None].expand(-1, count))
        solved = exact_algebra.eliminate(torch.cat([matrix, spread.expand_as(matrix)], dim=2), count)
        axes = solved[:, :, count:].mT.contiguous()
        return cls(codes, axes, solved[:, :, :count].diagonal(dim1=1, dim2=2).clone(), ridge, person)

    def chip(self, node: int, multiply: Callable[[Tensor, Tensor], Tensor] = exact_algebra.product) -> ChipWhitening:
        """Return the whitening of one chip, whose numbers are the same everywhere; with torch's product, sooner."""
        axes, pivots, ridge = self.axes[node], self.pivots[node], float(self.ridge[node])
        kept = node, self._roots, self._publics
        return ChipWhitening(self.codes[node], axes, pivots, ridge, self.person, multiply, *kept)

    def renewed(self, node: int, fitted: Whitening) -> Whitening:
        """Put in one chip's whitening, fitted on it alone, and return what has all chips' by then."""
        codes = self.codes.to(torch.promote_types(self.codes.dtype, fitted.codes.dtype))
        codes[node], self.axes[node], self.pivots[node] = fitted.codes[0], fitted.axes[0], fitted.pivots[0]
        self.ridge[node] = fitted.ridge[0]
        self._roots.pop(node, None)
        self._publics.pop(node, None)
        return replace(self, codes=codes)

    @property
    def macs_per_vector(self) -> int:
        """Multiply-accumulates of whitening one vector on a device, which keeps P directions."""
        _, public, features = self.codes.shape
        return features * (2 * public + 1)


def centred_by_person(rows: Tensor, person: Tensor) -> Tensor:
    """Return rows, integers in float64 [..., P, C], less the mean of their person's: ``H rows``."""
    of_person = functional.one_hot(person).double()
    return rows - (of_person.mT @ rows / of_person.sum(dim=0)[:, None])[..., person, :]


def within_products(products: Tensor, person: Tensor) -> Tensor:
    """Return ``H P H`` of inner products of integers, float64 [..., P, P]: by element, from sums that are exact."""
    of_person = functional.one_hot(person).double()
    samples = of_person.sum(dim=0)
    means = (products @ of_person / samples)[..., person]
    both = (of_person.mT @ products @ of_person / (samples[:, None] * samples))[..., person, :][..., person]
    return products - (means + means.mT) + both


def _root(chip: ChipWhitening) -> Tensor:
    count, public = len(chip.codes), chip.codes.double()
    smallest = count * chip.ridge
    matrix = within_products(public @ public.mT, chip.person) + smallest * torch.eye(count, dtype=torch.float64)
    bent = exact_algebra.inverse(matrix + math.sqrt(smallest) * exact_algebra.square_root(matrix, smallest))
    spread = centred_by_person(torch.eye(count, dtype=torch.float64), chip.person)
    return exact_algebra.product(exact_algebra.product(spread, bent), spread)
