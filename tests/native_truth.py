"""What tests of our engine compare with: maps, and their repulsion in double precision."""

import numpy as np
from scipy.interpolate import BSpline
from scipy.spatial.distance import cdist


def some_map(n, width, seed=0):
    """Return normal positions over about ``width`` units."""
    return (width / 4 * np.random.RandomState(seed).standard_normal((n, 2))).astype(np.float32)


def true_repulsion(Y):
    """Return Σ k² (y_i - y_j) of every point, and Z, in double precision."""
    Y = Y.astype(np.float64)
    kernel = 1 / (1 + cdist(Y, Y, "sqeuclidean"))
    np.fill_diagonal(kernel, 0)  # beside 1, the kernel of far points would be lost
    Z = kernel.sum()
    kernel **= 2
    return kernel.sum(axis=1, keepdims=True) * Y - kernel @ Y, Z


def relative(a, b):
    """Return how far a is from b, in lengths of b."""
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def cubic(x):
    """Return the cubic B-spline about 0."""
    values = BSpline.basis_element([-2, -1, 0, 1, 2], extrapolate=False)(x)
    return np.nan_to_num(values)
