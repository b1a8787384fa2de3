"""CBLUE's forms: inclusive ends, triples without offsets, standard terms, labels."""

from __future__ import annotations

import json

import pytest

from taiyi_ray.formats import named
from taiyi_ray.records import Concept, Document, Label
from tests.formats.annotated import check_contracts, read


def one(record: object, form: str, **options: object) -> Document:
    format_ = named("cblue", {"form": form, **options})
    (document,) = read(format_, json.dumps([record]), "a.json")
    check_contracts(document)
    return document


def entity(start: object, end: object, text: str, type_: str = "dis") -> dict[str, object]:
    return {"start_idx": start, "end_idx": end, "type": type_, "entity": text}


def test_the_end_of_a_mention_is_its_last_character():
    text = "对儿童SARS的研究"
    entities = [entity(3, 6, "SARS"), entity(1, 6, "儿童SARS"), entity(1, 2, "儿童", "bod")]
    document = one({"text": text, "entities": entities}, "mentions")
    found = [(m.type, m.start, m.end, m.text) for m in document.gold.mentions]
    assert found == [("dis", 3, 7, "SARS"), ("dis", 1, 7, "儿童SARS"), ("bod", 1, 3, "儿童")]
    assert document.errors == []


def test_offsets_that_are_wrong_are_told_and_nothing_is_dropped():
    entities = [entity(0, 0, "x"), entity(None, 3, "ab"), entity(-1, 3, "ab")]
    document = one({"text": "ab", "entities": entities}, "mentions")
    assert [m.grounded for m in document.gold.mentions] == ["none"] * 3
    assert [e.kind for e in document.errors] == ["gold_offsets"]
    assert "3 of 3 annotations" in document.errors[0].message


def triple(subject: str, object_: dict[str, str], types: dict[str, str]) -> dict[str, object]:
    return {
        "predicate": "临床表现", "subject": subject, "subject_type": "疾病",
        "object": object_, "object_type": types, "Combined": False,
    }  # fmt: skip


def test_a_triple_is_between_all_places_of_its_surfaces():
    triples = [triple("感冒", {"@value": "咳嗽"}, {"@value": "症状"})]
    document = one({"text": "感冒@感冒时咳嗽。", "spo_list": triples}, "triples")
    (relation,) = document.gold.relations
    mentions = {m.id: m for m in document.gold.mentions}
    assert [mentions[n].start for n in relation.head] == [0, 3]
    assert [mentions[n].start for n in relation.tail] == [6]
    assert (relation.type, relation.head_text, relation.tail_text) == ("临床表现", "感冒", "咳嗽")
    assert {m.type for m in document.gold.mentions} == {"疾病", "症状"}
    assert document.errors == []


def test_an_end_of_a_triple_that_stands_nowhere_is_kept_and_counted():
    triples = [triple("感冒", {"@value": "发烧"}, {"@value": "症状"})]
    document = one({"text": "感冒", "spo_list": triples}, "triples")
    (relation,) = document.gold.relations
    assert (relation.head_text, relation.tail_text) == ("感冒", "发烧")
    assert [m.grounded for m in document.gold.mentions] == ["exact", "none"]
    assert [e.kind for e in document.errors] == ["gold_offsets"]


def test_each_object_of_a_triple_is_a_relation():
    triples = [triple("a", {"@value": "b", "on": "c"}, {"@value": "T", "on": "U"})]
    document = one({"text": "a b c", "spo_list": triples}, "triples")
    found = [(r.type, r.tail_text) for r in document.gold.relations]
    assert found == [("临床表现", "b"), ("临床表现_on", "c")]


def test_the_text_is_a_mention_of_each_standard_term():
    record = {"text": "\ufeff卵巢Ca ", "normalized_result": '卵巢恶性肿瘤##"癌,其他"##癌'}
    document = one(record, "terms", type="diagnosis")
    found = [(m.type, m.start, m.end, m.text, m.concept) for m in document.gold.mentions]
    assert found == [
        ("diagnosis", 1, 5, "卵巢Ca", Concept("", name, name))
        for name in ("卵巢恶性肿瘤", "癌,其他", "癌")
    ]


@pytest.mark.parametrize("record", [{"text": "a"}, {"text": "a", "normalized_result": ""}])
def test_a_text_without_standard_terms_has_no_mention(record):
    assert one(record, "terms").gold.mentions == []


def test_a_class_and_what_else_the_record_holds():
    document = one({"id": "s1", "query": "怎么办", "label": "其他", "x": [1, 2]}, "class")
    assert (document.document_id, document.text) == ("s1", "怎么办")
    assert document.gold.labels == [Label("tc", "其他")]
    assert document.metadata == {"x": "1; 2"}


@pytest.mark.parametrize(
    "keys", [("text1", "text2"), ("query1", "query2"), ("query", "title")], ids=str
)
def test_a_pair_is_two_passages_and_a_label(keys):
    document = one({"id": 3, keys[0]: "甲", keys[1]: "乙", "label": "1"}, "pair")
    assert [(p.type, p.text) for p in document.passages] == [("text_1", "甲"), ("text_2", "乙")]
    assert document.gold.labels == [Label("similarity", "1")]
    assert one({"text1": "a", "text2": "b", "label": ""}, "pair").gold.labels == []


def test_the_task_of_the_labels_is_an_option():
    document = one({"text1": "a", "text2": "b", "label": 2}, "pair", task="entailment")
    assert document.gold.labels == [Label("entailment", "2")]


@pytest.mark.parametrize(
    ("record", "form", "message"),
    [
        ({"x": 1}, "mentions", "the record has no text or query"),
        ({"text": 1}, "class", "text must be a string, not a number"),
        ({"text": "a", "entities": [1]}, "mentions", "entities must be a list of objects"),
        ({"text": "a", "entities": [{}]}, "mentions", "the record has no entity"),
        ({"text": "a", "spo_list": [{"subject": "a", "predicate": "b"}]}, "triples", "object and"),
        ({"text": "a", "label": []}, "class", "label must be a string or a whole number"),
        ({"text": "a", "id": {}}, "class", "id must be a string or a whole number"),
        ({"text1": "a"}, "pair", "the record has no text2 or query2 or title"),
        ([1], "pair", "expected an object, found a list"),
    ],
)
def test_a_broken_record_says_why(record, form, message):
    document = one(record, form)
    assert (document.status, document.errors[0].kind) == ("failed", "invalid_record")
    assert message in document.errors[0].message
