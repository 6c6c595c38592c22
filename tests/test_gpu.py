"""On a real GPU only: ``pytest -m gpu``. What a stand-in cannot tell."""

import numpy as np
import pytest

from benchmarks.gpu import PeakMemory
from tsne_backends import ServerlessTSNE, transfer
from tsne_backends.errors import GpuMemoryError
from tsne_backends.gpu.hardware import gpu_verdict
from tsne_backends.problem import Problem
from tsne_backends.quality import exact_graph, kl_divergence, neighbor_preservation
from tsne_backends.testing import BackendContract

VERDICT = gpu_verdict()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not VERDICT.ok, reason=f"needs a GPU with cuML: {VERDICT.reason}"),
]


class TestCumlOnItsGpu(BackendContract):
    name = "cuml"


def mixture(n, d=10, seed=0):
    rng = np.random.default_rng(seed)
    centres = 8 * rng.standard_normal((30, d))
    return (centres[rng.integers(30, size=n)] + rng.standard_normal((n, d))).astype(np.float32)


def fit(X, **changes):
    return ServerlessTSNE(**{"backend": "cuml", "random_state": 0, **changes}).fit(X)


@pytest.mark.parametrize("refine", [0, 250, "all"])
def test_the_picture_of_the_processor(refine):
    """Ours within 2 % of openTSNE's KL divergence; what cuML alone reaches is printed."""
    X = mixture(10_000)
    graph = exact_graph(X, 90)
    ours = fit(X, backend_options={"refine": refine})
    theirs = ServerlessTSNE(backend="opentsne", random_state=0).fit(X)
    one, other = (kl_divergence(X, fitted.embedding_, graph=graph) for fitted in (ours, theirs))
    print(f"refine={refine}: {one:.4f}, openTSNE {other:.4f}, {ours.timings_}")
    if refine == "all":
        assert one <= 1.02 * other
    assert ours.kl_divergence_ == pytest.approx(one, rel=1e-3)
    true = neighbor_preservation(X, ours.embedding_, graph=graph)
    error = ours.quality_["standard_error"]
    assert ours.quality_["neighbor_preservation"] == pytest.approx(true, abs=4 * error)


@pytest.mark.parametrize(
    ("n", "search"), [(5_000, "exact"), (20_000, "exact"), (150_000, "approximate")]
)
def test_a_seed_repeats_bit_by_bit(n, search):
    """Pair by pair, by grid, and with a search by cells; with many equal distances, too."""
    X = np.round(mixture(n), 1)
    first, again = (fit(X, max_iter=400, backend_options={"neighbors": search}) for _ in range(2))
    assert ("cells on the GPU" in first.details_["neighbours"]) == (search == "approximate")
    np.testing.assert_array_equal(first.embedding_, again.embedding_)


@pytest.mark.parametrize("d", [10, 50, 768])
def test_searches_reach_their_recall(d):
    from tsne_backends.gpu.neighbors import gpu_graph

    X = mixture(100_000, d)
    for search, least in (("exact", 0.995), ("approximate", 0.95)):
        graph = gpu_graph(Problem(100_000, d), X, 90, search)
        print(graph.search)
        assert float(graph.search.partition("recall ")[2][:5]) >= least


def test_rows_that_are_all_neighbours_of_one_another():
    """No edge comes in that is not a row's own: there is nothing to sort or sum."""
    X = mixture(300)
    ours = fit(X, method="exact")
    theirs = ServerlessTSNE(backend="sklearn", method="exact", random_state=0).fit(X)
    assert ours.details_["n_neighbors"] == 299
    assert ours.kl_divergence_ == pytest.approx(theirs.kl_divergence_, abs=0.05)


def test_data_of_cupy_and_torch_stay_where_they_are():
    cupy = pytest.importorskip("cupy")
    X = mixture(3_000)
    Y = fit(X, max_iter=300).embedding_
    there = ServerlessTSNE(backend="cuml", random_state=0, max_iter=300).fit_transform(
        cupy.asarray(X)
    )
    assert isinstance(there, cupy.ndarray)
    np.testing.assert_allclose(there.get(), Y, rtol=1e-3, atol=1e-2)
    torch = pytest.importorskip("torch")
    tensor = torch.as_tensor(X, device="cuda").requires_grad_()
    out = ServerlessTSNE(backend="cuml", random_state=0, max_iter=300).fit_transform(tensor)
    assert out.is_cuda


@pytest.mark.parametrize("refine", ["all", 250])
@pytest.mark.parametrize(("n", "d"), [(200_000, 10), (100_000, 768)])
def test_memory_stays_below_what_is_foretold(n, d, refine):
    X = mixture(n, d)
    fit(X[:2_000], max_iter=300)  # CUDA's context is there from now on
    peak = PeakMemory()
    with peak:
        fit(X, max_iter=300, backend_options={"refine": refine})
    n_bytes = peak.megabytes * 2**20
    assert n_bytes > 0
    foretold = transfer.gpu_bytes(Problem(n, d, options={"refine": refine}))
    print(f"{n} × {d}, refine={refine}: {n_bytes / 1e9:.2f} of {foretold / 1e9:.2f} GB")
    assert n_bytes <= foretold


def test_after_memory_ran_out_the_gpu_works():
    import cupy

    free, _ = cupy.cuda.runtime.memGetInfo()
    hog = cupy.cuda.alloc(int(free - 150e6))
    try:
        with pytest.raises(GpuMemoryError, match="memory of the GPU ran out"):
            fit(mixture(200_000))
    finally:
        del hog
        cupy.get_default_memory_pool().free_all_blocks()
    assert np.isfinite(fit(mixture(2_000), max_iter=300).embedding_).all()
