"""Byte order marks: none is left, what follows is UTF-8, whatever the encoding and the chunks."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taiyi_ray.formats.unmarked import unmarked, unmarked_bytes
from tests.formats.test_formats import Trickle


@given(
    # UTF-16 with its mark and a NUL first begins as UTF-32 does.
    st.text(max_size=12).filter(lambda text: not text.startswith(("\ufeff", "\0"))),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_any_text_with_a_mark_is_itself_in_utf_8(text, encoding, chunk, size):
    data = text.encode(encoding)
    assert unmarked_bytes(data) == text.encode()
    stream = unmarked(Trickle(data, chunk))
    assert stream.read(0) == b""
    assert b"".join(iter(lambda: stream.read(size), b"")) == text.encode()


@pytest.mark.parametrize("mark", [b"\xfe\xff", b"\x00\x00\xfe\xff"])
def test_big_endian(mark):
    encoding = "utf-16-be" if len(mark) == 2 else "utf-32-be"
    assert unmarked_bytes(mark + "é🧬".encode(encoding)) == "é🧬".encode()


@given(st.binary(max_size=12), st.integers(1, 5))
def test_any_bytes_are_read_and_those_without_a_mark_stay_as_they_are(data, chunk):
    found = unmarked_bytes(data)
    assert unmarked(Trickle(data, chunk)).read() == found
    if not data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")):
        assert found == data


@pytest.mark.parametrize("cut", [b"\xff\xfea\x00b", b"\xff\xfea\x00\x00\xd8"])
def test_what_an_encoding_does_not_know_is_not_valid_utf_8(cut):
    found = unmarked_bytes(cut)
    assert found.startswith(b"a")
    with pytest.raises(UnicodeDecodeError):
        found.decode()


def test_memory_holds_a_chunk_of_a_source():
    class Zeros(io.RawIOBase):
        most = 0

        def read(self, size: int = -1) -> bytes:
            Zeros.most = max(Zeros.most, size)
            return b"\xff\xfe" + b"a\0" * 1000 if size < 5 else b""

    stream = unmarked(Zeros())
    assert stream.read(10) == b"a" * 10
    assert Zeros.most <= 1 << 20
