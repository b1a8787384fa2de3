"""The answer form that the tasks share: what is written, what is read, what a cut answer loses."""

from __future__ import annotations

import pytest

from taiyi_ray.tasks import lines
from taiyi_ray.tasks.scores import Piece

LABELS = ["disease", "gene or protein"]
HEADS = ["disease: ", "gene or protein: "]


@pytest.mark.parametrize(
    ("surface", "writable"),
    [
        ("breast cancer", True),
        ("2,4-D [3H]", True),
        ("p53; p63", False),
        ("lung\ncancer", False),
        (" pain", False),
        ("pain\t", False),
    ],
)
def test_writable(surface: str, writable: bool) -> None:
    assert lines.writable(surface) is writable


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
        ("The text says: nothing", [""], "invalid"),
    ],
)
def test_with_one_label_a_bare_list_is_read_too(
    text: str, items: list[str], problem: str | None
) -> None:
    heads = ["Here are the disease entities mentioned in the text: "]
    assert read(text, ["disease"], heads) == (items, problem)


@pytest.mark.parametrize(
    ("items", "mentions"),
    [
        ("a; b;c", ["a", "b", "c"]),
        ("b; a; b; a", ["b", "a"]),
        (";; a ;", ["a"]),
        ("2,4-D, MCPA", ["2,4-D, MCPA"]),
        ("", []),
    ],
)
def test_mentions(items: str, mentions: list[str]) -> None:
    found = lines.mentions([Piece("disease: ", 0).after(9), Piece(items, 9)])
    assert [piece.text for piece in found] == mentions
    assert all(items[piece.start - 9 : piece.end - 9] == piece.text for piece in found)


@pytest.mark.parametrize(
    ("items", "pairs"),
    [
        ("[a, b]; [c d, e]", [("a", "b"), ("c d", "e")]),
        ("[a, b]; [a, b]; [b, a]", [("a", "b"), ("b", "a")]),
        ("[2,4-D, rats]", [("2,4-D", "rats")]),
        ("[ a ,  b ]", [("a", "b")]),
        ("[a,b]", []),
        ("[a, ]; [, b]", []),
        ("[a, b; [c, d]", [("a", "b; [c, d")]),
        ("a, b", []),
    ],
)
def test_pairs(items: str, pairs: list[tuple[str, str]]) -> None:
    found = lines.pairs([Piece(items, 0)])
    assert [(head.text, tail.text) for head, tail in found] == pairs
    for piece in (piece for pair in found for piece in pair):
        assert items[piece.start : piece.end] == piece.text


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
