"""Stands in for CuPy, cuVS and cuML where there is no GPU.

Arrays are NumPy's under another type that refuses to be mixed with NumPy's own. Kernels are the
real source, compiled for the processor. cuVS's distances have the rounding of its formula.
``cuml.manifold.TSNE`` has exactly the signature of 26.10, refuses what that refuses, and does what
its sources do, self-affinities included, but sums repulsion pair by pair where cuML has its grid.
Not played: streams, memory that runs full by itself, the order of ties, cuML's other searches
(scikit-learn answers for them).
"""

import importlib.machinery
import sys
import types
import typing

import numpy as np
from fake_cupy import DeviceArray, RawModule, bare, make_cupy, make_cupyx, on_device

from tsne_backends.backends import cuml as backend_module
from tsne_backends.gpu import hardware, kernels
from tsne_backends.gpu.driver import LocalGpu

GPU = LocalGpu("NVIDIA L4", 24e9, "580.65.06", "8.9")


# cuVS.


def squared_distances(A, B):
    """As cuVS computes them: in single precision, by a product of matrices."""
    A, B = A.astype(np.float32), B.astype(np.float32)
    return (A * A).sum(axis=1)[:, None] - 2 * (A @ B.T) + (B * B).sum(axis=1)[None, :]


def nearest(queries, points, k):
    squared = np.concatenate(
        [squared_distances(queries[i : i + 64], points) for i in range(0, len(queries), 64)]
    )
    order = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(squared, order, axis=1)


class Resources:
    """``cuvs.common.Resources``: whoever passes one has to wait on both sides."""

    settled = True
    pending: typing.ClassVar = []

    @staticmethod
    def cupy_waited():
        Resources.settled = True

    def start(self):
        assert Resources.settled, "cuVS began before CuPy had ended"
        Resources.pending.append(self)

    def sync(self):
        Resources.pending.clear()
        Resources.settled = False  # what CuPy does from now on, the next search must wait for


class AllNeighborsParams:
    def __init__(
        self,
        *,
        algo="nn_descent",
        overlap_factor=2,
        n_clusters=1,
        metric="sqeuclidean",
        ivf_pq_params=None,
        nn_descent_params=None,
    ):
        assert algo in ("brute_force", "ivf_pq", "nn_descent")
        self.algo = algo


def make_cuvs(faults):
    all_neighbors = types.ModuleType("cuvs.neighbors.all_neighbors")
    brute_force = types.ModuleType("cuvs.neighbors.brute_force")

    def build(
        dataset,
        k,
        params,
        *,
        indices=None,
        distances=None,
        core_distances=None,
        alpha=1.0,
        resources=None,
    ):
        resources.start()
        assert isinstance(dataset, DeviceArray)
        assert dataset.dtype == np.float32
        assert indices.dtype == np.int64
        assert indices.shape == distances.shape == (len(dataset), k)
        if faults.get("memory"):
            raise RuntimeError("std::bad_alloc: out_of_memory: CUDA error")
        rows = bare(dataset)
        found, squared = nearest(rows, rows, k)
        assert params.algo == "brute_force"
        indices[...], distances[...] = on_device(found), on_device(squared.astype(np.float32))
        return indices, distances

    def build_index(dataset, metric="sqeuclidean", metric_arg=2.0, resources=None):
        resources.start()
        assert isinstance(dataset, DeviceArray)
        assert metric == "sqeuclidean"
        return bare(dataset)

    def search(index, queries, k, neighbors=None, distances=None, resources=None, prefilter=None):
        resources.start()
        found, squared = nearest(bare(queries), index, k)
        found = faults.get("near", lambda found: found)(found.copy())
        neighbors[...], distances[...] = on_device(found), on_device(squared.astype(np.float32))
        return distances, neighbors

    all_neighbors.AllNeighborsParams, all_neighbors.build = AllNeighborsParams, build
    brute_force.build, brute_force.search = build_index, search
    cuvs, neighbors = types.ModuleType("cuvs"), types.ModuleType("cuvs.neighbors")
    cuvs.neighbors = neighbors
    common = types.ModuleType("cuvs.common")
    cuvs.common, common.Resources = common, Resources
    for module in (all_neighbors, brute_force):
        setattr(neighbors, module.__name__.rpartition(".")[2], module)
    return [cuvs, common, neighbors, all_neighbors, brute_force]


# cuML 26.10.


class TSNE:
    """``cuml.manifold.TSNE`` of 26.10: signature, refusals, and its FFT method's arithmetic."""

    made = ()

    def __init__(
        self,
        *,
        n_components=2,
        perplexity=30.0,
        early_exaggeration=12.0,
        late_exaggeration=1.0,
        learning_rate=200.0,
        max_iter=1000,
        n_iter_without_progress=300,
        min_grad_norm=1e-07,
        metric="euclidean",
        metric_params=None,
        init="random",
        random_state=None,
        method="fft",
        angle=0.5,
        n_neighbors=90,
        perplexity_max_iter=100,
        exaggeration_iter=250,
        pre_momentum=0.5,
        post_momentum=0.8,
        learning_rate_method="adaptive",
        square_distances=True,
        precomputed_knn=None,
        verbose=False,
        output_type=None,
    ):
        vars(self).update({name: value for name, value in locals().items() if name != "self"})
        TSNE.made = (*TSNE.made, self)

    def fit_transform(self, X, y=None, *, knn_graph=None):
        assert X.dtype == np.float32
        n, d = X.shape
        self._check(n, d)
        indices, distances = knn_graph
        self._check_graph(indices, distances, n)
        k = self.n_neighbors
        distances[...] = distances / float(distances.max())  # in place, as there
        P = symmetric(bare(indices)[:, :k], conditional(bare(distances)[:, :k], self.perplexity))
        Y = principal_axes(bare(X).astype(float))
        Y *= 1e-4 / Y.std(axis=0)[0]
        return on_device(np.asfortranarray(self._descend(P, Y).astype(np.float32)))

    def _check(self, n, d):
        assert self.n_components == 2
        assert d >= 2, "ensure_min_features=2"
        assert n >= 2
        assert self.learning_rate_method in (None, "none"), "the stand-in does not adapt"
        for name in ("perplexity", "learning_rate", "n_neighbors", "max_iter"):
            assert getattr(self, name) > 0
        assert self.early_exaggeration >= 1 <= self.late_exaggeration
        assert 0 < self.pre_momentum < 1 > self.post_momentum > 0
        assert self.init in ("random", "pca")
        assert self.method == "fft"
        assert self.n_neighbors <= min(1023, n)
        assert self.random_state is None or self.random_state >= 0

    def _check_graph(self, indices, distances, n):
        assert indices.dtype == np.int64
        assert distances.dtype == np.float32
        assert indices.shape == distances.shape
        assert indices.shape[1] >= self.n_neighbors
        if not (bare(indices)[:, 0] == np.arange(n)).all():
            raise ValueError("Expected indices and distances to include self references")

    def _descend(self, P, Y):
        update, gains = np.zeros_like(Y), np.ones_like(Y)
        for iteration in range(self.max_iter):
            early = iteration < min(self.exaggeration_iter, self.max_iter)
            exaggeration = self.early_exaggeration if early else self.late_exaggeration
            rate = self.learning_rate if early else 2 * self.learning_rate
            momentum = self.pre_momentum if early else self.post_momentum
            difference = Y[:, None] - Y[None]
            q = 1 / (1 + (difference**2).sum(axis=2))
            Z = q.sum() - len(Y)
            gradient = exaggeration * ((P * q)[:, :, None] * difference).sum(axis=1)
            gradient -= ((q * q)[:, :, None] * difference).sum(axis=1) / Z
            flipped = np.signbit(gradient) != np.signbit(update)
            gains = np.maximum(np.where(flipped, gains + 0.2, gains * 0.8), 0.01)
            update = momentum * update - rate * gains * gradient
            Y = Y + update
        self.n_iter_ = self.max_iter
        return Y


def conditional(squared, perplexity):
    """cuML's bandwidth search, over every column that it is given, itself included."""
    squared = squared.astype(float)
    epsilon = np.finfo(np.float32).eps  # which cuML adds to every sum
    low, high = np.full(len(squared), -np.inf), np.full(len(squared), np.inf)
    beta = np.ones(len(squared))
    for _ in range(100):
        weights = np.exp(-squared * beta[:, None])
        total = weights.sum(axis=1) + epsilon
        p = weights / total[:, None]
        entropy = np.log(total) + beta * (squared * p).sum(axis=1)
        above = entropy > np.log(perplexity)
        low, high = np.where(above, beta, low), np.where(above, high, beta)
        beta = np.where(
            np.isinf(high), 2 * beta, np.where(np.isinf(low), beta / 2, (low + high) / 2)
        )
    return p


def symmetric(indices, p):
    n = len(indices)
    P = np.zeros((n, n))
    P[np.arange(n)[:, None], indices] = p
    return (P + P.T) / (2 * n)


def principal_axes(X):
    X = X - X.mean(axis=0)
    _, vectors = np.linalg.eigh(X.T @ X)
    return X @ vectors[:, ::-1][:, :2]


class NearestNeighbors:
    """``cuml.neighbors.NearestNeighbors``, brute force."""

    def __init__(
        self,
        *,
        n_neighbors=5,
        radius=1.0,
        verbose=False,
        algorithm="auto",
        metric="euclidean",
        p=2,
        algo_params=None,
        metric_params=None,
        n_jobs=None,
        output_type=None,
    ):
        assert algorithm == "brute"
        self.metric, self.p, self.k = metric, p, n_neighbors

    def fit(self, X):
        self.X = X
        return self

    def kneighbors(self, X):
        from sklearn.neighbors import NearestNeighbors as Exact

        assert isinstance(X, DeviceArray) or hasattr(X, "tocsr")
        search = Exact(n_neighbors=self.k, algorithm="brute", metric=self.metric, p=self.p)
        found = search.fit(bare(self.X)).kneighbors(bare(X))
        return on_device(found[0].astype(np.float32)), on_device(found[1])


def make_cuml():
    cuml, manifold = types.ModuleType("cuml"), types.ModuleType("cuml.manifold")
    neighbors = types.ModuleType("cuml.neighbors")
    manifold.TSNE, neighbors.NearestNeighbors = TSNE, NearestNeighbors
    cuml.manifold, cuml.neighbors = manifold, neighbors
    return [cuml, manifold, neighbors]


def install(monkeypatch, folder, release="26.10.0"):
    """Make this process believe in a GPU with RAPIDS; returns what can be made to go wrong."""
    faults = {}
    RawModule.folder = folder
    kernels._module.cache_clear()  # it belongs to the CuPy of another test
    TSNE.made = ()
    Resources.settled = True
    Resources.pending.clear()
    stand_ins = [make_cupy(GPU.name, Resources.cupy_waited), *make_cupyx()]
    for module in [*stand_ins, *make_cuvs(faults), *make_cuml()]:
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for module in (hardware, backend_module):
        monkeypatch.setattr(module, "installed_release", lambda: hardware.Release(release, 13))
    monkeypatch.setattr(hardware, "_gpus_once", lambda path: ((GPU,), ""))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return faults
