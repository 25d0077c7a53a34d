"""Least squares with weights that may not be negative, by Lawson and Hanson's active set.

"Solving Least Squares Problems" (1974), chapter 23. SciPy has it too, in a package of 35 MB that nothing else needs.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def least_squares(matrix: Floats, target: Floats) -> Floats:
    """Return x >= 0 that makes |`matrix` x − `target`| least; `matrix` has one column a weight."""
    columns = matrix.shape[1]
    weights = np.zeros(columns)
    is_free = np.zeros(columns, dtype=bool)
    gram, pull = matrix.T @ matrix, matrix.T @ target
    tolerance = 1e-10 * float(np.abs(pull).max(initial=0.0))
    for _ in range(3 * columns):
        gradient = np.where(is_free, -np.inf, pull - gram @ weights)
        enters = int(gradient.argmax())
        if gradient[enters] <= tolerance:
            break
        is_free[enters] = True
        while is_free.any():
            free = np.flatnonzero(is_free)
            wanted = np.linalg.lstsq(matrix[:, free], target, rcond=None)[0]
            falls = wanted <= 0.0
            if not falls.any():
                weights[:] = 0.0
                weights[free] = wanted
                break
            now = weights[free]
            reach = float(np.min(now[falls] / (now[falls] - wanted[falls] + 1e-300)))
            weights[free] = now + reach * (wanted - now)
            is_free[free[falls & (weights[free] <= 1e-12 * weights.max(initial=0.0))]] = False
            weights[~is_free] = 0.0
    return weights
