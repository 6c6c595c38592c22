"""The service believes nothing: real maps for honest requests, a named refusal for any other."""

import gc
import os
import re
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends_remote import service as service_module
from backends_remote import wire
from backends_remote.codec import choose_encoding, encode_blocks
from backends_remote.failures import refusal
from backends_remote.kept import KeptData
from backends_remote.place import Place
from backends_remote.request import FIELDS, parameters_of
from backends_remote.service import MAX_REQUEST_BYTES, Service
from tsne_backends import Problem, __version__, register_backend
from tsne_backends.backends.opentsne import OpenTSNEBackend
from tsne_backends.errors import (
    BackendUnavailableError,
    EngineMissingError,
    GpuMemoryError,
    RemoteError,
)
from tsne_backends.gpu.driver import LocalGpu
from tsne_backends.registry import unregister_backend


@pytest.fixture(scope="module")
def X():
    from sklearn.datasets import load_digits

    # A little noise, because rows at equal distances may be found in any order.
    noise = np.random.default_rng(0).normal(scale=1e-3, size=(200, 64))
    return (load_digits().data[:200] + noise).astype(np.float32)


def framed(X, **choice):
    encoding = choose_encoding(X, 30, **choice)
    header = {"codec": encoding.codec, "layout": encoding.header}
    return wire.pack("data", header, encode_blocks(X, encoding))


@pytest.fixture(scope="module")
def frame(X):
    return framed(X)


def asked(frame, parameters=None, **changes):
    """A request for a map of framed data."""
    digest = wire.read_head(frame, "data").digest
    problem = Problem(200, 64, perplexity=10.0, max_iter=250)
    header = {
        "version": __version__,
        "parameters": {**parameters_of(problem), **(parameters or {})},
        "data": {"digest": digest, "place": "inline", "parts": []},
        "max_seconds": None,
    }
    return wire.pack("request", {**header, **changes})


@pytest.fixture(scope="module")
def service():
    return Service(("opentsne",))


def answer_of(frame):
    head, blocks = wire.unpack(frame, "answer")
    return head.header, blocks


def refused(frame, name):
    header, blocks = answer_of(frame)
    assert header["status"] == "refused", header
    assert header["error"] == name, header
    assert header["message"].endswith((".", "?")), header
    assert not blocks
    return header["message"]


def test_an_honest_request_gets_a_map(service, X):
    data = framed(X)
    header, blocks = answer_of(service.embed(asked(data), data))
    Y = np.frombuffer(blocks[0], "<f4").reshape(header["shape"])
    assert Y.shape == (200, 2)
    assert np.ptp(Y) > 1e-3
    assert header["n_iter"] == 250
    assert header["kl_divergence"] > 0
    assert header["version"] == __version__
    assert header["details"]["engine"].startswith("openTSNE")
    assert {"decoding", "neighbours", "optimisation"} <= set(header["seconds"])


def test_data_are_kept_and_a_smaller_graph_is_cut_from_a_larger(X):
    service = Service(("opentsne",))
    data = framed(X, codec="raw")
    assert answer_of(service.embed(asked(data), b""))[0]["status"] == "data needed"
    service.embed(asked(data), data)
    again = asked(data, {"perplexity": 5.0})
    kept, blocks = answer_of(service.embed(again, b""))
    fresh, expected = answer_of(Service(("opentsne",)).embed(again, data))
    assert kept["status"] == fresh["status"] == "done"
    assert bytes(blocks[0]) == bytes(expected[0])
    assert kept["seconds"]["decoding"] < 0.01


def test_the_oldest_data_are_forgotten_first():
    kept = KeptData(max_bytes=1000)
    for name in "abc":
        kept.put(name, np.zeros(100, np.float32))
    assert "a" not in kept
    kept.get("b")
    kept.put("d", np.zeros(100, np.float32))
    assert "b" in kept
    assert "c" not in kept


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"perplexity": 1e9}, "perplexity"),
        ({"perplexity": -1}, "perplexity"),
        ({"perplexity": True}, "perplexity"),
        ({"max_iter": 10**12}, "max_iter"),
        ({"max_iter": 250.5}, "max_iter"),
        ({"n_components": 10**6}, "n_components"),
        ({"metric": "__import__('os')"}, "metric"),
        ({"metric": ["euclidean"]}, "metric"),
        ({"metric_params": {"p": "2"}}, "metric_params"),
        ({"init": [[0, 0]]}, "init"),
        ({"learning_rate": 1e-300}, "learning_rate"),
        ({"seed": -1}, "seed"),
        ({"angle": 7}, "angle"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_every_parameter_is_checked(service, X, parameters, words):
    data = framed(X)
    assert words in refused(service.embed(asked(data, parameters), data), "unsupported")


def test_a_missing_parameter_is_refused(service, X):
    data = framed(X)
    request = asked(data)
    header = dict(wire.read_head(request, "request").header)
    header["parameters"] = dict.fromkeys(list(FIELDS)[1:], 1)
    assert "lacks" in refused(service.embed(wire.pack("request", header), data), "unsupported")
    header["parameters"] = None
    refused(service.embed(wire.pack("request", header), data), "unsupported")


def test_another_version_is_told_to_deploy(service, X):
    data = framed(X)
    words = refused(service.embed(asked(data, version="0.0.9"), data), "version")
    assert "0.0.9" in words
    assert "serverless-tsne deploy" in words


def test_limits_are_kept(X):
    data = framed(X, codec="raw")
    small = Service(("opentsne",), max_frame_bytes=1000)
    assert "1000 bytes" in refused(small.embed(asked(data), data), "too large")
    narrow = Service(("opentsne",), max_data_bytes=1000)
    refused(narrow.embed(asked(data), data), "damaged")
    refused(small.embed(b"x" * (MAX_REQUEST_BYTES + 1), data), "too large")


def test_values_that_are_not_finite_are_refused(service, X):
    broken = X.copy()
    broken[3, 5] = np.nan
    data = framed(broken, codec="raw")
    assert "NaN" in refused(service.embed(asked(data), data), "unsupported")


class Greedy(OpenTSNEBackend):
    name = "greedy"

    def embed(self, problem, X, run):
        raise MemoryError("std::bad_alloc")


def test_memory_that_runs_out_is_told_with_the_size_that_fits(X, monkeypatch):
    register_backend("greedy", Greedy)
    try:
        data = framed(X)
        words = refused(Service(("greedy",)).embed(asked(data), data), "memory")
        assert "fewer rows" in words
        tiny = LocalGpu("Tesla T4", 1e5, "580.0")
        monkeypatch.setattr(service_module, "find_gpus", lambda: ([tiny], ""))
        words = refused(Service(("greedy",)).embed(asked(data), data), "memory")
        assert re.search(r"about \d+ rows fit", words)
    finally:
        unregister_backend("greedy")
    error = refusal({"error": "memory", "message": words})
    assert isinstance(error, GpuMemoryError)
    assert "rows fit" in str(error)


@pytest.mark.parametrize(
    ("trouble", "name", "named", "words"),
    [
        (
            BackendUnavailableError("libcuvs is missing."),
            "no engine",
            EngineMissingError,
            "libcuvs",
        ),
        (KeyError("x"), "failed", RemoteError, "KeyError ('x')"),
    ],
)
def test_trouble_inside_the_engine(X, caplog, trouble, name, named, words):
    """What an engine cannot load is no fault of the problem; what has no name is logged whole."""

    class Troubled(OpenTSNEBackend):
        def embed(self, problem, X, run):
            raise trouble

    register_backend("troubled", Troubled)
    try:
        message = refused(Service(("troubled",)).embed(asked(framed(X)), framed(X)), name)
    finally:
        unregister_backend("troubled")
    assert words in message
    error = refusal({"error": name, "message": message})
    assert type(error) is named
    assert str(error).endswith(".")
    if named is RemoteError:
        assert caplog.records[-1].exc_info[1] is trouble
        assert "modal app logs serverless-tsne" in str(error)


def test_an_answer_without_sense_is_still_an_error():
    assert "did not say why" in str(refusal({}))
    assert isinstance(refusal({"error": ["odd"], "message": 5}), RemoteError)


@pytest.mark.parametrize("digest", ["../../etc", "A" * 64, 5, None, "0" * 63])
def test_a_digest_is_no_path(service, X, digest):
    data = framed(X)
    request = asked(data, data={"digest": digest, "place": "volume", "parts": [1]})
    refused(service.embed(request, b""), "damaged")


def test_data_of_another_request_are_refused(X):
    request = asked(framed(X, codec="raw"))
    other = framed(X + 1, codec="raw")
    refused(Service(("opentsne",)).embed(request, other), "damaged")


def test_the_time_that_is_paid_for_ends_a_run(service, X):
    data = framed(X)
    refused(service.embed(asked(data, max_seconds=1e-6), data), "cost limit")
    refused(service.embed(asked(data, max_seconds=-1), data), "damaged")


def test_a_container_without_engine_says_so(X):
    data = framed(X)
    words = refused(Service(("no_such_engine",)).embed(asked(data), data), "no engine")
    assert "no_such_engine" in words


def test_data_are_read_from_the_volume(tmp_path, X):
    data = framed(X, codec="raw")
    head = wire.read_head(data, "data")
    folder = tmp_path / head.digest
    parts = [data[: head.n_bytes], data[head.n_bytes :]]
    service = Service(("opentsne",), Place(tmp_path))
    place = {"digest": head.digest, "place": "volume", "parts": [len(part) for part in parts]}
    request = asked(data, data=place)
    assert answer_of(service.embed(request, b""))[0]["status"] == "data needed"
    folder.mkdir()
    for number, part in enumerate(parts):
        (folder / f"{number:05d}").write_bytes(part)
    assert answer_of(service.embed(request, b""))[0]["status"] == "done"
    (folder / "00001").write_bytes(parts[1][:-1] + b"\xff")
    fresh = Service(("opentsne",), Place(tmp_path))
    # What is damaged on the volume is removed, so that the client sends it again.
    assert answer_of(fresh.embed(request, b""))[0]["status"] == "data needed"
    assert not folder.exists()
    for wrong in ([len(parts[0])], [*place["parts"], 0], ["x"], "many", [10**30]):
        fresh.embed(asked(data, data={**place, "parts": wrong}), b"")  # whatever, but no crash


def test_old_data_go_when_a_container_starts(tmp_path):
    for name, age in (("old", 8), ("new", 6)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "00000").write_bytes(b"head")
        at = time.time() - age * 86400
        os.utime(tmp_path / name / "00000", (at, at))
    Service(("opentsne",), Place(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    Service(("opentsne",), Place(tmp_path / "nothing uploaded yet"))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(at=st.integers(0, 10**6), noise=st.binary(min_size=1, max_size=8), of_data=st.booleans())
def test_mutations_never_crash_it(service, frame, at, noise, of_data):
    data, request = bytearray(frame), bytearray(asked(frame))
    broken = data if of_data else request
    at %= len(broken)
    broken[at : at + len(noise)] = noise
    answer_of(service.embed(bytes(request), bytes(data)))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    codec=st.sampled_from(["raw", "lossless", "float16", "rotated", "other", 5, None]),
    layout=st.recursive(
        st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["shape", "dtype", "block_rows", "step", "rows", "groups", "kind"]),
                inner,
                max_size=6,
            )
        ),
    ),
    blocks=st.lists(st.binary(max_size=64), max_size=3),
)
def test_hostile_layouts_never_crash_it(service, codec, layout, blocks):
    data = wire.pack("data", {"codec": codec, "layout": layout}, blocks)
    header, _ = answer_of(service.embed(asked(data), data))
    assert header["status"] == "refused"


def test_a_bomb_is_not_inflated(service, X):
    """A layout that promises a hundred gigabytes costs no memory."""
    encoding = choose_encoding(X, 30, codec="lossless")
    blocks = list(encode_blocks(X, encoding))
    bombs = []
    for shape in ([10**9, 25], [1 << 62, 1 << 62], [200, 10**8]):
        layout = {**encoding.header, "shape": shape}
        bombs.append(wire.pack("data", {"codec": "lossless", "layout": layout}, blocks))
    gc.collect()
    tracemalloc.start()
    for bomb in bombs:
        refused(service.embed(asked(bomb), bomb), "damaged")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


def test_the_engine_of_the_service_is_the_gpu_backend(gpu, X, frame):
    """On a container with RAPIDS, played by the processor: same module, same map as locally."""
    from tsne_backends import ServerlessTSNE

    service = Service()
    header, blocks = answer_of(service.embed(asked(frame, {"seed": 3}), frame))
    assert header["status"] == "done", header
    assert header["backend"] == "cuml"
    assert header["details"]["neighbours"].startswith("brute force on the GPU")
    assert 0 < header["quality"]["neighbor_preservation"] < 1
    assert "engine" in wire.unpack(service.wake(), "answer")[0].header
    there = np.frombuffer(blocks[0], "<f4").reshape(200, 2)
    here = ServerlessTSNE(backend="cuml", perplexity=10, max_iter=250, random_state=3)
    assert np.corrcoef(there[:, 0], here.fit_transform(X)[:, 0])[0, 1] > 0.5
    # With a limit in seconds the run is watched, and ended.
    late = asked(frame, {"max_iter": 100_000}, max_seconds=0.5)
    refused(service.embed(late, frame), "cost limit")


def test_a_gpu_that_runs_out_of_memory_is_told_as_such(gpu, frame):
    gpu["memory"] = True
    message = refused(Service().embed(asked(frame), frame), "memory")
    assert "Memory ran out" in message or "rows fit" in message


def test_automatic_iterations_travel_as_a_number():
    assert parameters_of(Problem(100, 5, max_iter="auto"))["max_iter"] == 1000
    assert parameters_of(Problem(100, 5, max_iter=400))["max_iter"] == 400
