"""Overlap: a training document that stands in a test set is found, an unrelated one is not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taiyi_ray.instruct.overlap import (
    Compared,
    HeldOut,
    Index,
    Overlap,
    grams,
)
from taiyi_ray.models.trained import text_hash
from taiyi_ray.records import Annotations, Document, Mention, passages

WORDS = [f"word{number}" for number in range(100)]
ENGLISH = " ".join(WORDS)
CHINESE = "患者男性六十五岁因反复胸闷气促三年加重一周入院既往高血压病史十年余服用氨氯地平控制尚可"


def document(*texts: str, language: str = "en", pmid: str = "1") -> Document:
    return Document(pmid, passages(("text", language, text) for text in texts))


def index(*texts: str, language: str = "en", pmid: str | None = "99") -> Index:
    return Index.of(
        (HeldOut("tested", pmid), Compared.of(document(text, language=language))) for text in texts
    )


def test_the_same_pmid_is_an_overlap_whatever_the_text() -> None:
    assert index(ENGLISH).overlap(document("another text"), "99", 0.2) == Overlap("pmid", "tested")


def test_the_same_text_is_an_overlap_in_other_passages_case_and_blanks() -> None:
    halves = document(" ".join(WORDS[:50]).upper(), "  ".join(WORDS[50:]) + ".")
    assert index(ENGLISH, pmid=None).overlap(halves, None, 1.0) == Overlap("text", "tested")


@pytest.mark.parametrize(("copied", "expected"), [(25, None), (26, Overlap("ngrams", "tested"))])
def test_a_fifth_of_the_test_texts_ngrams_is_an_overlap(
    copied: int, expected: Overlap | None
) -> None:
    # 100 words have 93 n-grams, and n copied words have n - 7 of them: a fifth is 18.6.
    training = document("before " * 30 + " ".join(WORDS[:copied]) + " behind" * 30)
    assert index(ENGLISH).overlap(training, None, 0.2) == expected


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        (WORDS[40:52], Overlap("ngrams", "tested")),
        ([*WORDS[40:52], "more"], None),
        (WORDS[40:47], None),  # seven words may stand anywhere
    ],
)
def test_a_sentence_of_a_test_text_is_an_overlap_though_it_is_a_small_part_of_it(
    sentence: list[str], expected: Overlap | None
) -> None:
    assert index(ENGLISH).overlap(document(" ".join(sentence).title()), None, 0.2) == expected


def test_a_test_sentence_without_gold_may_stand_in_a_paper() -> None:
    sentence = document("All authors read and approved the final manuscript.")
    paper = document(f"{ENGLISH} {sentence.text}")
    plain = Index.of([(HeldOut("tested", None), Compared.of_test(sentence))])
    assert plain.overlap(paper, None, 0.2) is None
    assert plain.overlap(sentence, None, 0.2) == Overlap("text", "tested")
    gold = Annotations(mentions=[Mention(0, "person", "authors", 4, 11)])
    marked = Index.of([(HeldOut("tested", None), Compared.of_test(replace(sentence, gold=gold)))])
    assert marked.overlap(paper, None, 0.2) == Overlap("ngrams", "tested")


def test_chinese_texts_are_compared_by_characters() -> None:
    training = document("主诉：" + CHINESE[5:35] + "。", language="zh")
    assert index(CHINESE, language="zh").overlap(training, None, 0.2) == Overlap("ngrams", "tested")
    assert (
        index(CHINESE, language="zh").overlap(document("患者女性", language="zh"), None, 0.2)
        is None
    )


MIXED = (
    "入组标准：ECOG PS 0-1 分，WBC≥3.5×10^9/L，PLT≥100×10^9/L；方案 GEMOX："
    "Gemcitabine 1000 mg/m2 d1、Oxaliplatin 85 mg/m2 d2，q2w"
)


def test_texts_of_both_scripts_are_compared_by_words_and_characters() -> None:
    training = document(
        "给予方案 GEMOX : gemcitabine 1000 mg/m2 d1,oxaliplatin 85 mg/m2 d2", language="zh"
    )
    assert index(MIXED, language="zh").overlap(training, None, 0.2) == Overlap("ngrams", "tested")
    other = document("方案 FOLFOX：Oxaliplatin 100 mg/m2 d1", language="zh")
    assert index(MIXED, language="zh").overlap(other, None, 0.2) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (" ".join(WORDS[:8]), 1),
        (" ".join(WORDS[:7]), 0),
        (CHINESE[:16], 1),
        (CHINESE[:15], 0),
        (CHINESE[:14] + " word", 1),  # a word is as much as two characters
        (CHINESE[:13] + " word", 0),
        ("word " + CHINESE[:16], 2),
        ("", 0),
    ],
)
def test_an_ngram_is_eight_words_or_sixteen_characters(text: str, number: int) -> None:
    assert len(grams(document(text))) == number


def test_an_index_is_the_same_after_it_was_stored() -> None:
    made = Index.of(
        [
            (HeldOut("a", "7"), Compared.of(document(ENGLISH))),
            (HeldOut("b", None), Compared.of(document(CHINESE, language="zh"))),
        ]
    )
    stored = Index.from_bytes(made.to_bytes())
    assert stored.to_bytes() == made.to_bytes()
    assert (stored.documents, stored.texts, stored.pmids) == (
        made.documents,
        made.texts,
        made.pmids,
    )
    assert stored.overlap(document(CHINESE, language="zh"), None, 0.5) == Overlap("text", "b")


def test_an_index_of_nothing_finds_nothing() -> None:
    empty = Index.from_bytes(Index.of([]).to_bytes())
    assert empty.overlap(document(ENGLISH), "1", 0.2) is None


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=60))
def test_ngrams_do_not_depend_on_passages(words: list[str]) -> None:
    one = document(" ".join(words))
    many = document(*words)
    assert text_hash(one) == text_hash(many)
    assert grams(one).tolist() == grams(many).tolist()
    assert len(grams(one)) <= max(0, len(words) - 7)


def test_a_document_is_not_changed() -> None:
    before = document(ENGLISH)
    index(ENGLISH).overlap(before, None, 0.2)
    assert before == replace(document(ENGLISH))
