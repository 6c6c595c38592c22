"""What tests of our engine share: maps, their repulsion in double precision, data, a fit."""

import numpy as np
import scipy.sparse as sp
from scipy.interpolate import BSpline
from scipy.spatial.distance import cdist

from tsne_backends import ServerlessTSNE
from tsne_backends.native.calls import Call
from tsne_backends.native.crew import Work
from tsne_backends.native.exact import over_pairs
from tsne_backends.native.layout import SparseRows
from tsne_backends.native.vectors import PULLS


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


def on_grid(repulsion, Y, low, high, h, out, team):
    """Write the forces that a grid gives to ``out``, and return its Z."""
    Z = np.empty(1)
    if not repulsion.serves(low, high, h):
        repulsion.lay(low, high, h)
    team.do(repulsion.work(Y, out, Z))
    return Z[0]


def make_call(team, kernel, n_tiles, *arguments):
    """Make one call, as an iteration does: what only compiled code calls has no other way in."""
    team.do(Work((Call(kernel, n_tiles, *arguments),), lambda: None, ()))


def on_pairs(Y, out, team):
    """Write the forces that our sums over pairs give to ``out``, and return their Z."""
    Z = np.empty(1)
    team.do(over_pairs(Y, out, Z))
    return Z[0]


def corners_of(Y):
    """Return the lowest and the highest coordinates."""
    return Y.min(axis=0).astype(np.float64), Y.max(axis=0).astype(np.float64)


def matrix_of(rows):
    """Return laid out affinities as a sparse matrix of double precision."""
    n = len(rows.steps)
    row = np.repeat(np.arange(n), np.diff(rows.starts))
    values = (rows.words & np.uint32(2**rows.bits - 1)) * rows.steps.astype(np.float64)[row]
    return sp.csr_matrix((values, (row, rows.words >> np.uint32(rows.bits))), shape=(n, n))


def laid_out(P, bits):
    """Return a sparse matrix as rows of a multiple of `PULLS` entries, of so many bits each."""
    P = sp.csr_matrix(P)
    lengths = np.diff(P.indptr)
    starts = np.concatenate([[0], np.cumsum(-(-lengths // PULLS) * PULLS)])
    row = np.repeat(np.arange(P.shape[0]), lengths)
    steps = P.max(axis=1).toarray().ravel() / (2**bits - 1)
    at = np.arange(P.nnz) + (starts[:-1] - P.indptr[:-1])[row]
    words = np.zeros(starts[-1], dtype=np.uint32)
    columns, shares = P.indices.astype(np.uint32), np.rint(P.data / steps[row])
    words[at] = columns << np.uint32(bits) | shares.astype(np.uint32)
    return SparseRows(starts, words, steps.astype(np.float32), bits, 1.0)


def blobs(n, d, seed=0):
    rng = np.random.RandomState(seed)
    return (6 * rng.standard_normal((20, d)))[rng.randint(20, size=n)] + rng.standard_normal((n, d))


def graph(X, k):
    distances = cdist(X, X, "sqeuclidean")
    np.fill_diagonal(distances, np.inf)
    indices = np.argsort(distances, axis=1)[:, :k]
    return indices.astype(np.uint32), np.take_along_axis(distances, indices, 1).astype(np.float32)


def native(**parameters):
    defaults = {"backend": "native", "random_state": 0, "max_iter": 300}
    return ServerlessTSNE(**{**defaults, **parameters})


def mixture(n, d=8, seed=0):
    rng = np.random.RandomState(seed)
    centres = 4 * rng.standard_normal((12, d))
    return (centres[rng.randint(12, size=n)] + rng.standard_normal((n, d))).astype(np.float32)
