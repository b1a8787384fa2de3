"""The answer form that the tasks share: what is written, what is read, what a cut answer loses."""

from __future__ import annotations

import pytest

from taiyi_ray.tasks import lines

LABELS = ["disease", "gene or protein"]
HEADS = ["disease: ", "gene or protein: "]


@pytest.mark.parametrize(
    ("items", "end", "language", "text"),
    [
        (["a; b", "c"], "", "en", "disease: a; b\ngene or protein: c"),
        (["", "c"], "", "en", "gene or protein: c"),
        (["a", ""], "\n", "zh", "disease: a\n"),
        (["", ""], "", "en", "none"),
        (["", ""], "\n", "zh", "无"),
    ],
)
def test_write(items: list[str], end: str, language: str, text: str) -> None:
    assert lines.write(HEADS, items, end, language) == text


def read(text: str, labels: list[str], heads: list[str]) -> tuple[list[str], str | None]:
    """The lists of each label as one string; every piece says rightly where it stands."""
    items, problem = lines.read(text, labels, heads)
    for piece in (piece for of_label in items for piece in of_label):
        assert text[piece.start : piece.end] == piece.text
    return ["; ".join(piece.text for piece in of_label) for of_label in items], problem


@pytest.mark.parametrize(
    ("text", "items", "problem"),
    [
        pytest.param("disease: a; b\ngene or protein: c", ["a; b", "c"], None, id="as asked"),
        pytest.param("none", ["", ""], None, id="none"),
        pytest.param("无", ["", ""], None, id="none in Chinese"),
        pytest.param("NONE\n", ["", ""], None, id="none in capitals"),
        pytest.param("disease:", ["", ""], None, id="head alone"),
        pytest.param("disease:a\r\ngene or protein: c\r\n", ["a", "c"], None, id="blanks"),
        pytest.param("disease: a\ndisease: b", ["a; b", ""], None, id="line twice"),
        pytest.param("- Disease： a", ["a", ""], None, id="list sign, case, full-width colon"),
        pytest.param("**disease**: a: b", ["a: b", ""], None, id="bold, colon in an item"),
        pytest.param("**Disease:** a", ["a", ""], None, id="bold over the colon"),
        pytest.param("**disease: a**", ["a", ""], None, id="all in bold"),
        pytest.param("__disease:__ *a*", ["*a*", ""], None, id="underscores, italics behind it"),
        pytest.param("1. Diseases: a", ["a", ""], None, id="number, plural"),
        pytest.param("Disease entities: a", ["a", ""], None, id="entities"),
        pytest.param("### Disease\n\n- a\n- b", ["; a; b", ""], None, id="heading, list"),
        pytest.param("**Disease**\na", ["; a", ""], None, id="bold heading"),
        pytest.param(
            "disease:\n- a\n* b\n• c\n1. d\n2) e\n(3) f\ngene or protein: g",
            ["; a; b; c; d; e; f", "g"],
            None,
            id="head alone, all kinds of bullets",
        ),
        pytest.param("- disease:\n  - a\n  - b", ["; a; b", ""], None, id="lists in a list"),
        pytest.param("disease:\na\nb", ["; a; b", ""], None, id="head alone, bare lines"),
        pytest.param("disease: a\nb", ["a", ""], "invalid", id="a line behind a whole list"),
        pytest.param(
            "disease:\na\n\nBye.", ["; a", ""], "invalid", id="chatter behind a blank line"
        ),
        pytest.param("- a", ["", ""], "invalid", id="an item of no type"),
        pytest.param("```\ndisease: a\n```", ["a", ""], None, id="a block of code"),
        pytest.param("```text\ndisease: a\n```", ["a", ""], None, id="a block of text"),
        pytest.param("disease: a\n---\nNo other gene was found.", ["a", ""], None, id="no others"),
        pytest.param("disease: a\nspecies: b", ["a", ""], "invalid", id="unknown type"),
        pytest.param("Sure!\ndisease: a", ["a", ""], "invalid", id="chatter"),
        pytest.param("disease\0x: a", ["", ""], "invalid", id="NUL"),
        pytest.param("", ["", ""], "invalid", id="empty"),
        pytest.param(" \n\t", ["", ""], "invalid", id="blank"),
    ],
)
def test_read(text: str, items: list[str], problem: str | None) -> None:
    assert read(text, LABELS, HEADS) == (items, problem)


@pytest.mark.parametrize(
    ("text", "items", "problem"),
    [
        ("Here are the disease entities mentioned in the text: a; b", ["a; b"], None),
        ("a; b", ["a; b"], None),
        ("disease: a", ["a"], None),
        ("The text says: nothing", [""], None),
        ("- a\n- b", ["a; b"], None),
        ("Sure, here are the diseases:\n\n1. a\n2. b: c", ["; a; b: c"], None),
        ("The disease entities are: a; b", ["a; b"], None),
        ("Disease names explained: a", [""], "invalid"),
    ],
)
def test_with_one_label_a_bare_list_is_read_too(
    text: str, items: list[str], problem: str | None
) -> None:
    heads = ["Here are the disease entities mentioned in the text: "]
    found, what = read(text, ["disease"], heads)
    assert ([found[0]], what) == (items, problem)


def test_a_chinese_lead_in_of_the_model_s_own_is_read_where_it_names_the_type() -> None:
    heads = ["上述文本中包含的疾病实体为："]
    for lead_in in (
        "文中提到的疾病有：",
        "**上述文本中包含的疾病实体为：**",
        "疾病：",
        "【疾病】：",
    ):
        assert read(f"{lead_in}甲", ["疾病"], heads) == (["甲"], None)
    assert read("文中疾病说明：甲", ["疾病"], heads) == ([""], "invalid")
    assert read("疾病：\n1、甲\n②乙\n（3）丙\n-丁\n4.戊", ["疾病"], heads) == (
        ["; 甲; 乙; 丙; 丁; 戊"],
        None,
    )


@pytest.mark.parametrize(
    ("text", "separators", "whole"),
    [
        ("disease: a; b; c", ";\n", "disease: a; b"),
        ("disease: a; b\ngene or pr", ";\n", "disease: a; b"),
        ("disease: a", ";\n", ""),
        ("treats: [a, b]; [c, d", "]", "treats: [a, b]"),
        ("treats: [a, b", "]", ""),
    ],
)
def test_cut_answer_keeps_what_came_before_the_last_separator(
    text: str, separators: str, whole: str
) -> None:
    assert lines.whole(text, *separators) == whole
