"""Mentions: the words of questions and answers, the offsets that come of them, gold and back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taiyi_ray.records import Annotations, Document, Mention, Passage
from taiyi_ray.tasks import losses, ner
from taiyi_ray.tasks.task import Assignment, Counts, Question
from taiyi_ray.tasks.vocabulary import Term
from tests import samples
from tests.samples import Gold, asked, chinese, english


def ask(document: Document, types: str, *, grammar: bool = True) -> Question:
    (question,) = ner.questions(document, asked("ner", types, grammar=grammar))
    return question


def found(
    answer: str, document: Document, types: str = "disease,gene", *, grammar: bool = True
) -> tuple[list[tuple[str | None, str, int | None, str]], str | None]:
    """(type, text, start, grounded) of the mentions that an answer gives, and its problem."""
    parsed = ner.parse(answer, ask(document, types, grammar=grammar), document)
    mentions = parsed.annotations.mentions
    for mention in mentions:
        if mention.start is not None:
            assert document.text[mention.start : mention.end] == mention.text
    assert [mention.id for mention in mentions] == list(range(len(mentions)))
    return [(m.type, m.text, m.start, m.grounded) for m in mentions], parsed.problem


@pytest.mark.parametrize(
    ("language", "types", "heads"),
    [
        ("en", "disease,gene", ["disease: ", "gene or protein: "]),
        ("zh", "disease,gene", ["疾病：", "基因或蛋白质："]),
        ("en", "gene", ["Here are the gene or protein entities mentioned in the text: "]),
        ("zh", "disease", ["上述文本中包含的疾病实体为："]),
        ("zh", "器官", ["上述文本中包含的器官实体为："]),
    ],
)
def test_heads_are_those_of_taiyi(language: str, types: str, heads: list[str]) -> None:
    assert ner.heads(asked("ner", types).options.types, language) == heads


def test_mentions_are_located_at_every_occurrence_and_the_longest_wins() -> None:
    document = english("Breast cancer: BRCA1", "In breast cancer, BRCA1 and cancer; BRCA10.")
    answer = "disease: breast cancer; cancer\ngene or protein: BRCA1"
    assert found(answer, document) == (
        [
            ("disease", "breast cancer", 24, "exact"),
            ("disease", "cancer", 7, "exact"),
            ("disease", "cancer", 49, "exact"),
            ("gene", "BRCA1", 15, "exact"),
            ("gene", "BRCA1", 39, "exact"),
        ],
        None,
    )


@pytest.mark.parametrize("grammar", [True, False])
def test_an_answer_names_what_stands_in_its_own_window(grammar: bool) -> None:
    """What the next window says of the same words is the next answer's."""
    document = english("APC is mutated. No APC here.")
    assignment = asked("ner", "disease,gene", grammar=grammar)
    first, second = ner.questions(document, assignment, 16)
    answers = [(first, "gene or protein: APC", 0), (second, "disease: APC", 19)]
    for question, answer, start in answers:
        parsed = ner.parse(answer, question, document)
        assert [(m.start, m.grounded) for m in parsed.annotations.mentions] == [(start, "exact")]
        assert parsed.problem is None
    parsed = ner.parse("gene or protein: mutated", second, document)
    assert [m.start for m in parsed.annotations.mentions] == [None]
    assert parsed.problem == "not_in_text"


def test_same_place_may_have_two_types() -> None:
    mentions, _ = found("disease: APC\ngene or protein: APC", english("the APC"))
    assert mentions == [("disease", "APC", 4, "exact"), ("gene", "APC", 4, "exact")]


def test_nested_chinese_mentions_are_kept() -> None:
    mentions, problem = found("疾病：急性胰腺炎; 胰腺炎\n", chinese("急性胰腺炎患者"))
    assert mentions == [("disease", "急性胰腺炎", 0, "exact"), ("disease", "胰腺炎", 2, "exact")]
    assert problem is None


def test_what_is_not_in_the_text_is_kept_without_offsets() -> None:
    document = english("a Breast-Cancer case")
    assert found("disease: flu; breast cancer", document, grammar=False) == (
        [("disease", "flu", None, "none"), ("disease", "Breast-Cancer", 2, "folded")],
        "not_in_text",
    )


@pytest.mark.parametrize("answer", ["disease: Pain; pain", "disease: pain; Pain"])
def test_mention_that_stands_as_written_is_exact_even_if_also_written_otherwise(
    answer: str,
) -> None:
    mentions, _ = found(answer, english("the pain"), grammar=False)
    assert mentions == [("disease", "pain", 4, "exact")]


def test_only_passages_of_the_question_s_language_are_searched() -> None:
    document = Document(
        "d",
        [
            Passage("text", "de", 0, "BRCA1 Krebs"),
            Passage("text", "en", 12, "BRCA1"),
            Passage("text", "zh", 18, "BRCA1基因"),
        ],
    )
    in_english, in_chinese = ner.questions(document, asked("ner", "disease,gene"))
    for question, answer, start in [
        (in_english, "gene or protein: BRCA1", 12),
        (in_chinese, "基因或蛋白质：BRCA1\n", 18),
    ]:
        (mention,) = ner.parse(answer, question, document).annotations.mentions
        assert (mention.start, mention.passage) == (start, 1 if start == 12 else 2)


@pytest.mark.parametrize(
    ("answer", "mentions"),
    [
        ("disease: pain; fev", ["pain"]),
        ("disease: pain; fever\ngene or", ["pain", "fever"]),
        ("disease: pain", []),
        ("dis", []),
    ],
)
def test_cut_answer_gives_its_whole_mentions(answer: str, mentions: list[str]) -> None:
    document = english("pain and fever in fevers")
    parsed = ner.parse(answer, ask(document, "disease,gene"), document, cut=True)
    assert [mention.text for mention in parsed.annotations.mentions] == mentions


def gold_of(*mentions: tuple[str, int, str]) -> Annotations:
    return Annotations(
        [
            Mention(n, type_, text, at, at + len(text))
            for n, (type_, at, text) in enumerate(mentions)
        ]
    )


GOLD = gold_of(("gene", 18, "p53"), ("disease", 9, "pain"), ("disease", 0, "fever; x"))


@pytest.mark.parametrize(
    ("types", "document", "gold", "answer"),
    [
        (
            "disease,gene",
            english("fever; x pain and p53"),
            GOLD,
            "disease: pain\ngene or protein: p53",
        ),
        (
            "disease",
            english("fever; x pain and p53"),
            GOLD,
            "Here are the disease entities mentioned in the text: pain",
        ),
        ("species", english("fever; x pain and p53"), GOLD, "none"),
        (
            "disease,chemical",
            chinese("水肿、头痛、水肿"),
            gold_of(("disease", 6, "水肿"), ("disease", 3, "头痛"), ("disease", 0, "水肿")),
            "疾病：水肿; 头痛\n",
        ),
        ("disease,chemical", chinese("无病"), Annotations(), "无"),
    ],
)
def test_target(types: str, document: Document, gold: Annotations, answer: str) -> None:
    assert ner.target(ask(document, types), gold) == answer


@pytest.mark.parametrize(
    ("text", "mention", "answer"),
    [
        ("In breast\ncancer.", "breast\ncancer", "disease: breast cancer"),
        ("In breast\n\ncancer.", "breast\n\ncancer", "none"),
        ("x\tbreast\ncancer\ty", "breast\ncancer", "none"),
    ],
    ids=["next line", "empty line", "rows of a table"],
)
def test_target_names_what_goes_on_in_the_next_line_and_no_farther(
    text: str, mention: str, answer: str
) -> None:
    gold = gold_of(("disease", text.index("breast"), mention))
    assert ner.target(ask(english(text), "disease,gene"), gold) == answer


def test_target_of_a_window_names_what_lies_in_it() -> None:
    document = english("Pain came first. Then came fever, later.")
    gold = gold_of(("disease", 0, "Pain"), ("disease", 27, "fever"))
    questions = ner.questions(document, asked("ner", "disease,gene"), 25)
    assert [ner.target(q, gold) for q in questions] == ["disease: Pain", "disease: fever"]


def test_score_counts_exact_matches() -> None:
    predicted = gold_of(("disease", 0, "pain"), ("gene", 5, "p53"))
    predicted.mentions.append(Mention(2, "disease", "flu", None, None, grounded="none"))
    gold = gold_of(("disease", 0, "pain"), ("disease", 5, "p53"))
    assert ner.score(predicted, gold) == Counts(tp=1, fp=2, fn=1)


# -------------------------------------------------------------------------------------------- gold


def all_types(documents: list[Gold]) -> Assignment:
    names = sorted({m.type for _, gold in documents for m in gold.mentions if m.type})
    return asked("ner", [Term(name, name, name) for name in names])


def policy(documents: list[Gold]) -> tuple[float, float, Counter[str]]:
    """Precision and recall of locating the gold surfaces, against the gold offsets.

    The reasons for what does not come back are counted, too.
    """
    counts, reasons = Counter[str](), Counter[str]()
    assignment = all_types(documents)
    for document, gold in documents:
        for question in ner.questions(document, assignment):
            parsed = ner.parse(ner.target(question, gold), question, document)
            assert parsed.problem is None
            score = ner.score(parsed.annotations, gold)
            counts.update(tp=score.tp, fp=score.fp, fn=score.fn)
            reasons += ner.lost(question, gold)
    right = counts["tp"]
    precision = round(right / (right + counts["fp"]), 4)
    return precision, round(right / (right + counts["fn"]), 4), reasons


@pytest.mark.parametrize(
    ("dataset", "splits", "precision_recall", "reasons"),
    [
        ("bc5cdr", ["test"], (0.9969, 0.9997), {losses.IN_A_WORD: 2, losses.NESTED: 1}),
        (
            "biored",
            ["train", "dev"],
            (0.9868, 0.9931),
            {losses.BOUND: 63, losses.IN_A_WORD: 52, losses.NESTED: 1},
        ),
        # Every occurrence of a surface is found, and one character (`肺`) often stands in others.
        ("CMeEE-V2", ["dev"], (0.9585, 0.9991), {losses.BOUND: 9, losses.NESTED: 2}),
    ],
)
def test_gold_comes_back_from_its_target(
    shared_data: Path,
    dataset: str,
    splits: list[str],
    precision_recall: tuple[float, float],
    reasons: dict[str, int],
) -> None:
    documents = list(samples.corpus(shared_data, dataset, *splits))
    assert policy(documents) == (*precision_recall, reasons)


# -------------------------------------------------------------------------------------- properties

TEXTS = st.text("aAbB1 -.;:[],\n中国：；无e\u0301🧬\0\t")
DOCUMENTS = st.lists(st.tuples(st.sampled_from(["en", "zh", "de"]), TEXTS), max_size=4).map(
    lambda parts: Document(
        "d", samples.passages(("text", language, text) for language, text in parts)
    )
)
PIECES = [
    "disease: ",
    "gene or protein: ",
    "疾病：",
    "none",
    "; ",
    "\n",
    "a",
    "B",
    "中",
    "国",
    "[",
    "\0",
]
ANSWERS = st.one_of(st.lists(st.sampled_from(PIECES)).map("".join), st.text())


@given(document=DOCUMENTS, answer=ANSWERS, grammar=st.booleans(), cut=st.booleans())
def test_any_answer_is_read_without_error_and_located_mentions_are_text_of_one_passage(
    document: Document, answer: str, grammar: bool, cut: bool
) -> None:
    for question in samples.questions(asked("ner", "disease,gene", grammar=grammar), document):
        annotations = ner.parse(answer, question, document, cut=cut).annotations
        places = [(m.type, m.start, m.end, m.text) for m in annotations.mentions]
        assert len(set(places)) == len(places)
        for number, mention in enumerate(annotations.mentions):
            assert mention.id == number
            assert mention.text
            assert (mention.start is None) == (mention.grounded == "none")
            if mention.start is not None and mention.end is not None:
                assert document.text[mention.start : mention.end] == mention.text
                assert mention.passage is not None
                passage = document.passages[mention.passage]
                assert passage.offset <= mention.start < mention.end <= passage.end
                assert passage.language == question.language


@given(data=st.data())
def test_answer_cut_anywhere_gives_only_mentions_of_the_whole_answer(data: st.DataObject) -> None:
    """Surfaces, not places: a longer mention that was cut off no longer hides a nested one."""
    document = english("a b c d a b")
    surfaces = st.lists(st.sampled_from(["a", "b", "a b", "c d", "absent"]), min_size=1, max_size=4)
    names = data.draw(st.lists(st.sampled_from(["disease", "gene or protein"]), max_size=3))
    answer = "\n".join(f"{name}: {'; '.join(data.draw(surfaces))}" for name in names) or "none"
    question = ask(document, "disease,gene")
    whole = {(m.type, m.text) for m in ner.parse(answer, question, document).annotations.mentions}
    at = data.draw(st.integers(0, len(answer)))
    part = ner.parse(answer[:at], question, document, cut=True).annotations.mentions
    assert {(m.type, m.text) for m in part} <= whole
