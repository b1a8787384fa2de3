"""Finding records in JSON of any shape, and where the data is broken."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taiyi_ray.formats import json_records
from taiyi_ray.formats.json_records import JsonOptions, record_of, scan


def records(data: str | bytes, layout: str = "list", *path: str) -> list[object]:
    """The records of the data, a fault as its kind."""
    options = JsonOptions(layout=layout, path=list(path))
    data = data if isinstance(data, bytes) else data.encode()
    return [r.fault or json.loads(r.data) for r in scan(io.BytesIO(data), options)]


@pytest.mark.parametrize(
    ("data", "layout", "path", "expected"),
    [
        (
            '[{"a": "]"}, {"b": [1, {"c": "\\\\\\""}]}]',
            "list",
            [],
            [{"a": "]"}, {"b": [1, {"c": '\\"'}]}],
        ),
        (" [ ] ", "list", [], []),
        ('[1, "x", null, [2]]', "list", [], [1, "x", None, [2]]),
        ('{"z": [{"q": 1}], "q": [{"a": 1}], "y": [', "list", ["q"], [{"a": 1}]),
        ('{"d": {"x": 0, "q": [{"a": 1}]}}', "list", ["d", "q"], [{"a": 1}]),
        ('{"7": {"a": 1}, "\\u00e9": {"b": 2}}', "keys", [], [{"7": {"a": 1}}, {"é": {"b": 2}}]),
        ('{"a": 1}\n\n{"b": 2}\n', "lines", [], [{"a": 1}, {"b": 2}]),
    ],
)
def test_the_records_of_a_file(data, layout, path, expected):
    assert records(data, layout, *path) == expected


@pytest.mark.parametrize(
    ("data", "layout", "path", "expected"),
    [
        ("", "list", [], ["empty"]),
        ("  ", "keys", [], ["empty"]),
        ("x", "list", [], ["not_json"]),
        ("{}", "list", [], ["not_json"]),
        ("[]", "keys", [], ["not_json"]),
        ("[1] 2", "list", [], [1, "not_json"]),
        ("[1 2]", "list", [], [1, "not_json"]),
        ("[1, ", "list", [], [1, "truncated"]),
        ('[1, {"a": [', "list", [], [1, "truncated"]),
        ('[1, "a', "list", [], [1, "truncated"]),
        ("[1, :]", "list", [], [1, "not_json"]),
        ('{"a": []}', "list", ["b"], ["not_found"]),
        ('{"b": 5}', "list", ["b"], ["not_json"]),
        ('{"a" 1}', "keys", [], ["not_json"]),
        ("{1: 2}", "keys", [], ["not_json"]),
        ('{"a": {"x": 1}, "b"', "keys", [], [{"a": {"x": 1}}, "not_json"]),
    ],
)
def test_what_is_broken_is_a_fault_behind_the_records_before(data, layout, path, expected):
    assert records(data, layout, *path) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(values=st.lists(JSON, max_size=5), spaced=st.booleans(), ascii_=st.booleans())
def test_any_list_and_any_object_gives_its_values(values, spaced, ascii_):
    indent = 1 if spaced else None
    assert records(json.dumps(values, indent=indent, ensure_ascii=ascii_)) == values
    keyed = {f"k{n}": value for n, value in enumerate(values)}
    written = json.dumps({"x": values, "y": keyed}, indent=indent, ensure_ascii=ascii_)
    assert records(written, "list", "x") == values
    assert records(written, "keys", "y") == [{key: value} for key, value in keyed.items()]


def test_a_record_that_is_too_large_is_a_fault_and_the_next_is_read(monkeypatch):
    monkeypatch.setattr(json_records, "MAX_RECORD_BYTES", 100)
    monkeypatch.setattr(json_records, "_CHUNK", 16)
    data = json.dumps([1, {"a": "x" * 500}, {"b": ["y"] * 80}, "z" * 300, 2])
    assert records(data) == [1, "too_large", "too_large", "too_large", 2]
    keyed = json.dumps({"a": "x" * 500, "k" * 5000: 1, "b": 2})
    assert records(keyed, "keys") == ["too_large", "too_large", {"b": 2}]


def test_a_huge_list_is_read_in_constant_memory():
    class Endless(io.RawIOBase):
        taken = 0

        def read(self, size: int = -1) -> bytes:
            self.taken += 1
            return b"[" if self.taken == 1 else b'{"a": "bcdefgh"}, ' * 1000

    stream = Endless()
    found = scan(stream, JsonOptions(layout="list", path=[]))  # type: ignore[arg-type]
    for _ in range(50_000):
        assert next(found).data == b'{"a": "bcdefgh"}'
    walk = found.gi_frame.f_locals["walk"]  # type: ignore[attr-defined]
    assert len(walk._data) < 1 << 18


def test_the_key_of_a_record_is_its_own_where_the_layout_has_keys():
    options = JsonOptions(layout="keys", path=[])
    (record,) = scan(io.BytesIO(b'{"12": {"a": 1}}'), options)
    assert record_of(record, options) == ("12", {"a": 1})
