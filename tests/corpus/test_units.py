"""Units: cut out of records, committed whole, once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taiyi_ray import storage
from taiyi_ray.corpus.units import UNIT_BYTES, Unit, Units, cut


@pytest.mark.parametrize(
    ("sizes", "first", "most", "units"),
    [
        ([], 0, 10, []),
        ([5], 0, 1, [(0, 0)]),
        ([5] * 5, 0, 2, [(0, 1), (2, 3), (4, 4)]),
        ([5] * 3, 100, 2, [(100, 101), (102, 102)]),
        ([UNIT_BYTES, 1, 1], 0, 10, [(0, 0), (1, 2)]),
        ([UNIT_BYTES - 1, 1, 1], 0, 10, [(0, 1), (2, 2)]),
        ([1, 2 * UNIT_BYTES, 1], 0, 10, [(0, 0), (1, 1), (2, 2)]),
    ],
)
def test_cut(sizes, first, most, units):
    assert cut(sizes, first, most) == units


@given(
    sizes=st.lists(
        st.one_of(st.integers(0, 100), st.integers(UNIT_BYTES // 4, 2 * UNIT_BYTES)), max_size=60
    ),
    first=st.integers(0, 10**6),
    most=st.integers(1, 20),
)
def test_units_are_contiguous_cover_all_and_keep_within_their_bounds(sizes, first, most):
    units = cut(sizes, first, most)
    covered = [n for low, high in units for n in range(low, high + 1)]
    assert covered == list(range(first, first + len(sizes)))
    for low, high in units:
        size = sum(sizes[low - first : high - first + 1])
        assert high - low + 1 <= most
        assert size <= UNIT_BYTES or low == high
    for (low, high), (_, next_high) in pairwise(units):
        # No unit ends early: its next record would not have fitted.
        more = sum(sizes[low - first : high - first + 2])
        assert high - low + 1 == most or more > UNIT_BYTES or next_high < high


def place_of(kind: str, tmp_path, request) -> str:
    return str(tmp_path) if kind == "folder" else request.getfixturevalue("bucket")


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_unit_is_committed_once_and_a_listing_tells(kind, tmp_path, request):
    units = Units(storage.join(place_of(kind, tmp_path, request), "units"), ".jsonl")
    one, other = (Unit(source=s, path="p", first=0, last=9) for s in ("a", "b"))
    assert units.committed() == {} == units.committed("a")
    with ThreadPoolExecutor(8) as pool:
        stands = list(pool.map(lambda n: units.commit(one, b"%d" % n), range(8)))
    assert sum(stands) == 1
    standing = storage.read(units.path(one))
    assert standing == b"%d" % stands.index(True)
    assert units.commit(one, standing) and not units.commit(one, b"another")
    assert units.commit(other, b"x")
    assert list(units.committed()) == ["a/000000000-000000009", "b/000000000-000000009"]
    assert list(units.committed("b")) == ["b/000000000-000000009"]
    tag = units.committed()[one.name]
    assert units.commit(one, b"again", replaces=tag)
    assert storage.read(units.path(one)) == b"again"
