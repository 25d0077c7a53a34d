"""Least squares with non-negative weights: the answer meets the conditions that only the best one meets."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from migd_policies.nonnegative import least_squares


def test_weights_that_made_the_target_are_found_again() -> None:
    ages = np.geomspace(0.1, 10, 12)
    matrix = np.column_stack([np.minimum(1.0, ages / tau) for tau in (0.3, 2.0, 8.0)])
    assert_allclose(least_squares(matrix, matrix @ [5.0, 0.0, 3.0]), [5.0, 0.0, 3.0], atol=1e-9)


def test_a_target_that_only_a_negative_weight_would_help_gets_none() -> None:
    assert_allclose(least_squares(np.array([[1.0], [2.0]]), np.array([-1.0, -2.0])), [0.0])


def test_nothing_to_fit_gives_no_weight() -> None:
    assert_allclose(least_squares(np.ones((3, 2)), np.zeros(3)), [0.0, 0.0])


@given(rows=st.integers(1, 12), columns=st.integers(1, 16), seed=st.integers(0, 2**32))
def test_no_weight_could_be_changed_for_the_better(rows: int, columns: int, seed: int) -> None:
    """Karush, Kuhn and Tucker: no slope where a weight is positive, none that falls where it is zero."""
    rng = np.random.default_rng(seed)
    matrix, target = rng.uniform(0, 1, (rows, columns)), rng.normal(0.5, 1.0, rows)
    weights = least_squares(matrix, target)
    slope = matrix.T @ (matrix @ weights - target)
    assert (weights >= 0).all()
    assert (slope >= -1e-7).all()
    assert_allclose(slope * weights, 0.0, atol=1e-7)
