"""What is a wording of nothing, and what only looks like one."""

from __future__ import annotations

from pathlib import Path

import pytest

from taiyi_ray.nothing import WORDS, is_said, is_word, standing_in
from tests import samples

LABELS = ["disease", "gene or protein", "chemical-induced disease", "疾病", "临床表现"]


AROUND = ("{}", "{}.", "{}。", "**{}**", "({})", "（{}）", "[{}]", '"{}"', "- {}", " {}\n")

NOTHING = """
None mentioned in the provided text. | None of the above | none; it is about cells | None. N/A
No entities found. | No diseases are mentioned in the text. | No disease | no genes
No event was found. | There are no diseases or proteins in this passage.
No relevant information. | N/A (no data) | The text does not mention any chemical-induced diseases.
The passage doesn't contain any disease.
I can't find any entity of this type in the given text. | Nothing, in this text. | [] | - | ...
No relations of the given types exist between the entities in the text. | Not mentioned in the text
No explicitly named genes or proteins. No diseases found. | None of the labels apply
未提及相关实体 | 文中没有提到相关实体。 | 上述文本中没有疾病实体 | 没有疾病
无（文中未提及） | 未发现相关信息 | 文本中未包含符合条件的实体对 | 该文本未涉及任何疾病。
无。文中没有提到。 | 没有找到具有上述关系的实体 | 文本不属于以上类别
无相关实体，未提及疾病 | 不存在该类型的实体 | 没有合适的选项 | 没有提及任何疾病、临床表现"""

SOMETHING = """
NO | NO. | Nope | nonet | non-small cell lung cancer | None-small | nitric oxide | nil-1 gene
No metastases were found | no pain | No adverse events | No evidence of disease | not detected
not significant | null mutation | found | entities | the text mentions diseases | without treatment
no abnormality detected
无发热 | 未见异常 | 无力 | 不适 | 没有食欲 | 未发现转移 | 不孕 | 空腹血糖 | 无菌性炎症 | 疾病
文中提到的疾病 | 不明原因发热 | 无症状"""


def each(texts: str) -> list[str]:
    return texts.strip().replace("\n", " | ").split(" | ")


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_one_in_any_case_with_anything_around_it(word: str) -> None:
    for spelled in (word, word.capitalize(), *([] if word == "no" else [word.upper()])):
        for around in AROUND:
            assert is_word(around.format(spelled))
            assert is_said(around.format(spelled))


@pytest.mark.parametrize("text", each(NOTHING))
def test_sentences_of_nothing(text: str) -> None:
    assert is_said(text, LABELS)


@pytest.mark.parametrize("text", ["", *each(SOMETHING)])
def test_what_says_something(text: str) -> None:
    assert not is_said(text, LABELS)


def test_long_texts_are_judged_in_one_pass() -> None:
    """Words that hold one another do not multiply the ways to read a sentence."""
    assert not is_said("没有" * 50_000 + "疾病x", LABELS)
    assert not is_said("no the " * 50_000 + "x", LABELS)


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ("None, no; NO nose, N/A, not mentioned", "en", ("N/A", "None", "no", "not mentioned")),
        ("患者无发热，没有提到nodule。", "zh", ("no", "无", "没有", "没有提到")),
        ("Aspirin eased pain.", "en", ()),
    ],
)
def test_words_that_stand_in_a_text(text: str, language: str, words: tuple[str, ...]) -> None:
    assert standing_in(text, language) == words


@pytest.mark.parametrize(
    ("dataset", "splits"),
    [
        ("bc5cdr", ["test"]),
        ("biored", ["train", "dev"]),
        ("CMeEE-V2", ["dev"]),
        ("CMeIE", ["dev"]),
    ],
)
def test_no_gold_mention_is_one_of_the_words(
    shared_data: Path, dataset: str, splits: list[str]
) -> None:
    for _, gold in samples.corpus(shared_data, dataset, *splits):
        surfaces = {mention.text for mention in gold.mentions}
        surfaces |= {part for r in gold.relations for part in (r.head_text, r.tail_text)}
        assert not [surface for surface in surfaces if is_word(surface)]
