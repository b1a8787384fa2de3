"""Data in gzip, whole and damaged: what is read of it is all that zlib makes of it."""

from __future__ import annotations

import gzip
import io
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taiyi_ray.formats.gunzip import Gunzip

PLAIN = b"".join(b"%d\n" % (n * n) for n in range(10_000))
PACKED = gzip.compress(PLAIN)
# Without the time, so that the names of the tests are the same in all processes.
AB, C = gzip.compress(b"ab", mtime=0), gzip.compress(b"c", mtime=0)


def read(packed: bytes, size: int = 1 << 20) -> tuple[bytes, bool]:
    """What Gunzip reads, and whether it found damage."""
    stream = Gunzip(io.BytesIO(packed))
    data = b"".join(iter(lambda: stream.read(size), b""))
    assert stream.read(size) == b""
    return data, stream.damage is not None


def peer(packed: bytes) -> tuple[bytes, bool]:
    """The same of zlib, fed byte by byte."""
    member, data = zlib.decompressobj(wbits=31), b""
    try:
        for at in range(len(packed)):
            data += member.decompress(packed[at : at + 1])
    except zlib.error:
        return data, True
    return data, not member.eof and packed != b""  # nothing at all is not damaged


@pytest.mark.parametrize("size", [1, 1000, 1 << 20, -1])
@pytest.mark.parametrize(
    ("packed", "expected"),
    [
        (b"", (b"", False)),
        (gzip.compress(b"", mtime=0), (b"", False)),
        (AB + C, (b"abc", False)),
        (AB + bytes(40_000), (b"ab", False)),
        (AB + bytes(40_000) + C, (b"abc", False)),
        (AB + b"junk", (b"ab", True)),
        (AB[:-3], (b"ab", True)),
        (AB[:-8] + bytes(8), (b"ab", True)),
        (bytes(100), (b"", True)),
        (b"\x1f\x8b", (b"", True)),
        (b"junk", (b"", True)),
    ],
)
def test_members_and_what_is_no_member(
    packed: bytes, expected: tuple[bytes, bool], size: int
) -> None:
    assert read(packed, size) == expected


@pytest.mark.parametrize("size", [1000, 1 << 20, -1])
def test_a_long_stream(size: int) -> None:
    assert read(PACKED, size) == (PLAIN, False)
    zeros = gzip.compress(bytes(300_000))
    assert read(zeros + PACKED, size) == (bytes(300_000) + PLAIN, False)


def test_no_more_is_read_than_asked_for() -> None:
    stream = Gunzip(io.BytesIO(gzip.compress(bytes(100_000))))
    assert stream.read(0) == b""
    assert [len(stream.read(30_000)) for _ in range(5)] == [30_000, 30_000, 30_000, 10_000, 0]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(PACKED) - 1), st.binary(max_size=3), st.booleans())
@example(at=0, wrong=b"", cut=True)
def test_nothing_before_the_damage_is_lost(at: int, wrong: bytes, cut: bool) -> None:
    damaged = PACKED[:at] + wrong + (b"" if cut else PACKED[at + len(wrong) :])
    assert read(damaged) == peer(damaged)
