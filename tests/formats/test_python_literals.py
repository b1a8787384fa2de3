"""Lines of Python literals: what is read, and what is never run."""

from __future__ import annotations

import pytest

from taiyi_ray.formats import named
from taiyi_ray.records import Document, Label
from tests.formats.annotated import read


def lines(data: str, prefix: str = "") -> list[Document]:
    fields = {"document_id": "id", "text": "t"}
    options = {"prefix": prefix, "fields": fields, "labels": {"tc": "l"}}
    return read(named("python-literals", options), data, "a.txt")


def test_the_items_of_the_lists_in_lines_with_the_prefix():
    data = (
        "test@[{'t': 'no'}]\ntrain@[{'id': '1', 't': 'a\\'], \"\\n', 'l': 'x'}, {'t': \"it's\"},]\n"
    )
    first, second = lines(data, "train@")
    assert (first.document_id, first.text) == ("1", "a'], \"\n")
    assert first.gold.labels == [Label("tc", "x")]
    assert second.text == "it's"


def test_a_line_may_be_a_dictionary():
    data = "{'t': 'a', 'n': (1, -2.5e-3, None), 'b': True, 'd': {'x': []}}\n\n{'t': 'b'}\n"
    first, second = lines(data)
    assert (first.text, second.text) == ("a", "b")
    assert first.metadata == {"n": "1; -0.0025; null", "b": "true", "d": '{"x": []}'}


@pytest.mark.parametrize(
    "literal",
    [
        "{'t': __import__('os').getcwd()}",
        "{'t': 'a' + 'b'}",
        "{'t': 1 + 2}",
        "{'t': " + "1 -1 " * 5000 + "}",
        "{'t': 'a' * 9}",
        "{'t': [x for x in ()]}",
        "{'t': f'a'}",
        "{'t': b'a'}",
        "{'t': {1, 2}}",
        "{'t': 'a'",
        "{'t': 'a}",
        "{1: 'a'}",
        "{'t': " + "[" * 200 + "]" * 200 + "}",
        "{'t': " + "-" * 5000 + "1}",
        "{'t': " + "9" * 5000 + "}",
        "{'t': '\\ud800'}",
    ],
)
def test_anything_but_a_plain_literal_fails(literal):
    (document,) = lines(literal)
    assert (document.status, document.errors[0].kind) == ("failed", "not_a_literal")


def test_what_is_no_dictionary_fails_and_the_others_are_read():
    found = lines("[1, {'t': 'a'}]\n")
    assert [d.errors[0].kind if d.errors else d.text for d in found] == ["invalid_record", "a"]


@pytest.mark.parametrize(
    ("data", "prefix", "expected"),
    [
        ("", "", ["empty"]),
        ("x", "train@", ["empty"]),
        ("[{'t': 'a'}, {'t': 'b'", "", ["a", "truncated"]),
        ("[{'t': 'a'}] x", "", ["a", "truncated"]),
    ],
)
def test_what_is_broken_in_a_file(data, prefix, expected):
    found = lines(data, prefix)
    assert [d.errors[0].kind if d.errors else d.text for d in found] == expected
