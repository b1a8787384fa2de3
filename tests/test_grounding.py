"""Where a surface stands, in offsets of the text as it is; what the grammars let a model write."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import llguidance
import llguidance.hf
import llguidance.numpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taiyi_ray import grounding, nothing
from taiyi_ray.forms import Folded, Running
from taiyi_ray.grounding import (
    LONGEST,
    MOST,
    EventFields,
    Locator,
    events_grammar,
    longest,
    mentions_grammar,
    pairs_grammar,
)
from taiyi_ray.merging import merge
from taiyi_ray.records import (
    Annotations,
    Argument,
    Event,
    Label,
    Mention,
    Relation,
    Span,
    Text,
)
from taiyi_ray.tasks import TASKS, ner
from taiyi_ray.tasks.task import NotApplicable
from tests import samples
from tests.samples import asked, chinese, corpus, english, every

# ---------------------------------------------------------------------------------------- locating


def find(surface: str, text: str, language: str = "en", *, fold: bool = False) -> list[Any]:
    """The ranges of `surface` in a text of one passage, and the way it was matched."""
    spans, how = Locator(Running([(0, text)]), language, fold=fold).find(surface)
    return [(span.start, span.end) for span in spans] + [how]


@pytest.mark.parametrize(
    ("surface", "text", "language", "expected"),
    [
        pytest.param("pain", "pain, back pain", "en", [(0, 4), (11, 15)], id="every occurrence"),
        pytest.param("β-catenin", "α/β-catenin", "en", [(2, 11)], id="Greek letters"),
        pytest.param("α", "TNF-α and α1", "en", [(4, 5)], id="Greek letter before a digit"),
        pytest.param(
            "gene", "🧬 gene 👩‍🔬 gene", "en", [(2, 6), (11, 15)], id="emoji beyond the BMP"
        ),
        pytest.param("🧬", "a🧬b🧬", "en", [(1, 2), (3, 4)], id="emoji themselves"),
        pytest.param("cafe\u0301", "le cafe\u0301 noir", "en", [(3, 8)], id="combining mark"),
        pytest.param("e", "e\u0301 e", "en", [(3, 4)], id="not a letter without its mark"),
        pytest.param("ＨＥＲ２", "ＨＥＲ２ (full width)", "en", [(0, 4)], id="full width"),
        pytest.param("patient", "patients: a patient", "en", [(12, 19)], id="not inside a word"),
        pytest.param("IL-2", "IL-2, IL-21, anti-IL-2", "en", [(0, 4), (18, 22)], id="digits bound"),
        pytest.param("HER2", "HER2阳性", "en", [(0, 4)], id="Latin beside Han, in English"),
        pytest.param("HER2", "HER2阳性", "zh", [(0, 4)], id="Latin beside Han, in Chinese"),
        pytest.param("头痛", "头痛、偏头痛𠮷头痛", "zh", [(0, 2), (4, 6), (7, 9)], id="Chinese"),
        pytest.param("哈哈", "哈哈哈哈哈", "zh", [(0, 2), (2, 4)], id="occurrences do not overlap"),
        pytest.param("a a", "xa a a", "en", [(3, 6)], id="half word hides no whole one"),
        pytest.param(
            "gene", "genes, genetic", "en", [(0, 4), (7, 11)], id="half words if no whole"
        ),
        pytest.param("BRCA1", "brca1", "en", [], id="exact only"),
        pytest.param("", "text", "en", [], id="nothing to find"),
    ],
)
def test_surface_is_found_exactly(
    surface: str, text: str, language: str, expected: list[tuple[int, int]]
) -> None:
    assert find(surface, text, language) == [*expected, "exact" if expected else "none"]
    assert all(text[start:end] == surface for start, end in expected)


@pytest.mark.parametrize(
    ("surface", "text", "language", "range_", "standing"),
    [
        pytest.param("brca1", "of BRCA1.", "en", (3, 8), "BRCA1", id="case"),
        pytest.param("HER2", "🧬ＨＥＲ２+", "en", (1, 5), "ＨＥＲ２", id="width"),
        pytest.param(
            "beta blocker", "a beta\u2010blocker", "en", (2, 14), "beta‐blocker", id="hyphen"
        ),
        pytest.param("-IL 2-", "x IL-2 y", "en", (2, 6), "IL-2", id="hyphens around the surface"),
        pytest.param(
            "lung cancer", "lung \t\xa0 cancer", "en", (0, 14), "lung \t\xa0 cancer", id="blanks"
        ),
        pytest.param("ß-carotene", "ẞ-Carotene", "en", (0, 10), "ẞ-Carotene", id="sharp s"),
        pytest.param("strasse", "die Straße", "en", (4, 10), "Straße", id="one character for two"),
        pytest.param("cells", "Cells Cellsx", "en", (0, 5), "Cells", id="whole words first"),
        pytest.param("高血压", "患 高 血压 者", "zh", (2, 6), "高 血压", id="blanks in Chinese"),
        pytest.param("B-12", "维生素Ｂ－１２", "zh", (3, 7), "Ｂ－１２", id="width in Chinese"),
    ],
)
def test_folded_surface_is_found_at_the_offsets_of_the_original_text(
    surface: str, text: str, language: str, range_: tuple[int, int], standing: str
) -> None:
    assert find(surface, text, language, fold=True) == [range_, "folded"]
    assert text[range_[0] : range_[1]] == standing
    assert find(surface, text, language, fold=False) == ["none"]


@pytest.mark.parametrize("surface", ["--", "\u00a0", "\u00ad", "absent"])
def test_nothing_is_found_for_a_surface_that_folds_to_nothing_or_is_absent(surface: str) -> None:
    assert find(surface, "a - b", fold=True) == ["none"]


@pytest.mark.parametrize(
    ("surface", "text", "standing"),
    [
        pytest.param("Sjögren", "of Sjo\u0308gren's", "Sjo\u0308gren", id="letter and mark"),
        pytest.param("Sjo\u0308gren", "of Sjögren's", "Sjögren", id="composed letter"),
        pytest.param("cancer", "a can\u00adcer\u00ad", "can\u00adcer", id="soft hyphen"),
        pytest.param("can\u00adcer", "a cancer", "cancer", id="soft hyphen in the answer"),
        pytest.param("TNF-α", "T\u200bN\ufeffF-\u2060α", "T\u200bN\ufeffF-\u2060α", id="unseen"),
        pytest.param("Crohn's", "Crohn’s disease", "Crohn’s", id="apostrophe"),
        pytest.param("Crohn’s", "Crohn's disease", "Crohn's", id="typographic one in the answer"),
        pytest.param("5'-UTR", "the 5′‑UTR", "5′‑UTR", id="prime"),
        pytest.param('"wild"', "the “wild” type", "“wild”", id="quotes"),
        pytest.param("IL-2", "IL―2", "IL―2", id="dash"),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_differences_that_nobody_sees_hide_no_mention(
    surface: str, text: str, standing: str, language: str
) -> None:
    (start, end), how = find(surface, text, language, fold=True)
    assert (text[start:end], how) == (standing, "folded")


def test_no_part_of_a_letter_with_its_marks_is_found() -> None:
    for language in ("en", "zh"):
        assert find("e", "cafe\u0301", language, fold=True) == ["none"]
        assert find("x", "x\u0304 y", language, fold=True) == ["none"]
        assert find("❤", "❤\ufe0f", language, fold=True) == [(0, 2), "folded"]
    # A grammar of Chinese text lets a model write any of its characters: then it is there.
    assert find("e", "e\u0301", "zh") == [(0, 1), "exact"]


@pytest.mark.parametrize(
    ("surface", "text", "language", "standing"),
    [
        ("breast cancer", "with breast\ncancer had", "en", "breast\ncancer"),
        ("breast cancer", "with breast \r\n  cancer had", "en", "breast \r\n  cancer"),
        ("乳腺癌", "患乳腺\n癌者", "zh", "乳腺\n癌"),
        ("HER2 阳性", "为HER2\n阳性", "zh", "HER2\n阳性"),
    ],
)
@pytest.mark.parametrize("fold", [False, True])
def test_a_mention_goes_on_in_the_next_line(
    surface: str, text: str, language: str, standing: str, fold: bool
) -> None:
    (start, end), how = find(surface, text, language, fold=fold)
    assert (text[start:end], how) == (standing, "exact")


@pytest.mark.parametrize("fold", [False, True])
def test_no_mention_crosses_an_empty_line(fold: bool) -> None:
    assert find("breast cancer", "breast\n\ncancer", fold=fold) == ["none"]
    assert find("breast cancer", "breast\n \t\ncancer", fold=fold) == ["none"]
    assert find("breast\n\ncancer", "breast\n\ncancer", fold=fold) == ["none"]
    assert find("乳腺癌", "乳腺\n\n癌", "zh", fold=fold) == ["none"]


def test_exact_match_wins_over_folded_ones() -> None:
    assert find("pain", "Pain, pain", fold=True) == [(6, 10), "exact"]


def test_surface_crosses_no_passages_and_half_words_count_only_if_no_passage_has_it_whole() -> None:
    parts = [(0, "lung"), (5, "cancer patients"), (21, "no patient")]
    locator = Locator(Running(parts), "en", fold=True)
    assert locator.find("lung cancer") == ([], "none")
    assert locator.find("patient") == ([Span(24, 31)], "exact")
    assert locator.find("ATIENT") == ([Span(13, 19), Span(25, 31)], "folded")


@given(
    text=st.text(alphabet="aB -\u2010ßﬁé\u0301Ａ中压。\t🧬"),
    surface=st.text(alphabet="ab-sfi\u0301a中压 ", max_size=4),
    language=st.sampled_from(["en", "zh"]),
)
def test_folded_ranges_hold_text_that_folds_to_the_surface(
    text: str, surface: str, language: str
) -> None:
    *ranges, how = find(surface, text, language, fold=True)
    needle = Folded(surface, language).text.strip()
    assert (how == "none") == (not ranges)
    for start, end in ranges:
        assert 0 <= start < end <= len(text)
        # A range may be wider than the surface only where one character folds to several.
        assert (surface if how == "exact" else needle) in (
            text[start:end] if how == "exact" else Folded(text[start:end], language).text
        )


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        pytest.param(
            {"cancer": [(7, 13), (20, 26)], "breast cancer": [(0, 13)]},
            {"cancer": [(20, 26)], "breast cancer": [(0, 13)]},
            id="the longest wins",
        ),
        pytest.param(
            {"cancer": [(7, 13)], "breast cancer": [(0, 13)]},
            {"cancer": [(7, 13)], "breast cancer": [(0, 13)]},
            id="a surface that is only nested stays",
        ),
        pytest.param(
            {"a b": [(0, 3)], "b c": [(2, 5)]},
            {"a b": [(0, 3)], "b c": [(2, 5)]},
            id="overlapping ones stay",
        ),
        pytest.param({"absent": []}, {"absent": []}, id="absent"),
    ],
)
def test_longest(
    found: dict[str, list[tuple[int, int]]], kept: dict[str, list[tuple[int, int]]]
) -> None:
    spans = {surface: [Span(*r) for r in ranges] for surface, ranges in found.items()}
    assert {s: [(x.start, x.end) for x in r] for s, r in longest(spans).items()} == kept


# ---------------------------------------------------------------------------------------- grammars


ENGLISH = (
    "Naloxone (2014) reverses - the effects of N-(2,3)-foo; 2,4-D was [x], α-β; p;q. "
    "In\nrats, HER2阳性."
)
A_MENTION = mentions_grammar(["disease: ", "gene or protein: "], "", "none", ENGLISH, "en")


@pytest.mark.parametrize(
    "answer",
    [
        "none",
        "disease: Naloxone",
        "gene or protein: 2014",
        "disease: Naloxone; rats\ngene or protein: Naloxone",
        "disease: N-(2,3)-foo",
        "disease: 2,4-D",
        "disease: α-β",
        "disease: α",
        "disease: effects of N",
        "disease: the effects of N-(2,3)-foo",
        "disease: (2014)",
    ],
)
def test_grammar_allows_what_stands_in_the_text(
    accepts: Callable[[str, str], bool], answer: str
) -> None:
    assert accepts(A_MENTION, answer)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("disease: aspirin", id="not in the text"),
        pytest.param("disease: naloxone", id="other case"),
        pytest.param("disease: Nalox", id="first half of a word"),
        pytest.param("disease: effect", id="word without its ending"),
        pytest.param("disease: ats", id="last half of a word"),
        pytest.param("disease: p;q", id="separator inside"),
        pytest.param("disease: foo;", id="trailing separator"),
        pytest.param("disease: In\nrats", id="line break inside"),
        pytest.param("disease: ", id="nothing after the head"),
        pytest.param("disease:  Naloxone", id="leading blank"),
        pytest.param("disease: Naloxone ", id="trailing blank"),
        pytest.param("disease: ; rats", id="empty mention"),
        pytest.param("disease: -", id="hyphen alone"),
        pytest.param("disease: rats,", id="trailing comma"),
        pytest.param("disease: Naloxone, rats", id="comma between mentions"),
        pytest.param("gene or protein: rats\ndisease: rats", id="lines in another order"),
        pytest.param("disease: rats\ndisease: rats", id="line twice"),
        pytest.param("disease: none", id="none as a mention"),
        pytest.param("none\ndisease: rats", id="none and more"),
        pytest.param("species: rats", id="type not asked for"),
        pytest.param("Naloxone", id="no head"),
        pytest.param("", id="nothing at all"),
    ],
)
def test_grammar_refuses(accepts: Callable[[str, str], bool], answer: str) -> None:
    assert not accepts(A_MENTION, answer)


A_PAIR = pairs_grammar(["treats: ", "causes: "], "", "none", ENGLISH, "en")


@pytest.mark.parametrize(
    ("answer", "allowed"),
    [
        ("none", True),
        ("treats: [Naloxone, rats]", True),
        ("treats: [Naloxone, rats]; [α-β, 2,4-D]\ncauses: [2014, 2,4-D]", True),
        ("causes: [N-(2,3)-foo, N]", True),
        ("causes: [rats, N]\ntreats: [Naloxone, rats]", False),
        ("treats: [x], α, rats]", False),
        ("treats: [[x], rats]", False),
        ("treats: [x, rats]", True),
        ("treats: [rats, HER2阳性, rats]", False),
        ("treats: [Naloxone]", False),
        ("treats: [Naloxone, ]", False),
        ("treats: [Naloxone, -]", False),
        ("treats: [Naloxone,rats]", False),
        ("treats: [Nalox, rats]", False),
        ("treats: [Naloxone, rats", False),
        ("treats: Naloxone", False),
        ("treats: ", False),
    ],
)
def test_grammar_of_pairs(accepts: Callable[[str, str], bool], answer: str, allowed: bool) -> None:
    assert accepts(A_PAIR, answer) is allowed


CHINESE = "高血压患者可用硝苯地平（CCB），出现水肿；应停药。"


@pytest.mark.parametrize(
    ("answer", "allowed"),
    [
        ("无", True),
        ("疾病：高血压\n", True),
        ("疾病：高血压; 水肿\n药物：硝苯地平\n", True),
        ("疾病：血压患\n", True),  # any run of characters: Chinese has no word bounds
        ("药物：C\n", True),
        ("药物：硝苯地平（CCB）\n", True),
        ("疾病：高血压", False),
        ("疾病：硝苯地平，\n", False),
        ("疾病：，出现\n", False),
        ("疾病：高血脂\n", False),
        ("疾病：\n", False),
        ("药物：停药\n疾病：水肿\n", False),
        ("疾病: 高血压\n", False),
    ],
)
def test_grammar_of_chinese_mentions(
    accepts: Callable[[str, str], bool], answer: str, allowed: bool
) -> None:
    grammar = mentions_grammar(["疾病：", "药物："], "\n", "无", CHINESE, "zh")
    assert accepts(grammar, answer) is allowed


def test_grammar_of_chinese_pairs(accepts: Callable[[str, str], bool]) -> None:
    head = "具有药物治疗关系的实体对如下："
    grammar = pairs_grammar([head], "", "无", CHINESE, "zh")
    assert accepts(grammar, f"{head}[高血压, 硝苯地平]; [水肿, CCB]")
    assert not accepts(grammar, f"{head}[高血压，硝苯地平]")


@pytest.mark.parametrize(
    ("task", "texts", "allowed", "refused"),
    [
        pytest.param(
            asked("ner", "disease"),
            ("Patients with breast\ncancer had pain.",),
            ["breast cancer", "cancer had pain", "cancer"],
            ["breast\ncancer", "breastcancer"],
            id="the next line",
        ),
        pytest.param(
            asked("ner", "disease"),
            ("Breast\n\ncancer", "cell"),
            ["Breast", "cancer", "cell"],
            ["Breast cancer", "Breast\n\ncancer", "cancer cell", "cancer\ncell"],
            id="an empty line, another passage",
        ),
    ],
)
def test_grammar_lets_a_mention_go_on_in_the_next_line_and_no_farther(
    accepts: Callable[[str, str], bool],
    task: Any,
    texts: tuple[str, ...],
    allowed: list[str],
    refused: list[str],
) -> None:
    document = english(*texts)
    (question,) = task.questions(document)
    (head,) = ner.heads(question.types, "en")
    assert [accepts(question.grammar, head + surface) for surface in allowed] == [True] * len(
        allowed
    )
    assert not any(accepts(question.grammar, head + surface) for surface in refused)
    for surface in allowed:
        (mention,) = ner.parse(head + surface, question, document).annotations.mentions
        assert (mention.text.replace("\n", " "), mention.grounded) == (surface, "exact")


WRAPPED = {
    "en": ("In breast\ncancer, human\n BRCA1 binds\r\nto p53.", "breast cancer", "human BRCA1"),
    "zh": ("乳腺\n癌患者服用阿司\n匹林。", "乳腺癌", "阿司匹林"),
}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("grammar", [True, False])
def test_targets_write_a_line_end_as_it_is_read_and_the_grammar_allows_them(
    accepts: Callable[[str, str], bool], language: str, grammar: bool
) -> None:
    text, one, other = WRAPPED[language]
    document = (english if language == "en" else chinese)(text)
    running_text = Running([(0, text)])
    places = [
        running_text.range(at, at + len(s))
        for s in (one, other)
        for at in [running_text.text.index(s)]
    ]
    mentions = [
        Mention(n, type_, text[start:end], start, end, passage=0)
        for n, (type_, (start, end)) in enumerate(zip(("disease", "gene"), places, strict=True))
    ]
    assert all("\n" in mention.text for mention in mentions)
    gold = Annotations(
        mentions,
        [Relation(0, "treatment", mentions[0].text, mentions[1].text, [0], [1])],
        [Event(0, "Binding", 0, [Argument("Theme", 1, mentions[1].text)])],
    )
    for assignment in every("ner", "re", "ee", grammar=grammar):
        (question,) = assignment.questions(document)
        task = assignment.task
        assert text in question.messages[0]["content"]  # shown as it stands
        answer = task.target(question, gold)
        assert one in answer and other in answer
        assert question.grammar is None or accepts(question.grammar, answer)
        parsed = task.parse(answer, question, document)
        assert parsed.problem is None
        found = parsed.annotations
        assert {(m.start, m.end, m.text) for m in found.mentions} == {
            (m.start, m.end, m.text) for m in mentions
        }
        assert {m.grounded for m in found.mentions} == {"exact"}
        assert task.score(merge([found]), gold).fp == 0
        if task.name == "re":
            (relation,) = merge([found]).relations
            assert (relation.head, relation.tail) == ([0], [1])


@pytest.mark.parametrize(("items", "allowed"), [(1, True), (MOST, True), (MOST + 1, False)])
def test_lists_are_bounded(accepts: Callable[[str, str], bool], items: int, allowed: bool) -> None:
    assert MOST == 24
    assert accepts(A_MENTION, "disease: " + "; ".join(["rats"] * items)) is allowed
    assert accepts(A_PAIR, "causes: " + "; ".join(["[rats, N]"] * items)) is allowed


@pytest.mark.parametrize(("length", "allowed"), [(1, True), (LONGEST, True), (LONGEST + 1, False)])
def test_mentions_are_bounded(
    accepts: Callable[[str, str], bool], length: int, allowed: bool
) -> None:
    text = "x" * length
    assert accepts(mentions_grammar(["a: "], "", "none", text, "en"), f"a: {text}") is allowed
    assert (
        accepts(pairs_grammar(["a: "], "", "none", text, "en"), f"a: [{text}, {text}]") is allowed
    )


@pytest.mark.parametrize("head", ["disease: ", 'a "b" \\ c/d%: ', "疾病："])
@pytest.mark.parametrize(
    "text", ['"q" \\d', "a\x00b\x1f\r\tc", "/x/ | y ~ {0} <b>", "𠮷🧬 e\u0301"]
)
def test_any_text_and_any_type_name_can_stand_in_a_grammar(
    accepts: Callable[[str, str], bool], head: str, text: str
) -> None:
    assert accepts(mentions_grammar([head], "", "none", text, "en"), head + text)
    assert not accepts(mentions_grammar([head], "", "none", text, "en"), head + text + text)


# ------------------------------------------------------------------------------ wordings of nothing


@pytest.mark.parametrize(
    ("text", "language", "item", "allowed"),
    [
        ("患者无发热，无咳嗽。", "zh", "无", False),
        ("患者无发热，无咳嗽。", "zh", "发热", True),
        ("患者无发热，无咳嗽。", "zh", "无发热", True),
        ("文中没有提到疼痛", "zh", "没有", False),
        ("文中没有提到疼痛", "zh", "没", True),
        ("文中没有提到疼痛", "zh", "没有提", True),
        ("文中没有提到疼痛", "zh", "没有提到", False),
        ("文中没有提到疼痛", "zh", "没有提到疼痛", True),
        ("None had pain, NO rose: N/A, not mentioned", "en", "None", False),
        ("None had pain, NO rose: N/A, not mentioned", "en", "None had", True),
        ("None had pain, NO rose: N/A, not mentioned", "en", "NO", True),
        ("None had pain, NO rose: N/A, not mentioned", "en", "N/A", False),
        ("None had pain, NO rose: N/A, not mentioned", "en", "N", True),
        ("None had pain, NO rose: N/A, not mentioned", "en", "not", True),
        ("None had pain, NO rose: N/A, not mentioned", "en", "not mentioned", False),
        ("None had pain, NO rose: N/A, not mentioned", "en", "pain", True),
    ],
)
def test_no_item_may_be_a_wording_of_nothing(
    accepts: Callable[[str, str], bool], text: str, language: str, item: str, allowed: bool
) -> None:
    assert accepts(mentions_grammar(["a: "], "", "k3", text, language), f"a: {item}") is allowed
    pairs = pairs_grammar(["a: "], "", "k3", text, language)
    other = text[:2] if language == "zh" else "pain"
    assert accepts(pairs, f"a: [{other}, {item}]") is allowed
    fields = [EventFields("T", ("R",))]
    of_events = events_grammar(["a: "], fields, "k3", text, language)
    event = f"a: \nT：{other}；R：{item}" if language == "zh" else f"a: (T: {other}, R: {item})"
    assert accepts(of_events, event) is allowed


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    words=st.lists(
        st.sampled_from(["no", "none", "N/A", "Nothing", "pain", "not mentioned", "nil", "(x)"]),
        min_size=1,
        max_size=6,
    ),
    language=st.sampled_from(["en", "zh"]),
)
def test_every_other_item_may_still_be_written(
    accepts: Callable[[str, str], bool], data: st.DataObject, words: list[str], language: str
) -> None:
    """What a grammar without the rule allows and this one does not is a wording of nothing."""
    text = " ".join(words)
    begin = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(begin + 1, len(text)))
    item = text[begin:end]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grounding, "standing_in", lambda text, language: ())
        before = mentions_grammar(["a: "], "", "k3", text, language)
    allowed = accepts(before, f"a: {item}") and item.casefold() not in nothing.WORDS
    assert accepts(mentions_grammar(["a: "], "", "k3", text, language), f"a: {item}") is allowed


@pytest.mark.parametrize("length", [LONGEST, LONGEST + 1])
@pytest.mark.parametrize("begins", ["no", "nox", "xno"])
def test_mentions_are_as_long_as_ever_beside_a_wording_of_nothing(
    accepts: Callable[[str, str], bool], begins: str, length: int
) -> None:
    text = begins.ljust(length, "x")
    grammar = mentions_grammar(["a: "], "", "none", f"no {text}", "en")
    assert accepts(grammar, f"a: {text}") is (length == LONGEST)


# ----------------------------------------------------------------------------------- random answers


def walk(guidance: Any, tokenizer: Any, grammar: str, seed: int, most: int) -> tuple[str, bool]:
    """Write an answer by drawing among the allowed tokens; tell also whether it came to its end."""
    matcher = llguidance.LLMatcher(guidance, llguidance.grammar_from("lark", grammar), log_level=0)
    mask = llguidance.numpy.allocate_token_bitmask(1, guidance.vocab_size)
    draw = random.Random(seed)
    written: list[int] = []
    for _ in range(most):
        assert not matcher.is_error(), matcher.get_error()
        llguidance.numpy.fill_next_token_bitmask(matcher, mask)
        allowed = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))
        may_end = tokenizer.eos_token_id in allowed
        if matcher.is_stopped() or (may_end and (len(allowed) == 1 or draw.random() < 0.05)):
            return tokenizer.decode(written), bool(matcher.is_accepting() or matcher.is_stopped())
        token = int(draw.choice(allowed[allowed != tokenizer.eos_token_id]))
        assert matcher.consume_token(token), matcher.get_error()
        written.append(token)
    assert not matcher.is_error(), matcher.get_error()
    return tokenizer.decode(written), False


@pytest.mark.parametrize("name", ["ner", "re", "ee"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_answer_that_the_grammar_of_a_long_text_allows_is_read_and_located(
    guidance: Any, tokenizer: Any, shared_data: Path, name: str, language: str
) -> None:
    if language == "en":
        text = (shared_data / "craft-coref-3" / "16507151.txt").read_text(encoding="utf-8")
        document = english(text[:12_000])
    else:
        lines = gzip.decompress(
            (shared_data / "csl-medical-abstracts/csl_medical.jsonl.gz").read_bytes()
        )
        document = chinese(
            "".join(json.loads(line)["abstract"] for line in lines.splitlines())[:12_000]
        )
    assert len(document.text) == 12_000
    task = TASKS[name]
    (question,) = (every(name) if name == "ee" else [asked(name)])[0].questions(document)
    ended = 0
    for seed in range(20):
        answer, complete = walk(guidance, tokenizer, question.grammar, seed, most=200)
        parsed = task.parse(answer, question, document, cut=not complete)
        ended += complete
        if complete:
            assert parsed.problem is None, answer
        for mention in parsed.annotations.mentions:
            assert not nothing.is_word(mention.text), answer
            assert mention.grounded == "exact", (answer, mention)
            assert document.text[mention.start : mention.end] == mention.text
    assert ended >= 5


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("make", [english, chinese], ids=["en", "zh"])
@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.text('aB1 .,;:[]-中。，；🧬e\u0301\\"\n', min_size=1), max_size=3),
    seed=st.integers(),
)
def test_every_answer_that_the_grammar_of_any_text_allows_is_read_and_located(
    guidance: Any, tokenizer: Any, name: str, make: Any, texts: list[str], seed: int
) -> None:
    document = make(*texts)
    (assignment,) = every(name)
    task = assignment.task
    for question in samples.questions(replace(assignment, headed=bool(seed % 2)), document):
        if question.grammar is None:
            continue
        written, complete = walk(guidance, tokenizer, question.grammar, seed, most=60)
        answer = question.given + written
        parsed = task.parse(answer, question, document, cut=not complete)
        assert not complete or parsed.problem is None
        assert {mention.grounded for mention in parsed.annotations.mentions} <= {"exact"}


CAUSES = Event(0, "causation", None, [Argument("cause", 0, "A"), Argument("effect", 1, "B")])
HEADED = {
    "ner": (asked("ner", "disease"), "Here are the disease entities mentioned in the text:"),
    "re": (asked("re", "treatment"), "treatment:"),
    "ee": (asked("ee", types={"Binding": ["Theme"]}), "Binding:"),
    "causal": (asked("causal"), "Causation:"),
    "tc": (asked("tc", labels=["A", "B"]), "Result:"),
    "report": (asked("report"), "The report is as follows:\nChief complaint:"),
}
"""Tasks whose answers have one known head: the task, and what a prompt can hold of it."""


@pytest.mark.parametrize("name", HEADED)
def test_behind_a_known_head_the_grammar_allows_the_rest_of_every_right_answer_and_nothing_else(
    accepts: Callable[[str, str], bool], name: str
) -> None:
    assignment, given = HEADED[name]
    document = english("A causes B and binds it.")
    (question,) = replace(assignment, headed=True).questions(document)
    assert question.given == given
    full = Annotations(
        [Mention(0, "disease", "A", 0, 1), Mention(1, "disease", "B", 9, 10)],
        [Relation(0, "treatment", "A", "B", [0], [1])],
        [Event(0, "Binding", 0, [Argument("Theme", 1, "B")]), CAUSES],
        [Label("tc", "A")],
        [Text("report:chief_complaint", "pain")],
    )
    for gold in (full, Annotations()):
        answer = assignment.task.answer(question, gold)
        assert answer.startswith(given)
        if (name, gold) != ("tc", Annotations()):  # one label is always true
            assert accepts(question.grammar, answer.removeprefix(given))
            assert accepts(question.whole_grammar, answer)
        assert not accepts(question.whole_grammar, answer.removeprefix(given).strip())
        back = assignment.task.parse(answer, question, document)
        of_target = assignment.task.parse(
            assignment.task.target(question, gold), question, document
        )
        assert back == of_target


def test_the_grammar_is_the_same_for_every_type_that_is_asked_about_alone() -> None:
    apart = replace(asked("ner", ask="apart"), headed=True)
    for document in (english("Aspirin eased pain."), chinese("阿司匹林缓解头痛。")):
        questions = apart.questions(document)
        assert len(questions) == 9
        assert len({question.grammar for question in questions}) == 1
        assert len({question.given for question in questions}) == 9


def test_text_without_letter_or_digit_is_not_asked_about() -> None:
    """No mention could be written there: the answer would end after its head."""
    with pytest.raises(NotApplicable):
        ner.questions(english(" ... [-]", "?"), asked("ner"))
    assert len(ner.questions(english("...", "α"), asked("ner"))) == 1


# -------------------------------------------------------------------------------------------- gold


def test_gold_mentions_can_be_written(
    accepts: Callable[[str, str], bool], shared_data: Path
) -> None:
    """All of BC5CDR's test set: every surface of every abstract."""
    surfaces = 0
    refused = []
    for document, gold in corpus(shared_data, "bc5cdr", "test"):
        (question,) = ner.questions(document, asked("ner", "disease"))
        grammar = question.grammar
        assert grammar is not None
        (head,) = ner.heads(question.types, "en")
        found = sorted({mention.text for mention in gold.mentions})
        surfaces += len(found)
        for few in (found[at : at + MOST] for at in range(0, len(found), MOST)):
            if not accepts(grammar, head + "; ".join(few)):
                refused += [surface for surface in few if not accepts(grammar, head + surface)]
    assert surfaces == 4_661
    assert refused == [
        "(S)-(-)-3-bromo-N-[(1-ethyl-2-pyrrolidinyl)methyl]-2,6-dimethoxybenz amide",  # after `[`
        "Ca",  # of `Ca2+`
    ]
