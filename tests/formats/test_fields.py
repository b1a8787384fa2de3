"""Field maps: questions and choices, dialogues, mentions, terms, marks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taiyi_ray.formats import named
from taiyi_ray.records import Concept, Document, Label, Text
from tests.formats.annotated import check_contracts, read


def one(record: dict[str, Any], fields: dict[str, Any], **options: Any) -> Document:
    (document,) = read(named("json", {"fields": fields, **options}), json.dumps([record]), "a.json")
    check_contracts(document)
    return document


def parts(document: Document) -> list[tuple[str, str]]:
    return [(p.type, p.text) for p in document.passages]


QUESTION = {"question": "q", "choices": ["a", "b", "c"]}
ASKED = {"q": "which?", "a": "x", "b": "y", "c": "z"}


@pytest.mark.parametrize(
    ("answer", "stated", "expected"),
    [
        ("letter", "B", ["B"]),
        ("letter", "AC", ["A", "C"]),
        ("text", "z", ["C"]),
        ("from_0", 0, ["A"]),
        ("from_1", "3", ["C"]),
    ],
)
def test_the_label_of_a_question_with_choices_is_a_letter(answer, stated, expected):
    document = one({**ASKED, "k": stated}, QUESTION, labels={"qa": "k"}, answer=answer)
    assert parts(document) == [
        ("question", "which?"), ("choice", "x"), ("choice", "y"), ("choice", "z"),
    ]  # fmt: skip
    assert document.gold.labels == [Label("qa", letter) for letter in expected]


@pytest.mark.parametrize(
    ("answer", "stated"), [("letter", "D"), ("text", "w"), ("from_1", 0), ("letter", "b")]
)
def test_an_answer_that_is_none_of_the_choices_fails_the_record(answer, stated):
    document = one({**ASKED, "k": stated}, QUESTION, labels={"qa": "k"}, answer=answer)
    assert document.status == "failed"
    assert f"the answer '{stated}' is none of the 3 choices" in document.errors[0].message


def test_choices_of_an_object_are_in_the_order_of_their_letters():
    record = {"q": "?", "o": {"B": "y", "A": "x"}, "k": "A"}
    document = one(record, {"question": "q", "choices": "o"}, labels={"qa": "k"})
    assert parts(document)[1:] == [("choice", "x"), ("choice", "y")]


def test_choices_behind_an_empty_one_move_up_by_a_letter():
    record = {"q": "?", "o": {"A": "x", "B": " ", "C": "y", "D": None}, "k": "C"}
    fields = {"question": "q", "choices": "o"}
    document = one(record, fields, labels={"qa": "k"})
    assert parts(document)[1:] == [("choice", "x"), ("choice", "y")]
    assert document.gold.labels == [Label("qa", "B")]
    document = one({**record, "k": "B"}, fields, labels={"qa": "k"})
    assert "the answer 'B' is none of the 2 choices" in document.errors[0].message


def test_several_questions_have_numbered_answers():
    record = {"t": "case", "qa": [{"q": "1?", "a": "x"}, {"q": "2?", "a": "y"}]}
    document = one(record, {"text": "t", "question": "qa.q"}, texts={"qa": "qa.a"})
    assert parts(document) == [("text", "case"), ("question", "1?"), ("question", "2?")]
    assert document.gold.texts == [Text("qa:1", "x"), Text("qa:2", "y")]


def test_one_question_has_an_answer_without_number():
    document = one(
        {"q": "?", "a": "x", "l": "yes"}, {"question": "q"}, texts={"qa": "a"}, labels={"qa": "l"}
    )
    assert (document.gold.texts, document.gold.labels) == ([Text("qa", "x")], [Label("qa", "yes")])


def test_labels_and_texts_of_tasks_and_what_is_left_is_metadata():
    record = {"id": 7, "t": "T", "x": ["a", "b"], "l": "p;q", "s": "short", "n": 1, "e": None}
    document = one(
        record, {"document_id": "id", "title": "t", "text": "x"},
        labels={"tc": "l"}, texts={"summary": "s", "mt:zh": "e"}, separator=";",
    )  # fmt: skip
    assert parts(document) == [("title", "T"), ("text", "a"), ("text", "b")]
    assert (document.document_id, document.title) == ("7", "T")
    assert document.gold.labels == [Label("tc", "p"), Label("tc", "q")]
    assert document.gold.texts == [Text("summary", "short")]
    assert document.metadata == {"n": "1"}


def test_the_lines_of_a_dialogue_are_turns_by_the_names_of_their_speakers():
    said = "Doctor: Any pain?\r\n Patient: Yes: here.\nand there\nGuest: no\nDoctor:\nDoctor: Ok"
    document = one({"d": said}, {"dialogue": "d"}, last_turn="dialogue")
    assert parts(document) == [
        ("doctor", "Any pain?"),
        ("patient", "Yes: here.\nand there\nGuest: no"),
    ]
    assert document.gold.texts == [Text("dialogue", "Ok")]


def test_a_last_turn_of_the_patient_stays_a_turn():
    document = one(
        {"d": ["a", "b", "c"]}, {"dialogue": "d"}, turns=["patient", "doctor"], last_turn="x"
    )
    assert parts(document) == [("patient", "a"), ("doctor", "b"), ("patient", "c")]
    assert document.gold.texts == []


SPOKEN = {"dialogue": "d.s", "speaker": "d.w", "tags": "d.t", "type": "d.y", "concept": "d.n"}


def test_tags_of_each_character_are_mentions_with_their_types_and_concepts_in_order():
    turns = [
        {"w": "患者", "s": "头疼又咳", "t": "BIOB", "y": ["1", "2"], "n": ["头痛", "咳嗽"]},
        {"w": "医生", "s": "", "t": "", "y": [], "n": []},
        {"w": "医生", "s": "还咳吗", "t": "OBO", "y": ["1"], "n": ["咳嗽"]},
    ]
    document = one({"d": turns}, SPOKEN)
    found = [
        (m.type, m.text, m.start, m.concept.id if m.concept else None)
        for m in document.gold.mentions
    ]
    assert found == [("1", "头疼", 0, "头痛"), ("2", "咳", 3, "咳嗽"), ("1", "咳", 6, "咳嗽")]


def test_tags_with_types_stand_apart():
    turns = [{"w": "患者", "s": "头疼", "t": "B-Symptom I-Symptom"}]
    document = one({"d": turns}, {"dialogue": "d.s", "speaker": "d.w", "tags": "d.t"})
    assert [(m.type, m.text) for m in document.gold.mentions] == [("Symptom", "头疼")]


def test_tags_and_lists_that_do_not_fit_are_told():
    turns = [
        {"w": "患者", "s": "头疼", "t": "BIO", "y": [], "n": []},
        {"w": "患者", "s": "咳", "t": "B", "y": ["1", "1"], "n": ["x"]},
    ]
    document = one({"d": turns}, SPOKEN)
    assert [(m.type, m.text, m.concept) for m in document.gold.mentions] == [
        ("term", "咳", Concept("", "x", "x"))
    ]
    assert document.errors[0].message == (
        "1 turns with more or fewer tags than characters; 1 lists of types that do not fit the tags"
    )


def test_tags_of_a_last_turn_that_is_no_passage_are_counted_as_left_out():
    turns = [
        {"w": "患者", "s": "咳", "t": "B", "y": ["1"], "n": ["x"]},
        {"w": "医生", "s": "烧", "t": "B", "y": ["2"], "n": ["y"]},
    ]
    document = one({"d": turns}, SPOKEN, last_turn="dialogue")
    assert [(m.type, m.text) for m in document.gold.mentions] == [("1", "咳")]
    assert document.gold.texts == [Text("dialogue", "烧")]
    assert document.errors[0].message == "1 mentions in the last turn, which is no passage"


def test_a_speaker_that_nobody_named_fails_the_record():
    document = one({"d": [{"w": "护士", "s": "x"}]}, {"dialogue": "d.s", "speaker": "d.w"})
    assert "the speaker '护士' is none of Doctor, Patient, 医生, 患者" in document.errors[0].message


MENTIONS = {"text": "t", "mention": "m.x", "start": "m.o", "type": "m.y"}


def test_a_start_without_an_end_and_letters_of_another_case():
    record = {"t": "做tct检查", "m": [{"x": "TCT", "o": "1", "y": "test"}, {"x": "检查", "o": 4}]}
    document = one(record, MENTIONS)
    found = [(m.type, m.start, m.end, m.text, m.grounded) for m in document.gold.mentions]
    assert found == [("test", 1, 4, "tct", "folded"), ("term", 4, 6, "检查", "exact")]


def test_an_end_may_be_the_last_character():
    record = {"t": "aab b", "m": [{"x": "b", "o": 2, "e": 2}]}
    document = one(record, {**MENTIONS, "end": "m.e"}, end="inclusive", type="T")
    assert [(m.type, m.start, m.end) for m in document.gold.mentions] == [("T", 2, 3)]
    assert document.errors == []


def test_mentions_without_offsets_stand_wherever_their_words_stand():
    record = {"t": "TNF, TNFR and TNF", "m": [{"x": "TNF"}, {"x": "IL"}]}
    document = one(record, {"text": "t", "mention": "m.x", "concept": "m.c"})
    assert [(m.text, m.start) for m in document.gold.mentions] == [
        ("TNF", 0),
        ("TNF", 14),
        ("IL", None),
    ]
    assert [e.kind for e in document.errors] == ["gold_offsets"]


def test_a_term_is_the_whole_text_and_has_its_concepts():
    record = {"t": " 阑尾切除 ", "c": "47.0##47.1", "n": None}
    document = one(record, {"term": "t", "concept": "c", "concept_name": "n"}, separator="##")
    found = [(m.start, m.end, m.text, m.concept) for m in document.gold.mentions]
    assert found == [(1, 5, "阑尾切除", Concept("", c, c)) for c in ("47.0", "47.1")]


def test_the_concept_of_a_mention_is_its_own_whatever_stands_in_those_before():
    record = {"t": "a b", "m": [{"x": "a", "c": "1;2"}, {"x": "b", "c": "3"}]}
    fields = {"text": "t", "mention": "m.x", "concept": "m.c"}
    document = one(record, fields, separator=";")
    found = [m.concept.id for m in document.gold.mentions if m.concept]
    assert found == ["1;2", "3"]


def test_a_name_of_a_concept_stands_beside_its_id():
    record = {"t": "阑尾切除", "c": "47.0", "n": "阑尾切除术"}
    document = one(record, {"term": "t", "concept": "c", "concept_name": "n"}, separator="##")
    assert document.gold.mentions[0].concept == Concept("", "47.0", "阑尾切除术")


def test_marks_are_taken_out_of_the_text_and_are_a_relation():
    marks = [["<< ", " >>"], ["[[ ", " ]]"]]
    record = {"t": "a [[ b ]] > c << d e >> >> f", "l": "INHIBITOR"}
    document = one(record, {"text": "t", "relation": "l"}, marks=marks)
    assert document.text == "a b > c d e >> f"
    (relation,) = document.gold.relations
    assert (relation.type, relation.head_text, relation.tail_text) == ("INHIBITOR", "d e", "b")
    assert [(m.type, m.start) for m in document.gold.mentions] == [(None, 8), (None, 2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [("a << b >>", "the sign '[[ ' stands 0 times"), ("<< a [[ b ]]", "no ' >>' stands behind")],
)
def test_marks_that_are_missing_fail_the_record(text, message):
    marks = [["<< ", " >>"], ["[[ ", " ]]"]]
    document = one({"t": text, "l": "x"}, {"text": "t", "relation": "l"}, marks=marks)
    assert message in document.errors[0].message


@pytest.mark.parametrize(
    ("record", "fields", "message"),
    [
        ({"t": {"x": 1}}, {"text": "t"}, "text must be a text, not an object"),
        (
            {"t": "a", "q": ["1?", "2?"], "c": ["x"]},
            {"question": "q", "choices": "c"},
            "1 lists of choices",
        ),
        ({"d": ["a"], "w": []}, {"dialogue": "d", "speaker": "w"}, "0 speakers of 1 turns"),
        (
            {"d": ["a", "b"], "w": ["医生"]},
            {"dialogue": "d", "speaker": "w"},
            "1 speakers of 2 turns",
        ),
    ],
)
def test_a_broken_record_says_why(record, fields, message):
    document = one(record, fields)
    assert document.status == "failed"
    assert message in document.errors[0].message


def test_a_line_of_very_many_blanks_is_read_in_a_moment():
    # It would take hours if the reader tried every way to divide it.
    document = one({"d": "Doctor : hello\n" + " " * 100_000 + "x"}, {"dialogue": "d"})
    assert parts(document) == [("doctor", "hello\nx")]
