"""Frames: what was packed comes back, and whatever else arrives is refused with a sentence."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends_remote import wire
from tsne_backends import BackendError
from tsne_backends.errors import DamagedFrameError, VersionMismatchError

HEADER = {"codec": "raw", "layout": {"shape": [3, 4], "mean": 0.1, "name": "é"}}
BLOCKS = [b"abc", b"", bytes(range(256))]


@settings(max_examples=50, deadline=None)
@given(
    header=st.dictionaries(
        st.text(),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
    ),
    blocks=st.lists(st.binary(max_size=100), max_size=5),
)
def test_what_is_packed_comes_back(header, blocks):
    head, found = wire.unpack(wire.pack("data", header, blocks), "data")
    assert head.header == header
    assert [bytes(block) for block in found] == blocks


def test_blocks_are_views_of_what_arrived():
    frame = bytearray(wire.pack("data", HEADER, BLOCKS))
    _, found = wire.unpack(frame, "data")
    assert np.shares_memory(np.frombuffer(found[2], np.uint8), np.frombuffer(frame, np.uint8))


def test_a_seal_makes_the_head_of_the_same_frame():
    seal = wire.Seal()
    for block in BLOCKS:
        seal.add(block)
    assert seal.head("data", HEADER) + b"".join(BLOCKS) == wire.pack("data", HEADER, BLOCKS)


def test_the_digest_tells_frames_apart():
    digest = wire.read_head(wire.pack("data", HEADER, BLOCKS), "data").digest
    others = [
        wire.pack("data", {**HEADER, "codec": "float16"}, BLOCKS),
        wire.pack("data", HEADER, [*BLOCKS, b""]),
        wire.pack("data", HEADER, [b"ab", b"c", BLOCKS[2]]),
    ]
    assert len({digest, *(wire.read_head(other, "data").digest for other in others)}) == 4


@pytest.mark.parametrize("cut", [0, 3, 11, 12, 40, -1])
def test_a_frame_cut_short_is_refused(cut):
    with pytest.raises(DamagedFrameError, match=r"\."):
        wire.unpack(wire.pack("data", HEADER, BLOCKS)[:cut], "data")


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found(at, bit):
    frame = bytearray(wire.pack("data", HEADER, BLOCKS))
    frame[at % len(frame)] ^= 1 << bit
    with pytest.raises((DamagedFrameError, VersionMismatchError)):
        wire.unpack(frame, "data")


def test_a_flipped_bit_that_means_the_same_is_found():
    frame = wire.pack("data", {"rate": 1e-7})
    assert b"1e-07" in frame
    with pytest.raises(DamagedFrameError, match="not as it was written"):
        wire.unpack(frame.replace(b"1e-07", b"1E-07"), "data")


@settings(max_examples=300, deadline=None)
@given(noise=st.binary(max_size=300), has_prefix=st.booleans())
def test_noise_is_refused(noise, has_prefix):
    prefix = struct.pack(">4sHHI", wire.MAGIC, wire.PROTOCOL, 1, len(noise)) if has_prefix else b""
    with pytest.raises(DamagedFrameError):
        wire.unpack(prefix + noise, "data")


def hostile(text=None, **changes):
    """A frame whose header says something that nobody packs."""
    body = {"header": {}, "lengths": [], "sha256": "0" * 64, **changes}
    text = text or json.dumps(body).encode()
    return struct.pack(">4sHHI", wire.MAGIC, wire.PROTOCOL, 1, len(text)) + text


@pytest.mark.parametrize(
    "frame",
    [
        hostile(lengths=[-1]),
        hostile(lengths=[1 << 70]),
        hostile(lengths=[1e300]),
        hostile(lengths=[True]),
        hostile(lengths="many"),
        hostile(lengths=[0] * (wire.MAX_BLOCKS + 1)),
        hostile(lengths=[1 << 61]),
        hostile(header=[]),
        hostile(sha256=5),
        hostile(header={"x": float("nan")}),
        hostile(b'{"header": {"x": 1e999}, "lengths": [], "sha256": "0"}'),
        struct.pack(">4sHHI", wire.MAGIC, wire.PROTOCOL, 1, 0xFFFFFFFF),
        struct.pack(">4sHHI", wire.MAGIC, wire.PROTOCOL, 99, 2) + b"{}",
        struct.pack(">4sHHI", wire.MAGIC, wire.PROTOCOL, 1, 200_000) + b"[" * 200_000,
    ],
)
def test_hostile_heads_are_refused(frame):
    with pytest.raises(DamagedFrameError, match=r"\."):
        wire.unpack(frame, "data")


def test_another_protocol_is_told_what_to_do():
    frame = bytearray(wire.pack("data", HEADER))
    frame[5] += 1
    with pytest.raises(VersionMismatchError, match="serverless-tsne deploy"):
        wire.unpack(frame, "data")


def test_another_kind_is_refused():
    with pytest.raises(DamagedFrameError, match='"answer", but it is data'):
        wire.unpack(wire.pack("data", HEADER), "answer")
    assert issubclass(DamagedFrameError, BackendError)
