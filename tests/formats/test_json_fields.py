"""Paths of keys in JSON; what fields do is tested in test_fields.py."""

from __future__ import annotations

import json

import pytest

from taiyi_ray.formats import named
from taiyi_ray.formats.json_fields import at_path
from taiyi_ray.records import Label
from tests.formats.annotated import check_contracts, read


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a", [1]),
        ("b.c", ["x"]),
        ("l", [1, 2]),
        ("d.e", [1, None, 2, 3]),
        ("d.f.g", [None, None, 9]),
        ("b.z", [None]),
        ("z", [None]),
        ("a.b", [None]),
        ("n", [None]),
    ],
)
def test_a_path_goes_through_objects_and_lists_and_keeps_gaps(path, expected):
    record = {
        "a": 1, "b": {"c": "x"}, "l": [1, 2], "n": None,
        "d": [{"e": 1}, {"f": 2}, {"e": [2, 3], "f": {"g": 9}}],
    }  # fmt: skip
    found = at_path(record, path)
    assert found == expected


def test_the_records_of_an_object_have_their_keys_as_ids():
    data = {"12": {"QUESTION": "a?", "CONTEXTS": ["b", "c"], "final_decision": "no", "YEAR": None}}
    fields = {"document_id": "@key", "question": "QUESTION", "text": "CONTEXTS"}
    options = {"layout": "keys", "fields": fields, "labels": {"qa": "final_decision"}}
    (document,) = read(named("json", options), json.dumps(data), "a.json")
    assert (document.document_id, document.metadata) == ("12", {})
    assert [(p.type, p.text) for p in document.passages] == [
        ("text", "b"), ("text", "c"), ("question", "a?"),
    ]  # fmt: skip
    assert document.gold.labels == [Label("qa", "no")]


def test_a_broken_record_leaves_the_others():
    data = '[{"t": "a"}, {"t": }, {"t": "b"}]'
    found = read(named("json", {"fields": {"text": "t"}}), data, "a.json")
    assert [d.errors[0].kind if d.errors else d.text for d in found] == ["a", "not_json", "b"]
    lines = '{"t": "a"}\n{"t": \n{"t": "b"}\n'
    found = read(named("json", {"layout": "lines", "fields": {"text": "t"}}), lines, "a.json")
    assert [d.errors[0].kind if d.errors else d.text for d in found] == ["a", "not_json", "b"]


MARKED = {
    "layout": "lines",
    "fields": {"text": "t", "relation": "r"},
    "marks": [["<< ", " >>"], ["[[ ", " ]]"]],
}


def test_lines_that_differ_in_marks_alone_become_one_document_with_all_relations():
    data = """{"t": "<< a >> and b bind [[ c ]].", "r": "X"}
        {"t": "a and << b >> bind [[ c ]].", "r": "X"}
        {"t": "[[ a ]] and b bind << c >>.", "r": "Y"}
        {"t": "a and << b >> bind [[ c ]].", "r": "X"}
        {"t": "broken
        {"t": "<< a >> and b bind [[ c ]].", "r": "X", "from": "another paper"}"""
    first, broken, last = read(named("json", {**MARKED, "merge": True}), data, "a.jsonl")
    assert first.text == last.text == "a and b bind c."
    assert [(m.text, m.start) for m in first.gold.mentions] == [("a", 0), ("c", 13), ("b", 6)]
    assert [(r.head_text, r.type, r.tail_text) for r in first.gold.relations] == [
        ("a", "X", "c"), ("b", "X", "c"), ("c", "Y", "a"),
    ]  # fmt: skip
    check_contracts(first)
    assert broken.errors[0].kind == "not_json"
    assert last.metadata == {"from": "another paper"}, "no line with other metadata is merged"
    assert len(read(named("json", MARKED), data, "a.jsonl")) == 6
