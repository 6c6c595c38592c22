"""The codec: what arrives, what it loses, and what it makes of input that nobody encoded."""

import json

import numpy as np
import pytest
import scipy.sparse as sp
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances

from backends_remote import loss as losses
from backends_remote import packing, steps
from backends_remote.codec import (
    CodecError,
    choose_encoding,
    decode,
    encode_blocks,
    estimated_bytes,
)
from backends_remote.encoding import header_of

ROOMY = 2**30


def clusters(n=1500, d=24, seed=0, dtype=np.float32):
    """Rows around a few centres, with a decaying spectrum turned by a random rotation."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    centres = 3 * rng.normal(size=(8, d))
    rows = centres[rng.integers(8, size=n)] + rng.normal(size=(n, d))
    return (rows / np.arange(1, d + 1) ** 0.5 @ turn).astype(dtype)


def scattered(n=600, d=300, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    dense = rng.gamma(rng.gamma(0.5, 2.0, size=d), size=(n, d)) * (rng.random((n, d)) < 0.1)
    return sp.csr_matrix(dense.astype(dtype))


def sent(X, codec=None, k=30, max_bytes=ROOMY, **options):
    """Return the encoding, and X as it arrives; the header travels as JSON."""
    encoding = choose_encoding(X, k, codec=codec, **options)
    blocks = [memoryview(block) for block in encode_blocks(X, encoding)]
    header = json.loads(json.dumps(encoding.header))
    return encoding, decode(encoding.codec, header, blocks, max_bytes=max_bytes)


def true_loss(X, Y, k, metric="euclidean"):
    """Return the share of all neighbours of all rows that differ."""
    neighbors = []
    for rows in (X, Y):
        distances = pairwise_distances(np.asarray(rows, dtype=np.float64), metric=metric)
        np.fill_diagonal(distances, np.inf)
        neighbors.append(np.argpartition(distances, k - 1, axis=1)[:, :k])
    kept = [len(np.intersect1d(a, b)) for a, b in zip(*neighbors, strict=True)]
    return 1 - np.mean(kept) / k


@pytest.fixture
def small_blocks(monkeypatch):
    """Make blocks so small that a test's matrix has several."""
    monkeypatch.setattr("backends_remote.encoding.BLOCK_BYTES", 20_000)
    monkeypatch.setattr("backends_remote.encoding.LEAST_BLOCK_ROWS", 7)


SHAPES = [(1, 1), (1, 9), (9, 1), (2, 3), (700, 5), (333, 40)]


@pytest.mark.parametrize("codec", ["raw", "lossless"])
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4"])
@pytest.mark.parametrize("shape", SHAPES)
def test_lossless_is_bit_exact(small_blocks, codec, dtype, shape):
    X = np.random.default_rng(0).normal(size=shape).astype(dtype)
    X.flat[0] = -0.0
    encoding, Y = sent(X, codec)
    assert encoding.codec == codec
    assert encoding.loss == 0
    assert Y.dtype == np.dtype(dtype).newbyteorder("<")
    np.testing.assert_array_equal(
        Y.view(f"u{Y.itemsize}"), X.astype(Y.dtype).view(f"u{Y.itemsize}")
    )


@pytest.mark.parametrize("codec", ["raw", "lossless", "float16", "rotated"])
def test_layout_of_the_input_does_not_matter(small_blocks, codec):
    X = clusters(400, 12)
    _, expected = sent(X, codec)
    read_only = X.copy()
    read_only.flags.writeable = False
    wide = np.zeros((800, 24), dtype=np.float32)
    wide[::2, ::2] = X
    for same in (np.asfortranarray(X), wide[::2, ::2], read_only, X[::-1].copy()[::-1]):
        _, Y = sent(same, codec)
        np.testing.assert_array_equal(Y, expected)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rotated_keeps_its_promise(small_blocks, metric, dtype):
    X = clusters(dtype=dtype)
    encoding, Y = sent(X, "rotated", metric=metric, max_loss=0.05)
    truth = true_loss(X, Y, 30, metric)
    assert 0.02 < truth <= 0.055  # neither broken nor wasteful
    assert abs(encoding.loss - truth) < 0.01
    assert encoding.expected_bytes < X.nbytes / 2
    # Distances themselves are kept, not only their order.
    if metric == "euclidean":
        before, after = pairwise_distances(X[:200]), pairwise_distances(Y[:200])
        far = before > 0
        assert np.abs(after[far] / before[far] - 1).max() < 0.1


def test_expected_bytes_are_those_that_come(small_blocks):
    X = clusters(4_000, 32)
    for codec in ("raw", "lossless", "float16", "rotated"):
        encoding = choose_encoding(X, 30, codec=codec)
        size = sum(map(len, encode_blocks(X, encoding)))
        assert encoding.expected_bytes == pytest.approx(size, rel=0.1)


def test_sampled_loss_agrees_with_the_whole(monkeypatch):
    """With a third of the queries and a quarter of the rows as reference."""
    monkeypatch.setattr(losses, "REFERENCE_ROWS", 500)
    X = clusters(2_000, 16, seed=1)
    k = 60
    sample = losses.NeighborSample(X, k, "euclidean")
    assert sample.n_neighbors == 15
    shares = []
    for size in (0.01, 0.05, 0.12):
        noise = np.random.default_rng(3).normal(size=X.shape) * size
        Y = (X + noise).astype(np.float32)
        # The sample knows rows of X by value only.
        where = {row.tobytes(): place for place, row in enumerate(X)}
        found = sample.loss_of(lambda rows, Y=Y, where=where: Y[[where[r.tobytes()] for r in rows]])
        truth = true_loss(X, Y, k)
        assert found.share == pytest.approx(truth, abs=4 * found.error)
        assert found.error < 0.15 * truth
        shares.append(found.share)
    assert shares[0] < 0.05 < 0.15 < shares[-1]


def test_no_loss_allowed_means_bit_exact():
    X = clusters(6_000, 16)
    encoding, Y = sent(X, max_loss=0)
    assert encoding.codec == "lossless"
    np.testing.assert_array_equal(X, Y)


def test_smallest_candidate_is_used():
    X = clusters(6_000, 32)
    chosen = choose_encoding(X, 30)
    forced = {
        codec: choose_encoding(X, 30, codec=codec) for codec in ("lossless", "float16", "rotated")
    }
    assert chosen.codec == "rotated"
    assert chosen == forced["rotated"]
    assert forced["rotated"].expected_bytes < forced["float16"].expected_bytes
    assert forced["float16"].expected_bytes < forced["lossless"].expected_bytes


def test_small_matrices_are_sent_exactly():
    assert choose_encoding(clusters(100, 8), 30).codec == "lossless"


@pytest.mark.parametrize("metric", ["manhattan", "chebyshev", "correlation"])
def test_other_metrics_are_never_rotated(metric):
    X = clusters(3_000, 24)
    encoding, Y = sent(X, metric=metric)
    assert encoding.codec == "float16"
    assert true_loss(X[:500], Y[:500], 30, metric) <= 0.02


def test_unknown_metrics_are_sent_exactly():
    X = clusters(3_000, 24)
    assert choose_encoding(X, 30, metric="mahalanobis").codec == "lossless"
    assert choose_encoding(X, 30, metric="precomputed").codec == "lossless"


def test_half_precision_that_loses_too_much_is_not_used():
    """Offsets eat the digits that tell neighbours apart."""
    X = clusters(3_000, 24) + np.float32(1e4)
    assert choose_encoding(X, 30, metric="manhattan").codec == "lossless"
    assert choose_encoding(X, 30, codec="float16").loss > 0.1
    encoding, Y = sent(X, max_loss=0.05)  # but a rotation is centred
    assert encoding.codec == "rotated"
    assert true_loss(X[:800], Y[:800], 30) < 0.06


def test_equal_input_gives_equal_bytes():
    X = clusters(6_000, 32)
    first, second = (choose_encoding(X.copy(), 30) for _ in range(2))
    assert first == second
    one = b"".join(encode_blocks(X, first, n_threads=1))
    assert one == b"".join(encode_blocks(X, second, n_threads=3))


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
def test_constant_input(metric):
    # Large enough to be measured, and small.
    for n, codec in ((12_000, None), (300, "float16")):
        for value in (3.5, 0):
            constant = np.full((n, 6), value, dtype=np.float32)
            encoding, Y = sent(constant, codec, metric=metric)
            assert encoding.codec == (codec or "lossless")
            np.testing.assert_array_equal(Y, constant)


def test_many_equal_rows_are_not_merged_with_others():
    """The neighbours of each row are its copies: none tells how near others may come."""
    X = np.repeat(clusters(300, 24), 100, axis=0)
    encoding, Y = sent(X)
    assert encoding.codec == "lossless"
    np.testing.assert_array_equal(X, Y)


def test_all_axes_may_vanish():
    X = clusters(300, 6)
    encoding = choose_encoding(X, 30, codec="rotated")
    blocks = list(encode_blocks(np.tile(X.mean(axis=0), (300, 1)), encoding))
    Y = decode("rotated", encoding.header, blocks, max_bytes=ROOMY)
    assert Y.shape == (300, 1)
    assert not Y.any()


def test_rows_beyond_float32_do_not_spoil_the_block():
    X = clusters(2_000, 12)
    encoding = choose_encoding(X, 30, codec="rotated")
    expected = decode("rotated", encoding.header, list(encode_blocks(X, encoding)), max_bytes=ROOMY)
    X[700] = 3e38
    Y = decode("rotated", encoding.header, list(encode_blocks(X, encoding)), max_bytes=ROOMY)
    near = np.arange(2_000) != 700
    np.testing.assert_array_equal(Y[near], expected[near])
    assert np.isfinite(Y).all()
    assert np.abs(Y[700]).max() > 1e3 * np.abs(Y[near]).max()


def test_constant_columns_vanish():
    X = clusters(2_000, 10)
    wide = np.concatenate([X, np.full((2_000, 30), 7, dtype=np.float32)], axis=1)
    _, Y = sent(wide, "rotated")
    assert Y.shape[1] <= 10
    assert true_loss(wide, Y, 30) < 0.03


@pytest.mark.parametrize(
    ("dtype", "exponent"),
    [
        (np.float32, -36),
        (np.float32, 36),
        (np.float64, -290),
        (np.float64, -36),
        (np.float64, 36),
        (np.float64, 290),
    ],
)
@pytest.mark.parametrize("codec", ["float16", "rotated"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_extremes_of_magnitude(dtype, exponent, codec, metric):
    X = clusters(600, 12, dtype=np.float64)
    huge = (X * 10.0**exponent).astype(dtype)
    encoding, Y = sent(huge, codec, metric=metric, max_loss=0.05)
    assert np.isfinite(Y).all()
    assert encoding.loss <= 0.05
    if metric == "euclidean" or codec == "float16":
        Y = Y / 10.0**exponent
    assert true_loss(X, Y.astype(np.float64), 30, metric) < 0.06


def test_rows_unlike_the_sample_are_not_flattened(monkeypatch):
    """A small group differs along an axis that is all but constant in every sampled row."""
    monkeypatch.setattr("backends_remote.encoding.BLOCK_BYTES", 100_000)
    X = clusters(6_000, 24)
    X[:, -1] = 1e-6 * X[:, -1]
    encoding = choose_encoding(X, 30, codec="rotated")
    assert not encoding.kept.all()
    odd = X.copy()
    odd[5_000:5_050, -1] = np.linspace(0, 50, 50)
    blocks = list(encode_blocks(odd, encoding))
    Y = decode("rotated", encoding.header, blocks, max_bytes=ROOMY)
    before, after = pairwise_distances(odd[4_950:5_100]), pairwise_distances(Y[4_950:5_100])
    assert np.abs(before - after).max() < 2.0


def test_a_row_too_far_for_float32_is_sent_exactly():
    X = clusters(4_000, 24)
    X[700] = 3e38
    assert choose_encoding(X, 30).codec == "lossless"
    with pytest.raises(ValueError, match="lossless"):
        choose_encoding(X, 30, codec="rotated")


def test_clusters_apart_only_where_neighbours_agree_stay_apart():
    """Neighbours never differ in the last column, so that its step is the coarsest."""
    X = clusters(4_000, 24)
    label = np.random.default_rng(1).integers(2, size=len(X))
    X[:, -1] = 4 * label
    _, Y = sent(X, "rotated")
    assert true_loss(X[:1_500], Y[:1_500], 30) < 0.03


def test_steps_follow_the_differences_between_neighbours():
    rng = np.random.default_rng(0)
    groups = [rng.normal(size=(40, 3)) * [8, 1, 0] for _ in range(200)]
    quarters = steps.quarters_of(groups)
    assert abs(int(quarters[1] - quarters[0]) - 12) <= 1  # 8 times as coarse
    assert 20 < quarters[2] <= packing.MAX_QUARTERS


def test_one_far_row_does_not_break_the_others():
    X = clusters(2_000, 12)
    X[700] = 1e4
    encoding, Y = sent(X, "rotated", max_loss=0.05)
    assert np.isfinite(Y).all()
    assert encoding.loss <= 0.05
    near = np.arange(2_000) != 700
    assert true_loss(X[near], Y[near], 30) < 0.07


@pytest.mark.parametrize("limit", [1, 2, 7, 8, 127, 128, 255, 256, 32_768, 10**6, 2**30 - 64])
def test_codes_of_every_size_survive(limit):
    rng = np.random.default_rng(limit)
    codes = np.rint(rng.uniform(-1, 1, size=(3, 101)) * limit).astype(np.float32)
    codes[0, :2] = limit, -limit
    codes[1] = 0
    axes = np.array([0, 2, 3])
    block = memoryview(packing.pack_codes(codes, axes, 5))
    kinds = np.frombuffer(block[:5], dtype=np.uint8)
    assert kinds[1] == kinds[2] == kinds[4] == 0
    out = np.full((5, 101), 0, dtype=np.float32)
    packing.unpack_codes(block, kinds, out, np.arange(5))
    np.testing.assert_array_equal(out[axes], codes)


# Sparse matrices


@pytest.mark.parametrize("codec", ["raw", "lossless"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_stays_sparse(small_blocks, codec, dtype):
    X = scattered(dtype=dtype)
    X.data[5:40] = 0  # explicit zeros
    X = sp.vstack([X, sp.csr_matrix((3, X.shape[1]), dtype=dtype)]).tocsr()  # empty rows
    _, Y = sent(X, codec)
    assert Y.format == "csr"
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(X, part), getattr(Y, part))
    assert Y.dtype == dtype
    assert Y.shape == X.shape


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_sparse_half_precision(metric):
    X = scattered(2_000, 300)
    encoding, Y = sent(X, metric=metric)
    assert encoding.codec == "float16"
    assert 0 <= encoding.loss <= 0.02
    assert Y.nnz == X.nnz
    assert abs(X - Y).max() < 1e-2
    assert true_loss(X.toarray()[:600], Y.toarray()[:600], 30, metric) <= 0.03


@pytest.mark.parametrize("codec", ["raw", "lossless", "float16"])
def test_sparse_without_entries(codec):
    _, Y = sent(sp.csr_matrix((50, 9), dtype=np.float32), codec)
    assert Y.shape == (50, 9)
    assert Y.nnz == 0


def test_sparse_unsorted_and_repeated_indices():
    indices = np.array([7, 0, 3, 3, 9], dtype=np.int64)
    data = np.arange(5, dtype=np.float32)
    X = sp.csr_matrix((data, indices, np.array([0, 3, 3, 5])), shape=(3, 10))
    _, Y = sent(X, "lossless")
    np.testing.assert_array_equal(Y.indices, indices)
    np.testing.assert_array_equal(Y.data, data)


# What is refused


@pytest.mark.parametrize(
    ("X", "options", "word"),
    [
        (clusters(50).astype(np.float16), {}, "float32"),
        (clusters(50).tolist(), {}, "NumPy"),
        (clusters(50)[0], {}, "shape"),
        (clusters(50)[:0], {}, "shape"),
        (scattered(50).tocsc(), {}, "CSR"),
        (clusters(50), {"max_loss": 0.9}, "max_loss"),
        (clusters(50), {"codec": "zip"}, "codec"),
        (clusters(50), {"codec": "rotated", "max_loss": 0}, "lossless"),
        (clusters(50), {"codec": "rotated", "metric": "manhattan"}, "lossless"),
        (clusters(50), {"codec": "float16", "metric": "mahalanobis"}, "lossless"),
        (clusters(5), {"codec": "rotated"}, "lossless"),
        (scattered(50), {"codec": "rotated"}, "lossless"),
        (clusters(50), {"k": 0}, "n_neighbors"),
    ],
)
def test_refusals_are_sentences(X, options, word):
    with pytest.raises(ValueError, match=word) as refusal:
        sent(X, **options)
    assert str(refusal.value).endswith(".")


def encoded(codec, sparse=False):
    X = scattered(200, 40) if sparse else clusters(200, 8)
    X = X.astype(np.float32)
    encoding = choose_encoding(X, 10, codec=codec)
    return codec, encoding.header, list(encode_blocks(X, encoding))


ENCODED = [encoded(codec) for codec in ("raw", "lossless", "float16", "rotated")]
ENCODED += [encoded(codec, sparse=True) for codec in ("raw", "lossless", "float16")]


@pytest.mark.parametrize("example", ENCODED)
def test_memory_is_bounded_before_it_is_taken(example):
    codec, header, blocks = example
    decode(codec, header, blocks, max_bytes=ROOMY)
    with pytest.raises(CodecError, match="allowed"):
        decode(codec, header, blocks, max_bytes=1_000)
    for key in ("block_rows", "chunk", "nnz"):
        if key in header:
            with pytest.raises(CodecError):
                decode(codec, header | {key: 2**48}, blocks, max_bytes=10**6)
    with pytest.raises(CodecError):
        decode(codec, header | {"shape": [2**48, 2**48]}, blocks, max_bytes=ROOMY)


def test_a_bomb_is_refused_by_what_it_declares():
    codec, header, blocks = ENCODED[1]
    bomb = packing.compress(np.zeros(10**8, dtype=np.uint8), packing.MATCHES)
    n_frames = 4 if header["shuffle"] else 1
    with pytest.raises(CodecError, match="declares"):
        decode(codec, header, [packing.join([bomb] * n_frames)], max_bytes=ROOMY)
    undeclared = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(10**8))
    with pytest.raises(CodecError, match="declares"):
        decode(codec, header, [packing.join([undeclared] * n_frames)], max_bytes=ROOMY)
    frames = [bytes(frame) + b"more" for frame in packing.split(memoryview(blocks[0]), n_frames)]
    with pytest.raises(CodecError, match="damaged"):
        decode(codec, header, [packing.join(frames)], max_bytes=ROOMY)


def test_column_indices_are_checked():
    codec, header, blocks = ENCODED[4]
    with pytest.raises(CodecError, match="column index"):
        decode(codec, header | {"shape": [200, 3]}, blocks, max_bytes=ROOMY)


def test_blocks_must_be_as_many_as_the_header_says():
    for codec, header, blocks in ENCODED:
        for others in (blocks[:-1], [*blocks, blocks[-1]], []):
            with pytest.raises(CodecError):
                decode(codec, header, others, max_bytes=ROOMY)


odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 300),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["<f2", "<f4", "<f8", "<i4", "<i8", "O", "<U9"]),
    st.lists(st.integers(-5, 2**50), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_hostile_input_is_refused_or_read(data):
    """Any mutation raises CodecError or gives a matrix within the limit; nothing else happens."""
    codec, header, blocks = data.draw(st.sampled_from(ENCODED))
    header, blocks = dict(header), [bytearray(block) for block in blocks]
    if data.draw(st.booleans()):
        for key in data.draw(st.lists(st.sampled_from(sorted(header)), max_size=2)):
            if data.draw(st.booleans()):
                header[key] = data.draw(odd_values)
            else:
                del header[key]
                break
    if data.draw(st.booleans()):
        codec = data.draw(st.sampled_from(["raw", "lossless", "float16", "rotated", "x", None]))
    for _ in range(data.draw(st.integers(0, 4))):
        block = data.draw(st.sampled_from(blocks))
        if block:
            last = len(block) - 1
            place = data.draw(st.integers(0, last) | st.integers(0, min(60, last)))
            if data.draw(st.booleans()):
                block[place] = data.draw(st.integers(0, 255))
            else:
                del block[place : place + data.draw(st.integers(1, 40))]
    limit = 2_000_000
    try:
        result = decode(codec, header, [bytes(block) for block in blocks], max_bytes=limit)
    except CodecError:
        pass  # any other exception fails the test
    else:
        size = result.nnz if sp.issparse(result) else result.size
        assert size * result.dtype.itemsize <= limit


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=3), st.sampled_from(ENCODED))
def test_noise_is_refused(noise, example):
    codec, header, _ = example
    with pytest.raises(CodecError):
        decode(codec, header, noise, max_bytes=ROOMY)


def test_headers_are_plain_values():
    header = header_of(clusters(30))
    assert json.loads(json.dumps(header)) == header


def test_estimate_before_the_data_is_of_the_right_size():
    X = clusters(8_000, 48)
    for max_loss in (0.0, 0.01, 0.05):
        real = choose_encoding(X, 90, max_loss=max_loss).expected_bytes
        guess = estimated_bytes(*X.shape, 4, max_loss=max_loss, metric="euclidean")
        assert 0.6 < guess / real < 1.7
    S = scattered(4_000)
    guess = estimated_bytes(*S.shape, 4, max_loss=0.02, metric="cosine", is_sparse=True, nnz=S.nnz)
    assert 0.4 < guess / choose_encoding(S, 90, metric="cosine").expected_bytes < 4
