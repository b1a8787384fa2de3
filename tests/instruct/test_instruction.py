"""Instructions: questions, the answers that state the gold, and the counts of what was left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from taiyi_ray.instruct.instruction import SCHEMA, Mix, Tally, rows
from taiyi_ray.records import Annotations, Document, Label, Mention, passages
from taiyi_ray.tasks import assign
from taiyi_ray.tasks.task import Assignment

MIX = Mix(rate=1.0, ask="mixed", negatives=1.0, wordings=(4,), first=1.0, characters=6000)


def document(*surfaces: tuple[str, str], labels: tuple[str, ...] = ()) -> Document:
    text = "Aspirin relieves pain and fever."
    mentions = [
        Mention(n, type_, surface, text.index(surface), text.index(surface) + len(surface))
        for n, (surface, type_) in enumerate(surfaces)
    ]
    gold = Annotations(mentions=mentions, labels=[Label("tc", label) for label in labels])
    return Document("7", passages([("text", "en", text)]), gold=gold, position=3)


def assignment(task: str, **options: Any) -> Assignment:
    (one,) = assign([task], {task: options}, grammar=False)
    return one


def made(
    of: Document, task: Assignment, mix: Mix = MIX, tally: Tally | None = None
) -> list[dict[str, Any]]:
    tally = tally if tally is not None else Tally()
    return list(rows(of, task, mix, dataset="d", split="train", seed=0, tally=tally))


NER = assignment("ner", types=["chemical", "disease", "symptom"])
GOLD = document(("Aspirin", "chemical"), ("pain", "symptom"))


def test_a_row_is_the_chat_and_says_where_it_is_from() -> None:
    (row,) = made(GOLD, NER)
    question = "Aspirin relieves pain and fever.\n\nchemical, disease, symptom mentions?"
    assert row["messages"] == [
        {"role": "user", "content": question},
        {"role": "assistant", "content": "chemical: Aspirin\nsymptom: pain"},
    ]
    assert row["prompt"] + row["completion"] == row["messages"]
    assert {name: row[name] for name in SCHEMA.names[3:]} == {
        "dataset": "d",
        "task": "ner",
        "language": "en",
        "types": ["chemical", "disease", "symptom"],
        "wording": 4,
        "document_first": True,
        "split": "train",
        "stage": 1,
        "group": "d/train/3/en0",
        "document_id": "7",
    }


def test_types_apart_have_negatives_as_often_as_wanted() -> None:
    apart = MIX.model_copy(update={"ask": "apart"})
    answers = [row["completion"][0]["content"] for row in made(GOLD, NER, apart)]
    head = "Here are the {} entities mentioned in the text: "
    assert answers == [head.format("chemical") + "Aspirin", "none", head.format("symptom") + "pain"]
    without = apart.model_copy(update={"negatives": 0.0})
    assert [row["types"] for row in made(GOLD, NER, without)] == [["chemical"], ["symptom"]]


def test_where_answers_are_headed_the_head_stands_before_nothing_too() -> None:
    apart = MIX.model_copy(update={"ask": "apart", "headed": True})
    answers = [row["completion"][0]["content"] for row in made(GOLD, NER, apart)]
    head = "Here are the {} entities mentioned in the text: "
    assert answers == [
        head.format("chemical") + "Aspirin",
        head.format("disease") + "none",
        head.format("symptom") + "pain",
    ]
    without = apart.model_copy(update={"negatives": 0.0})
    assert [row["types"] for row in made(GOLD, NER, without)] == [["chemical"], ["symptom"]]
    (together,) = made(GOLD, NER, MIX.model_copy(update={"headed": True}))
    assert together["completion"][0]["content"] == "chemical: Aspirin\nsymptom: pain"


def test_further_records_of_a_document_ask_about_one_type_each() -> None:
    more = MIX.model_copy(update={"rate": 3.0})
    types = [row["types"] for row in made(GOLD, NER, more)]
    assert types[0] == ["chemical", "disease", "symptom"]
    assert [len(one) for one in types[1:]] == [1, 1]
    assert types[1] != types[2]


def test_questions_about_one_text_share_their_group_and_the_place_of_the_document() -> None:
    found = made(GOLD, NER, MIX.model_copy(update={"ask": "apart", "first": 0.5}))
    assert len({(row["group"], row["document_first"]) for row in found}) == 1


def test_a_label_that_is_not_in_its_list_is_rejected_and_counted() -> None:
    classes = assignment("tc", labels=["drug", "disease"])
    tally = Tally()
    assert made(document(labels=("surgery",)), classes, tally=tally) == []
    assert made(document(), classes, tally=tally) == []
    assert tally.rejected == {"tc: the label is not in the label list": 1, "tc: no label": 1}
    assert (
        made(document(labels=("drug",)), classes)[0]["completion"][0]["content"] == "Result: drug"
    )


def test_published_records_whose_label_is_not_in_their_own_list_teach_nothing(
    shared_data: Path,
) -> None:
    """Taiyi's examples of TCM-SD: each offers nine or ten syndromes, and answers with another."""
    file = shared_data / "taiyi-example" / "Taiyi_Instruction_Data_Example.jsonl"
    records = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    tally = Tally()
    for record in (one for one in records if one["dataset"] == "tcm_sd_tc"):
        (turn,) = record["conversation"]
        text, _, offered = turn["human"].rpartition("\n")
        labels = offered.rpartition("：")[2].split("，")
        assert len(labels) in (9, 10)
        gold = Annotations(labels=[Label("tc", turn["assistant"].rpartition("：")[2])])
        of = Document("d", passages([("text", "zh", text)]), gold=gold)
        assert made(of, assignment("tc", labels=labels), tally=tally) == []
    assert tally.rejected == {"tc: the label is not in the label list": 4}


def test_a_text_that_is_too_long_for_one_question_is_rejected_where_the_whole_is_asked_about() -> (
    None
):
    text = "Aspirin relieves pain. " * 20
    gold = Annotations(labels=[Label("tc", "drug")])
    long = Document("7", passages([("text", "en", text)]), gold=gold, position=3)
    short = MIX.model_copy(update={"characters": 100})
    classes = assignment("tc", labels=["drug", "disease"], multi_label=True)
    tally = Tally()
    assert made(long, classes, short, tally) == []
    assert tally.rejected == {"tc: too long": 1}
    assert len(made(long, classes)) == 1
    assert len(made(long, NER, short)) > 1  # mentions stand in their windows


def test_a_rate_below_one_samples_documents() -> None:
    sampled = MIX.model_copy(update={"rate": 0.25})
    found = 0
    for position in range(100):
        GOLD.position = position
        found += len(made(GOLD, NER, sampled))
    GOLD.position = 3
    assert found == 25


@pytest.mark.parametrize(
    ("ask", "rate", "expected"),
    [
        ("mixed", 1.3, 130),
        ("mixed", 0.25, 25),
        ("together", 1.3, 100),
        ("apart", 1.3, 300),
        ("apart", 0.25, 75),
    ],
)
def test_a_mix_tells_how_many_questions_documents_get(ask: str, rate: float, expected: int) -> None:
    mix = MIX.model_copy(update={"ask": ask, "rate": rate})
    assert mix.asked(100, types=3) == expected
    made_of_all = 0
    for position in range(100):
        GOLD.position = position
        made_of_all += len(made(GOLD, NER, mix))
    GOLD.position = 3
    assert made_of_all == pytest.approx(expected, abs=1)


def test_tallies_add_up_and_are_stored() -> None:
    tally = Tally()
    made(GOLD, NER, tally=tally)
    total = Tally.of(tally.as_dict())
    total.add(tally)
    assert total.instructions == {"ner/en/4": 2}
