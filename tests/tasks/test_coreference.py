"""Coreference: chains in answers, the occurrences that they mean, gold chains there and back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from taiyi_ray.formats import brat
from taiyi_ray.formats.format import RawRecord
from taiyi_ray.merging import merge
from taiyi_ray.records import COREFERENCE, Annotations, Document, Mention, Relation
from taiyi_ray.tasks import coreference, losses
from taiyi_ray.tasks.task import Counts, Question
from tests.samples import asked, chinese, english

TEXT = "The gene is long. It binds the protein, and it opens it."


def ask(document: Document, *, grammar: bool = True) -> Question:
    (question,) = asked("coref", grammar=grammar).questions(document)
    return question


def links(annotations: Annotations) -> list[tuple[object, ...]]:
    by_id = {m.id: m for m in annotations.mentions}
    return [
        (r.type, r.head_text, by_id[r.head[0]].start, r.tail_text, by_id[r.tail[0]].start)
        for r in annotations.relations
    ]


def gold_of(*chains: list[tuple[str, int]]) -> Annotations:
    gold = Annotations()
    for chain in chains:
        first = len(gold.mentions)
        for text, start in chain:
            gold.mentions.append(Mention(len(gold.mentions), None, text, start, start + len(text)))
        for n in range(first, len(gold.mentions) - 1):
            head, tail = gold.mentions[n], gold.mentions[n + 1]
            gold.relations.append(
                Relation(len(gold.relations), COREFERENCE, head.text, tail.text, [n], [n + 1])
            )
    return gold


def test_each_mention_is_the_next_occurrence_that_no_other_mention_is() -> None:
    document = english(TEXT)
    parsed = coreference.parse("The gene; It; it\nthe protein; it", ask(document), document)
    assert parsed.problem is None
    assert links(parsed.annotations) == [
        (COREFERENCE, "The gene", 0, "It", 18),
        (COREFERENCE, "It", 18, "it", 44),
        (COREFERENCE, "the protein", 27, "it", 53),
    ]
    assert links(merge([parsed.annotations])) == links(parsed.annotations), "ids stay single"


@pytest.mark.parametrize(
    ("answer", "number", "problem"),
    [
        ("none", 0, None),
        ("- The gene; It\n- the protein; it", 2, None),
        ("The gene", 0, "invalid"),
        ("The gene; she", 1, "not_in_text"),
        ("The gene; The gene", 0, None),
        ("", 0, "invalid"),
    ],
)
def test_answers_of_models_are_read(answer: str, number: int, problem: str | None) -> None:
    document = english(TEXT)
    parsed = coreference.parse(answer, ask(document, grammar=False), document)
    assert (len(parsed.annotations.relations), parsed.problem) == (number, problem)


def test_a_cut_answer_loses_its_last_mention() -> None:
    document = english(TEXT)
    parsed = coreference.parse("The gene; It; th", ask(document), document, cut=True)
    assert [link[1] for link in links(parsed.annotations)] == ["The gene"]
    assert parsed.problem is None


@pytest.mark.parametrize(
    ("document", "gold", "answer"),
    [
        (
            english(TEXT),
            gold_of([("the protein", 27), ("it", 53)], [("The gene", 0), ("It", 18), ("it", 44)]),
            "The gene; It; it\nthe protein; it",
        ),
        (chinese("患者好转，她出院。"), gold_of([("患者", 0), ("她", 5)]), "患者; 她"),
        (english(TEXT), Annotations(), "none"),
        (chinese("好转。"), Annotations(), "无"),
    ],
)
def test_gold_chains_are_written_in_the_order_of_the_text(
    document: Document, gold: Annotations, answer: str
) -> None:
    question = ask(document)
    assert coreference.target(question, gold) == answer
    assert coreference.lost(question, gold) == {}
    found = coreference.parse(answer, question, document).annotations
    assert coreference.score(found, gold) == Counts(len(gold.relations), 0, 0)


def test_what_a_chain_cannot_state_is_counted() -> None:
    document = english("It is a gene; it binds; it ends.")
    gold = gold_of([("a gene; it", 6), ("it", 24)])
    assert coreference.lost(ask(document), gold) == {losses.SEPARATOR: 1}
    skipped = gold_of([("It", 0), ("it", 24)])
    assert coreference.target(ask(document), skipped) == "It; it"
    assert coreference.lost(ask(document), skipped) == {losses.ELSEWHERE: 1}


def test_links_of_any_order_make_one_chain() -> None:
    gold = gold_of([("The gene", 0), ("It", 18), ("it", 44)])
    gold.relations = [
        Relation(0, COREFERENCE, "it", "The gene", [2], [0]),
        Relation(1, COREFERENCE, "It", "it", [1], [2]),
        Relation(2, "other", "It", "it", [1], [2]),
    ]
    assert coreference.target(ask(english(TEXT)), gold) == "The gene; It; it"


def test_equivalent_names_of_real_records_come_back(shared_data: Path) -> None:
    """BioNLP-ST marks full names and abbreviations of the same thing as `Equiv`."""
    counts = Counts(0, 0, 0)
    lost: Counter[str] = Counter()
    for path in sorted(shared_data.glob("bionlp-st-2011-samples/*/*.txt")):
        ann = path.with_suffix(".ann").read_bytes()
        document = brat.parse(RawRecord("document", ann, beside={".txt": path.read_bytes()}))
        for relation in document.gold.relations:
            relation.type = COREFERENCE if relation.type == "Equiv" else relation.type
        question = ask(document)
        answer = coreference.target(question, document.gold)
        found = coreference.parse(answer, question, document).annotations
        here = coreference.score(found, document.gold)
        lost += coreference.lost(question, document.gold)
        counts = Counts(counts.tp + here.tp, counts.fp + here.fp, counts.fn + here.fn)
    assert lost.total() == counts.fn
    assert (counts.tp, lost) == (70, {losses.ELSEWHERE: 20})


def test_a_chain_may_be_of_very_many_links() -> None:
    gold = gold_of([("it", 3 * n) for n in range(40_000)])
    gold.relations.reverse()
    assert coreference.score(gold, gold) == Counts(39_999, 0, 0)


def test_chains_that_a_relation_joins_are_one() -> None:
    gold = gold_of([("a", 0), ("b", 2)], [("c", 4), ("d", 6)], [("e", 8), ("f", 10)])
    gold.relations.append(Relation(9, COREFERENCE, "d", "b", [3], [1]))
    one = gold_of([("a", 0), ("b", 2), ("c", 4), ("d", 6)], [("e", 8), ("f", 10)])
    assert coreference.score(gold, one) == Counts(4, 0, 0)
