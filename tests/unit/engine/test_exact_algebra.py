"""Linear algebra that has one result: right, and the same whatever it is computed with and together with."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from edge_node.errors import EngineError
from edge_node.recognition.exact_algebra import eliminate, inverse, product, root, square_root
from tests.unit.engine.calibration_digest import calibration_digest

SIZE = 24


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positive(size: int, condition: float) -> Tensor:
    """Return a symmetric matrix with eigenvalues from 1 to `condition`."""
    axes = torch.linalg.qr(random(size, size))[0]
    matrix = axes @ torch.diag(torch.logspace(0, torch.tensor(condition).log10(), size, dtype=torch.float64)) @ axes.T
    return (matrix + matrix.T) / 2


def test_products_are_right_to_the_last_places_of_their_largest_terms() -> None:
    a, b = random(3, SIZE), random(SIZE, 2, seed=1) * 1e6
    found = product(a, b)
    for row in range(3):
        for column in range(2):
            terms = [Fraction(x) * Fraction(y) for x, y in zip(a[row].tolist(), b[:, column].tolist(), strict=True)]
            error = abs(Fraction(float(found[row, column])) - sum(terms))
            assert error <= max(map(abs, terms)) * Fraction(2) ** -50


def test_products_of_integers_are_those_of_int64() -> None:
    a, b = (random(5, SIZE) * 2**20).round(), (random(SIZE, 5, seed=1) * 2**20).round()
    assert torch.equal(product(a, b).long(), a.long() @ b.long())


def test_vectors_have_the_products_that_they_have_alone() -> None:
    a, b = random(7, SIZE) * torch.logspace(-9, 9, 7, dtype=torch.float64)[:, None], random(SIZE, 5, seed=1)
    together = product(a, b)
    assert torch.equal(torch.cat([product(row[None], b) for row in a]), together)
    assert torch.equal(torch.cat([product(a, column[:, None]) for column in b.T], dim=1), together)
    order = torch.randperm(SIZE, generator=torch.Generator().manual_seed(2))
    assert torch.equal(product(a[:, order], b[order]), together)
    assert not torch.equal(a[:, order] @ b[order], a @ b), "an order that makes no difference to any product"


def test_nothing_times_something_is_nothing() -> None:
    assert product(torch.zeros(0, SIZE), random(SIZE, 2)).shape == (0, 2)
    assert not product(torch.zeros(2, SIZE), random(SIZE, 2)).any()


def test_roots_are_rounded_correctly() -> None:
    squares = random(2000).abs() * 1e9
    for square, found in zip(squares.tolist(), root(squares).tolist(), strict=True):
        below, above = ((Fraction(found) + Fraction(math.nextafter(found, end))) / 2 for end in (0.0, math.inf))
        assert below**2 <= Fraction(square) <= above**2


def test_inverse_and_corner_are_those_of_the_definition() -> None:
    matrix, beside = positive(SIZE, 1e4), random(SIZE, 3, seed=1)
    assert torch.allclose(inverse(matrix) @ matrix, torch.eye(SIZE).double(), rtol=0, atol=1e-11)
    whole = torch.cat([torch.cat([matrix, beside], dim=1), torch.cat([beside.T, torch.zeros(3, 3)], dim=1)])
    corner = eliminate(whole, SIZE)[SIZE:, SIZE:]
    assert torch.allclose(corner, -beside.T @ torch.linalg.solve(matrix, beside), rtol=0, atol=1e-11)


def test_matrices_are_eliminated_as_they_are_alone() -> None:
    batch = torch.stack([positive(SIZE, condition) for condition in (2.0, 1e3, 1e5)])
    assert torch.equal(eliminate(batch, SIZE), torch.stack([eliminate(matrix, SIZE) for matrix in batch]))


@pytest.mark.parametrize("condition", [1.0, 10.0, 1e4, 1e6])
def test_square_of_a_root_is_the_matrix(condition: float) -> None:
    matrix = positive(SIZE, condition)
    found = square_root(matrix, 1.0)
    assert torch.allclose(found @ found, matrix, rtol=0, atol=1e-12 * condition)
    assert torch.linalg.eigvalsh(found).min() > 0.99


def test_matrix_that_is_not_positive_definite_is_refused() -> None:
    for matrix in (torch.zeros(3, 3).double(), -torch.eye(3).double(), torch.ones(3, 3).double()):
        with pytest.raises(EngineError, match="positive definite"):
            eliminate(matrix, 3)


@pytest.mark.parametrize(
    "variables",
    [
        {"ATEN_CPU_CAPABILITY": "default", "OPENBLAS_CORETYPE": "Prescott"},
        {"ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "2"},
        {"MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Nehalem"},
    ],
    ids=["without AVX", "AVX2, two threads", "compatible"],
)
def test_calibration_is_the_same_under_other_kernels(variables: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.engine.calibration_digest"],
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == calibration_digest(), done.stderr
