"""Data that lie on a GPU: used in place, checked like any other, answered in kind."""

import pickle
import sys
import types

import numpy as np
import pytest

from tsne_backends import ServerlessTSNE
from tsne_backends.backends.cuml import CumlBackend
from tsne_backends.gpu.arrays import from_gpu, in_kind, is_on_gpu


def blobs(n=200, d=6):
    rng = np.random.RandomState(0)
    return (8 * rng.standard_normal((3, d))[np.arange(n) % 3] + rng.standard_normal((n, d))).astype(
        np.float32
    )


@pytest.fixture
def cupy(gpu):
    return sys.modules["cupy"]


def fitting(**changes):
    return ServerlessTSNE(**{"backend": "cuml", "random_state": 0, "max_iter": 250, **changes})


class Tensor:
    """What torch's tensors on a GPU are to us; with gradients, CUDA's interface fails."""

    def __init__(self, values, on_gpu=True):
        self.payload = np.asarray(values)
        self.device = "cuda:0" if on_gpu else "cpu"
        self.shape, self.dtype = self.payload.shape, self.payload.dtype
        self.detached = False

    def __dlpack_device__(self):
        return (2, 0) if self.device == "cuda:0" else (1, 0)

    def __dlpack__(self, **_):
        assert self.detached, "a tensor with gradients hands out nothing"

    @property
    def __cuda_array_interface__(self):
        raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad.")

    def detach(self):
        other = Tensor(self.payload)
        other.detached = True
        return other

    def __array__(self, *args, **kwargs):
        return self.payload


Tensor.__module__ = "torch"


class Frame:
    """What a cuDF frame is to us."""

    def __init__(self, values, columns=None, index=None):
        self.values = values
        self.columns, self.index = columns, index

    def to_cupy(self):
        return sys.modules["cupy"].asarray(self.values)

    def to_pandas(self):
        import pandas

        return pandas.DataFrame(self.values, columns=self.columns, index=self.index)


Frame.__module__ = "cudf.core.dataframe"


def test_what_lies_on_a_gpu(cupy):
    from scipy.sparse import csr_matrix

    assert is_on_gpu(cupy.asarray(blobs()))
    assert is_on_gpu(Tensor(blobs()))
    assert is_on_gpu(Frame(blobs()))
    for other in (blobs(), Tensor(blobs(), on_gpu=False), [[1.0]], csr_matrix(blobs()), None):
        assert not is_on_gpu(other)
        assert from_gpu(other) is other


def test_arrays_on_the_gpu_make_no_round_trip(cupy, monkeypatch):
    X = blobs()
    device = cupy.asarray(X)
    fetched = []
    as_before = cupy.asnumpy

    def asnumpy(array):
        fetched.append(array.shape)
        return as_before(array)

    monkeypatch.setattr(cupy, "asnumpy", asnumpy)
    tsne = fitting()
    Y = tsne.fit_transform(device)
    assert X.shape not in fetched
    assert isinstance(Y, cupy.ndarray)
    assert type(tsne.embedding_) is np.ndarray
    np.testing.assert_array_equal(Y.get(), tsne.embedding_)
    np.testing.assert_array_equal(fitting().fit_transform(X), tsne.embedding_)
    assert type(fitting().fit_transform(X)) is np.ndarray, "host in, host out"


def test_a_model_of_data_on_a_gpu_loads_where_there_is_none(cupy):
    tsne = fitting().fit(cupy.asarray(blobs()))
    copy = pickle.loads(pickle.dumps(tsne))
    assert type(copy._fit_X) is np.ndarray
    np.testing.assert_array_equal(copy.transform(blobs()), tsne.embedding_)
    np.testing.assert_array_equal(tsne.transform(cupy.asarray(blobs())), tsne.embedding_)


def test_other_backends_get_a_copy_in_memory(cupy):
    X = blobs()
    there = fitting(backend="opentsne").fit_transform(cupy.asarray(X))
    here = fitting(backend="opentsne").fit_transform(X)
    assert isinstance(there, cupy.ndarray)
    np.testing.assert_array_equal(there.get(), here)


def test_torch_tensors(cupy, monkeypatch):
    made = []
    torch = types.SimpleNamespace(as_tensor=lambda a, device: made.append((a, device)) or "tensor")
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert fitting().fit_transform(Tensor(blobs())) == "tensor"
    ((coordinates, device),) = made
    assert coordinates.shape == (200, 2)
    assert device == "cuda:0"


def test_cudf_frames_keep_names_and_index(cupy, monkeypatch):
    monkeypatch.setitem(
        sys.modules, "cudf", types.SimpleNamespace(DataFrame=lambda a, index: Frame(a, index=index))
    )
    names, index = [f"gene {i}" for i in range(6)], list("ab" * 100)
    frame = Frame(blobs(), names, index)
    tsne = fitting()
    out = tsne.fit_transform(frame)
    assert isinstance(out, Frame)
    assert out.index == index
    assert list(tsne.feature_names_in_) == names
    assert tsne.n_features_in_ == 6
    with pytest.raises(ValueError, match="feature names"):
        tsne.transform(Frame(blobs(), names[::-1]))
    nameless = fitting().fit(Frame(blobs(), list(range(6))))
    assert not hasattr(nameless, "feature_names_in_")


def test_set_output_is_obeyed(cupy):
    tsne = fitting().set_output(transform="pandas")
    assert list(tsne.fit_transform(cupy.asarray(blobs())).columns) == [
        "serverlesstsne0",
        "serverlesstsne1",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda X: X[0], "Expected 2D array, got 1D"),
        (lambda X: X[:1], "at least 2 samples"),
        (lambda X: X[:, :0], "0 feature"),
        (lambda X: X.astype(np.complex64), "Complex data not supported"),
        (lambda X: np.where(X > 5, np.nan, X), "NaN or infinity"),
        (lambda X: X[:20], "perplexity"),
    ],
)
def test_bad_data_on_a_gpu_are_refused_before_work(cupy, change, words, monkeypatch):
    monkeypatch.setattr(CumlBackend, "embed", lambda *_: pytest.fail("work began"))
    with pytest.raises(ValueError, match=words):
        fitting().fit(cupy.asarray(change(blobs())))


def test_types_become_those_of_scikit_learn(cupy):
    for kind in (np.float16, np.int32, np.uint8):
        assert np.isfinite(fitting().fit(cupy.asarray(blobs().astype(kind))).embedding_).all()
    double = fitting().fit(cupy.asarray(blobs().astype(np.float64)))
    assert double._fit_X.dtype == np.float64


def test_distances_on_a_gpu_are_for_the_processor(cupy):
    from sklearn.metrics import pairwise_distances

    D = cupy.asarray(pairwise_distances(blobs()))
    fitted = fitting(backend="auto", metric="precomputed", init="random").fit(D)
    assert fitted.backend_ == "native"


def test_a_kind_without_a_way_back_gets_cupys(cupy):
    Other = type("Other", (Tensor,), {"__module__": "elsewhere"})
    there = in_kind(np.zeros((3, 2), np.float32), Other(blobs()))
    assert isinstance(there, cupy.ndarray)


def test_plans_of_data_on_a_gpu(cupy):
    plan = fitting(backend="auto").plan(cupy.asarray(blobs()))
    assert "cuml" in plan.order
