"""Concept normalisation: candidates, answers, concepts of mentions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from taiyi_ray.errors import ConfigError
from taiyi_ray.merging import merge
from taiyi_ray.records import Annotations, Concept, Document, Mention
from taiyi_ray.tasks import TASKS, assign, losses, normalisation
from taiyi_ray.tasks.task import Counts, NotApplicable, Question
from tests.samples import asked, back, chinese, corpus, english, questions

TERMS = {
    "D1": ["Aspirin", "ASA"],
    "D2": ["Pain"],
    "D3": ["Asparagine", "Asn"],
    "D4": ["none"],
    "D5": ["Acid; acetylsalicylic"],
}


def ask(document: Document, **options: Any) -> list[Question]:
    return asked("nen", **{"terms": TERMS, "candidates": 3, **options}).questions(document)


def given(document: Document, *mentions: tuple[int, str, str | None]) -> Document:
    document.gold = Annotations(
        [
            Mention(n, "chemical", text, start, start + len(text), concept=id_ and Concept("", id_))
            for n, (start, text, id_) in enumerate(mentions)
        ]
    )
    return document


def test_mentions_of_the_same_words_share_a_question_with_the_likeliest_candidates() -> None:
    document = given(english("ASA or aspirin, ASA."), (0, "ASA", "D1"), (16, "ASA", None))
    (question,) = ask(document, db="MESH")
    assert question.types[0].name == "D1"
    assert [m.start for m in question.mentions] == [0, 16]
    assert all(m.concept is None for m in question.mentions), "the gold is not told"
    assert '"ASA"' in question.messages[0]["content"]
    assert "- Aspirin\n" in question.messages[0]["content"]
    found = TASKS["nen"].parse("Aspirin", question, document)
    assert found.problem is None
    assert [(m.start, m.type, m.concept) for m in found.annotations.mentions] == [
        (start, "chemical", Concept("MESH", "D1", "Aspirin")) for start in (0, 16)
    ]


@pytest.mark.parametrize(
    ("answer", "id_", "problem"),
    [
        ("aspirin.", "D1", None),
        ('"Aspirin"', "D1", None),
        ("none", None, None),
        ("Paracetamol", None, "invalid"),
        ("Aspirin; Pain", "D1", "invalid"),
        ("", None, "invalid"),
    ],
)
def test_answers_of_models_are_read(answer: str, id_: str | None, problem: str | None) -> None:
    document = given(english("ASA"), (0, "ASA", None))
    (question,) = ask(document)
    found = TASKS["nen"].parse(answer, question, document)
    assert found.problem == problem
    assert [m.concept.id for m in found.annotations.mentions if m.concept] == [id_] * bool(id_)


def test_labels_of_candidates_differ_and_can_be_read() -> None:
    terms = {"A": "Cold", "B": "cold", "C": "none", "D": "acid; weak"}
    document = given(english("cold"), (0, "cold", None))
    (question,) = ask(document, terms=terms, candidates=4)
    labels = {term.name: term.en for term in question.types}
    assert labels == {"A": "Cold [A]", "B": "cold [B]", "C": "none [C]", "D": "acid, weak"}
    for id_, label in labels.items():
        (mention,) = TASKS["nen"].parse(label, question, document).annotations.mentions
        assert mention.concept is not None
        assert mention.concept.id == id_


def test_names_of_the_terminology_are_mentions_when_the_input_has_none() -> None:
    questions = ask(english("Pain: ASA, pain."), mentions="names")
    assert [[m.text for m in q.mentions] for q in questions] == [["Pain"], ["ASA"], ["pain"]]
    with pytest.raises(NotApplicable, match="no name of the terminology"):
        ask(english("nothing here"), mentions="names")
    with pytest.raises(NotApplicable, match="no mentions with offsets"):
        ask(english("ASA"))


def test_gold_concepts_come_back_but_for_what_is_counted_as_lost() -> None:
    document = given(
        english("ASA, ASA; Asn"), (0, "ASA", "D1"), (5, "ASA", "D3"), (10, "Asn", "D9")
    )
    assignment = asked("nen", terms=TERMS, candidates=3)
    reasons: Counter[str] = Counter()
    parts = []
    for question in assignment.questions(document):
        reasons += normalisation.lost(question, document.gold)
        answer = normalisation.target(question, document.gold)
        parts.append(assignment.task.parse(answer, question, document).annotations)
    assert reasons == {losses.OTHER_CONCEPT: 1, losses.NOT_ASKED: 1}
    # The second ASA gets the concept of the first.
    assert normalisation.score(merge(parts), document.gold) == Counts(tp=1, fp=1, fn=2)


def test_a_concept_goes_to_the_mention_that_another_task_finds() -> None:
    document = english("ASA")
    (question,) = ask(document, mentions="names")
    concept = TASKS["nen"].parse("Aspirin", question, document).annotations
    named = Annotations([Mention(0, "chemical", "ASA", 0, 3, passage=0)])
    for parts in ([concept, named], [named, concept]):
        (mention,) = merge(
            [replace(p, mentions=[replace(m) for m in p.mentions]) for p in parts]
        ).mentions
        assert mention.type == "chemical"
        assert mention.concept == Concept("", "D1", "Aspirin")


def test_a_file_is_read_for_those_only_who_own_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "terms.tsv"
    path.write_text("C1\tAspirin\n", "utf-8")
    (assignment,) = assign(["nen"], {"nen": {"terms": str(path)}}, files=True)
    assert assignment.options.terms.entries[0].id == "C1"
    with pytest.raises(ConfigError, match="a file is not read here") as error:
        assign(["nen"], {"nen": {"terms": str(path)}})
    assert "Aspirin" not in str(error.value)
    with pytest.raises(ConfigError, match="no such file"):
        assign(["nen"], {"nen": {"terms": "absent.tsv"}}, files=True)
    with pytest.raises(ConfigError, match=r"terms is missing; an example: `nen: \{terms: mesh"):
        assign(["nen"], {})


def test_the_identity_holds_the_digest_of_the_terms_and_not_where_they_lie(tmp_path: Path) -> None:
    identities = []
    for name in ("a.tsv", "b.tsv"):
        (tmp_path / name).write_text("C1\tAspirin\n", "utf-8")
        options = {"nen": {"terms": str(tmp_path / name)}}
        identities.append(assign(["nen"], options, files=True)[0].identity())
    identities.append(asked("nen", terms={"C1": "Aspirin"}).identity())
    assert identities[0] == identities[1] == identities[2]
    assert identities[0]["terms"] == {"entries": 1, "digest": "fbdf2c04dc5aa8f0"}
    assert asked("nen", terms={"C1": "ASA"}).identity() != identities[0]


def test_chinese_terms_are_normalised_in_chinese() -> None:
    document = chinese("患者服用阿斯匹林。")
    document.gold = Annotations([Mention(0, "药物", "阿斯匹林", 4, 8)])
    (question,) = ask(document, terms={"D1": ["阿司匹林"], "D2": ["布洛芬"]}, candidates=2)
    assert [term.name for term in question.types] == ["D1", "D2"]
    assert TASKS["nen"].parse("无", question, document).annotations == Annotations()


# ------------------------------------------------------------------------------------ gold corpora


@pytest.mark.parametrize(
    ("dataset", "documents", "come_back", "reasons"),
    [
        ("ncbi_disease", 100, 787, {}),
        # A term with several standard terms can name one of them.
        ("CHIP-CDN", 300, 300, {losses.OTHER_CONCEPT: 219}),
    ],
)
def test_gold_concepts_of_real_records_come_back_but_for_what_is_counted_as_lost(
    shared_data: Path, dataset: str, documents: int, come_back: int, reasons: dict[str, int]
) -> None:
    read = list(islice(corpus(shared_data, dataset, "dev"), documents))
    terms: dict[str, list[str]] = {}
    for _, gold in read:
        for mention in gold.mentions:
            if mention.concept and mention.concept.id:
                names = (mention.concept.name, mention.text)
                terms.setdefault(mention.concept.id, []).extend(name for name in names if name)
    assignment = asked("nen", terms=terms)
    lost: Counter[str] = Counter()
    found: list[Counts] = []
    for document, gold in read:
        if asked_about := questions(assignment, document):
            lost += sum((normalisation.lost(q, gold) for q in asked_about), Counter())
            found.append(normalisation.score(back(assignment, document, gold), gold))
    assert lost == reasons
    assert [sum(getattr(one, name) for one in found) for name in ("tp", "fp", "fn")] == [
        come_back, 0, lost.total(),
    ]  # fmt: skip
