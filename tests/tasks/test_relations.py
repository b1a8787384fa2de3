"""Relations: the words of answers, the mentions behind their two parts, gold there and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taiyi_ray.records import Annotations, Document, Mention, Relation
from taiyi_ray.tasks import losses, relations
from taiyi_ray.tasks.task import Counts, Found, NotApplicable, Question
from taiyi_ray.tasks.vocabulary import Term
from tests import samples
from tests.samples import asked, chinese, english

NAMES = "treatment,chemical_induced_disease"
TREATS, CAUSES = "treatment: ", "chemical-induced disease: "


def ask(document: Document, names: str = NAMES, *, grammar: bool = True) -> Question:
    (question,) = relations.questions(document, asked("re", names, grammar=grammar))
    return question


def gold_of(*pairs: tuple[str, str, str]) -> Annotations:
    return Annotations(relations=[Relation(n, *pair, [], []) for n, pair in enumerate(pairs)])


def test_heads_are_those_of_taiyi() -> None:
    terms = asked("re", NAMES).options.relations
    assert relations.heads(terms, "en") == [TREATS, CAUSES]
    assert relations.heads(terms[:1], "zh") == ["具有药物治疗关系的实体对如下："]


def test_head_and_tail_are_all_mentions_of_their_surface() -> None:
    document = english("Aspirin for pain", "aspirin eased pain, not pains; aspirin")
    answer = f"{TREATS}[aspirin, pain]; [Aspirin, pain]\n{CAUSES}[aspirin, pains]"
    parsed = relations.parse(answer, ask(document), document)
    assert [(m.id, m.type, m.text, m.start, m.passage) for m in parsed.annotations.mentions] == [
        (0, None, "aspirin", 17, 1),
        (1, None, "aspirin", 48, 1),
        (2, None, "pain", 12, 0),
        (3, None, "pain", 31, 1),
        (4, None, "Aspirin", 0, 0),
        (5, None, "pains", 41, 1),
    ]
    assert parsed.annotations.relations == [
        Relation(0, "treatment", "aspirin", "pain", [0, 1], [2, 3]),
        Relation(1, "treatment", "Aspirin", "pain", [4], [2, 3]),
        Relation(2, "chemical_induced_disease", "aspirin", "pains", [0, 1], [5]),
    ]
    assert parsed.problem is None


def test_part_that_is_not_in_the_text_is_a_mention_without_offsets() -> None:
    document = english("ASPIRIN")
    parsed = relations.parse(f"{TREATS}[aspirin, pain]", ask(document, grammar=False), document)
    assert [(m.text, m.start, m.grounded) for m in parsed.annotations.mentions] == [
        ("ASPIRIN", 0, "folded"),
        ("pain", None, "none"),
    ]
    assert parsed.annotations.relations == [
        Relation(0, "treatment", "aspirin", "pain", [0], [1]),
    ]
    assert parsed.problem == "not_in_text"


@pytest.mark.parametrize(
    ("answer", "cut", "pairs", "problem"),
    [
        ("none", False, [], None),
        (f"{TREATS}[a, b]; [b, a]", False, [("a", "b"), ("b", "a")], None),
        (f"{TREATS}[a, a]", False, [("a", "a")], None),
        (f"{TREATS}a and b", False, [], "invalid"),
        (f"{TREATS}[a b]\n{CAUSES}[a, b]", False, [("a", "b")], "invalid"),
        (f"cures: [a, b]\n{CAUSES}[a, b]", False, [("a", "b")], "invalid"),
        ("", False, [], "invalid"),
        (f"{TREATS}[a, b]; [b, a", True, [("a", "b")], None),
        (f"{TREATS}[a, b]\n{CAUSES}[b", True, [("a", "b")], None),
        (f"{TREATS}[a, b", True, [], "invalid"),
    ],
)
def test_answers(answer: str, cut: bool, pairs: list[tuple[str, str]], problem: str | None) -> None:
    document = english("a b")
    parsed = relations.parse(answer, ask(document), document, cut=cut)
    assert [(r.head_text, r.tail_text) for r in parsed.annotations.relations] == pairs
    assert parsed.problem == problem


@pytest.mark.parametrize(
    ("document", "gold", "answer"),
    [
        (
            english("cocaine, seizures and stroke"),
            gold_of(
                ("chemical_induced_disease", "cocaine", "stroke"),
                ("chemical_induced_disease", "cocaine", "seizures"),
                ("chemical_induced_disease", "cocaine", "seizures"),
            ),
            f"{CAUSES}[cocaine, seizures]; [cocaine, stroke]",
        ),
        (
            chinese("氨氯地平治高血压"),
            gold_of(("treatment", "高血压", "氨氯地平")),
            "具有药物治疗关系的实体对如下：[高血压, 氨氯地平]",
        ),
        (
            english("a, b [c] d; e"),
            gold_of(
                ("treatment", "a, b", "e"),
                ("treatment", "[c]", "e"),
                ("treatment", "d; e", "a"),
                ("treatment", "absent", "a"),
                ("other", "a", "b"),
            ),
            "none",
        ),
    ],
)
def test_target(document: Document, gold: Annotations, answer: str) -> None:
    assert relations.target(ask(document), gold) == answer


def test_target_of_a_window_names_pairs_with_both_parts_in_it() -> None:
    document = english("Aspirin eased pain. Aspirin and fever.")
    gold = gold_of(("treatment", "Aspirin", "pain"), ("treatment", "Aspirin", "fever"))
    questions = relations.questions(document, asked("re", NAMES), 25)
    assert [relations.target(question, gold) for question in questions] == [
        f"{TREATS}[Aspirin, pain]",
        f"{TREATS}[Aspirin, fever]",
    ]


# --------------------------------------------------------------------- between mentions of ner

PATIENT = english("Cocaine and seizures", "cocaine; status seizures, stroke [2]; BRCA1")


def found(*types: str, **mentions: str) -> Found:
    """What `ner` found, asked for these types: surfaces by type, with commas between."""
    spans = []
    for type_, surfaces in mentions.items():
        for surface in surfaces.split(","):
            start = PATIENT.text.index(surface)
            span = (start, start + len(surface))
            spans.append(Mention(len(spans), type_, surface, *span, passage=0, grounded="exact"))
    return Found(frozenset(types), spans)


def ask_between(known: Found | None, names: str = NAMES) -> list[Question]:
    assignment = asked("re", names, ends="mentions")
    assert assignment.follows
    return relations.questions(PATIENT, replace(assignment, found=known))


def test_a_relation_is_asked_about_where_there_are_mentions_of_both_its_types() -> None:
    both = found("chemical", "disease", "gene", chemical="Cocaine", disease="seizures,stroke [2]")
    (question,) = ask_between(both, f"{NAMES},gene_disease,protein_interaction")
    assert [term.name for term in question.types] == NAMES.split(",")
    assert [m.text for m in question.mentions] == ["Cocaine", "seizures"]  # a pair holds no bracket
    for one in (
        found("chemical", "disease", chemical="Cocaine"),
        found("chemical", "disease", disease="stroke [2]", chemical="Cocaine"),
        found("chemical", "disease"),
    ):
        with pytest.raises(NotApplicable, match="no mentions of both types of treatment, chem"):
            ask_between(one)
    with pytest.raises(NotApplicable):  # it takes two chemicals
        ask_between(found("chemical", chemical="Cocaine"), "drug_interaction")
    assert len(ask_between(found("chemical", chemical="Cocaine,cocaine"), "drug_interaction")) == 1


def test_a_pair_names_known_mentions_in_either_order_and_is_those_mentions(
    accepts: Callable[[str, str], bool],
) -> None:
    known = found("chemical", "disease", chemical="Cocaine", disease="status seizures")
    (question,) = ask_between(known)
    answer = f"{CAUSES}[Cocaine, status seizures]"
    parsed = relations.parse(answer, question, PATIENT)
    assert [(m.text, m.start) for m in parsed.annotations.mentions] == [
        ("Cocaine", 0),
        ("status seizures", 30),
    ]
    for told, allowed in {
        answer: True,
        f"{CAUSES}[status seizures, Cocaine]": True,
        f"{TREATS}[Cocaine, status seizures]\n{answer}": True,
        f"{CAUSES}[Cocaine, Cocaine]": False,
        f"{CAUSES}[cocaine, status seizures]": False,
        "none": True,
    }.items():
        assert accepts(question.grammar or "", told) is allowed, told


def test_a_relation_is_between_any_words_where_ner_was_not_asked_for_its_types(
    accepts: Callable[[str, str], bool],
) -> None:
    free = relations.questions(PATIENT, asked("re", NAMES))
    for known in (None, found("gene", gene="BRCA1")):
        (question,) = ask_between(known)
        assert (question.types, question.grammar) == (free[0].types, free[0].grammar)
        assert question.messages == free[0].messages
    (own,) = ask_between(found("gene", "disease", gene="BRCA1", disease="seizures"), "cures")
    assert accepts(own.grammar or "", "cures: [BRCA1, seizures]")
    assert not accepts(own.grammar or "", "cures: [BRCA1, status]")


def test_score_counts_exact_matches_with_direction() -> None:
    predicted = gold_of(("treatment", "a", "b"), ("treatment", "b", "c"))
    gold = gold_of(("treatment", "a", "b"), ("treatment", "c", "b"), ("other", "b", "c"))
    assert relations.score(predicted, gold) == Counts(tp=1, fp=1, fn=2)


# -------------------------------------------------------------------------------------------- gold


@pytest.mark.parametrize(
    ("dataset", "split", "number", "lost"),
    [
        ("bc5cdr", "test", 1_055, {losses.SEPARATOR: 4}),
        ("CMeIE", "dev", 5_328, {losses.SEPARATOR: 5, losses.BOUND: 5}),
    ],
)
def test_gold_comes_back_from_its_target_but_for_what_is_counted_as_lost(
    shared_data: Path, dataset: str, split: str, number: int, lost: dict[str, int]
) -> None:
    documents = list(samples.corpus(shared_data, dataset, split))
    names = sorted({relation.type for _, gold in documents for relation in gold.relations})
    assignment = asked("re", [Term(name, name, name) for name in names])
    reasons = Counter[str]()
    pairs = 0
    for document, gold in documents:
        (question,) = relations.questions(document, assignment)
        parsed = relations.parse(relations.target(question, gold), question, document)
        assert parsed.problem is None
        true = {(r.type, r.head_text, r.tail_text) for r in gold.relations}
        back = {(r.type, r.head_text, r.tail_text) for r in parsed.annotations.relations}
        pairs += len(true)
        assert back <= true
        lost_here = relations.lost(question, gold)
        assert len(true - back) == lost_here.total()
        reasons += lost_here
    assert (pairs, reasons) == (number, lost)


# -------------------------------------------------------------------------------------- properties

TEXTS = st.text("aAbB1 -.;:[],\n中国：；无e\u0301🧬\0\t")
DOCUMENTS = st.lists(st.tuples(st.sampled_from(["en", "zh", "de"]), TEXTS), max_size=4).map(
    lambda parts: Document(
        "d", samples.passages(("text", language, text) for language, text in parts)
    )
)
PIECES = [
    TREATS,
    CAUSES,
    "具有药物治疗关系的实体对如下：",
    "none",
    "[",
    "]",
    ", ",
    "; ",
    "\n",
    "a",
    "B",
    "中",
]
ANSWERS = st.one_of(st.lists(st.sampled_from(PIECES)).map("".join), st.text())


@given(document=DOCUMENTS, answer=ANSWERS, grammar=st.booleans(), cut=st.booleans())
def test_any_answer_is_read_without_error_and_heads_and_tails_are_mentions(
    document: Document, answer: str, grammar: bool, cut: bool
) -> None:
    for question in samples.questions(asked("re", NAMES, grammar=grammar), document):
        found = relations.parse(answer, question, document, cut=cut).annotations
        assert [mention.id for mention in found.mentions] == list(range(len(found.mentions)))
        assert [relation.id for relation in found.relations] == list(range(len(found.relations)))
        for mention in found.mentions:
            if mention.start is not None:
                assert document.text[mention.start : mention.end] == mention.text
        for relation in found.relations:
            assert relation.head_text and relation.tail_text
            for ids, surface in (
                (relation.head, relation.head_text),
                (relation.tail, relation.tail_text),
            ):
                assert ids
                exact = [found.mentions[n] for n in ids if found.mentions[n].grounded != "folded"]
                assert all(mention.text == surface for mention in exact)


@given(data=st.data())
def test_answer_cut_anywhere_gives_only_relations_of_the_whole_answer(data: st.DataObject) -> None:
    surfaces = st.sampled_from(["a", "b", "a b", "c-d", "absent"])
    heads = data.draw(st.lists(st.sampled_from([TREATS, CAUSES]), max_size=3))
    pairs = st.lists(st.tuples(surfaces, surfaces), min_size=1, max_size=3)
    answer = "\n".join(
        head + "; ".join(f"[{a}, {b}]" for a, b in data.draw(pairs)) for head in heads
    )
    document = english("a b c-d a b")
    question = ask(document)
    whole = relations.parse(answer, question, document).annotations.relations
    at = data.draw(st.integers(0, len(answer)))
    part = relations.parse(answer[:at], question, document, cut=True).annotations.relations
    assert part == whole[: len(part)] or {(r.type, r.head_text, r.tail_text) for r in part} <= {
        (r.type, r.head_text, r.tail_text) for r in whole
    }
