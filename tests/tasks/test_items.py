"""The items of lists: in the answer form, and as chats write them."""

from __future__ import annotations

import pytest

from taiyi_ray.tasks import items
from taiyi_ray.tasks.scores import Piece


def nowhere(_: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("a; b;c", ["a", "b", "c"]),
        ("b; a; b; a", ["b", "a"]),
        (";; a ;", ["a"]),
        ("2,4-D, MCPA", ["2,4-D, MCPA"]),
        ("", []),
        ("none", []),
        ("a; none", ["a", "none"]),
        ("none; N/A", []),
        ("No fever found; none", []),
        ("[a; b]", ["a", "b"]),
        ('"a"; "b"', ["a", "b"]),
        ("头痛；恶心、呕吐", ["头痛", "恶心", "呕吐"]),
    ],
)
def test_mentions(text: str, mentions: list[str]) -> None:
    pieces = [Piece("disease: ", 0).after(9), Piece(text, 9)]
    found = items.mentions(pieces, ["fever"], nowhere)
    assert [piece.text for piece in found] == mentions
    assert all(text[piece.start - 9 : piece.end - 9] == piece.text for piece in found)


TEXT = (
    "2,4-D and 1. FC, head and neck cancer; **bold** x. headache, nausea, and vomiting (mild). "
    "甲、乙型肝炎，头痛、发热，糖尿病。头痛发热"
)


@pytest.mark.parametrize(
    ("part", "mentions"),
    [
        ("headache, nausea, and vomiting", ["headache, nausea, and vomiting"]),
        ("headache,  nausea, and  vomiting", ["headache", "nausea", "vomiting"]),
        ("nausea, headache", ["nausea", "headache"]),
        ("vomiting, 2,4-D, nausea", ["vomiting", "2,4-D", "nausea"]),
        ("nausea, dizziness", ["nausea", "dizziness"]),
        ("dizziness, ataxia", ["dizziness, ataxia"]),
        ("甲、乙型肝炎", ["甲、乙型肝炎"]),
        ("糖尿病、甲、乙型肝炎、发热", ["糖尿病", "甲、乙型肝炎", "发热"]),
        ("糖尿病，头痛", ["糖尿病", "头痛"]),
        ("糖尿病,头痛", ["糖尿病", "头痛"]),
        ("糖尿病；头痛。", ["糖尿病", "头痛"]),
        ("糖尿病。", ["糖尿病"]),
        ("咳嗽、胸闷", ["咳嗽", "胸闷"]),
        ("咳嗽，胸闷", ["咳嗽，胸闷"]),
        ("**headache**", ["headache"]),
        ("**bold**", ["**bold**"]),
        ("1. FC", ["1. FC"]),
        ("1. headache", ["headache"]),
        ("“糖尿病”", ["糖尿病"]),
        ("headache.", ["headache"]),
        ("dizziness.", ["dizziness."]),
        ("**dizziness**", ["dizziness"]),
        ('["headache", "nausea"]', ["headache", "nausea"]),
        ("[糖尿病，头痛]", ["糖尿病", "头痛"]),
        ("**headache**, *nausea*", ["headache", "nausea"]),
    ],
)
def test_what_stands_in_the_text_decides_what_separates(part: str, mentions: list[str]) -> None:
    found = list(items.listed(Piece(f"  {part}", 3).strip(), TEXT.__contains__))
    assert [piece.text for piece in found] == mentions
    assert all(part[piece.start - 5 : piece.end - 5] == piece.text for piece in found)


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("headache; nau", ["headache"]),
        ("headache;", ["headache"]),
        ("headache;\n", ["headache"]),
        ("糖尿病、头", ["糖尿病"]),
        ("糖尿病、", []),
        ("甲、乙", []),
        ("headache", []),
    ],
)
def test_the_item_that_reaches_the_end_of_a_cut_answer_is_dropped(
    text: str, mentions: list[str]
) -> None:
    piece = Piece(text, 0).strip()
    found = items.mentions([piece], [], TEXT.__contains__, items.end_of(text))
    assert [item.text for item in found] == mentions


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("[a, b]; [c d, e]", [("a", "b"), ("c d", "e")]),
        ("[a, b]; [a, b]; [b, a]", [("a", "b"), ("b", "a")]),
        ("[2,4-D, rats]", [("2,4-D", "rats")]),
        ("[ a ,  b ]", [("a", "b")]),
        ("[a,b]", []),
        ("[a, ]; [, b]", []),
        ("[a, b; [c, d]", [("a", "b; [c, d")]),
        ("[[3H]x, y]", [("[3H]x", "y")]),
        ("a, b", []),
        ("[头痛，阿司匹林]", [("头痛", "阿司匹林")]),
        ("（头痛，阿司匹林）; 【发热，水】", [("头痛", "阿司匹林"), ("发热", "水")]),
        ("(a, b)", [("a", "b")]),
        ("a (b, c)", []),
        ('["a", "b"]', [("a", "b")]),
        ("[**a**, **b**]", [("a", "b")]),
    ],
)
def test_pairs(text: str, pairs: list[tuple[str, str]]) -> None:
    found = items.pairs([Piece(text, 0)], nowhere)
    assert [(head.text, tail.text) for head, tail in found] == pairs
    for piece in (piece for pair in found for piece in pair):
        assert text[piece.start : piece.end] == piece.text


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("[nausea,vomiting]", ("nausea", "vomiting")),
        ("[2,4-D,nausea]", ("2,4-D", "nausea")),
        ("[headache, nausea, vomiting]", ("headache", "nausea, vomiting")),
        ("[headache, nausea, and vomiting, 2,4-D]", ("headache, nausea, and vomiting", "2,4-D")),
        ("[甲、乙型肝炎，头痛]", ("甲、乙型肝炎", "头痛")),
    ],
)
def test_what_stands_in_the_text_decides_where_a_pair_is_cut(
    text: str, pair: tuple[str, str]
) -> None:
    stands = (TEXT + "nausea, vomiting").__contains__
    ((head, tail),) = items.pairs([Piece(text, 0)], stands)
    assert (head.text, tail.text) == pair


@pytest.mark.parametrize("item", ["头痛", "𠮷病", "豈病"])
@pytest.mark.parametrize("bullet", ["-", "1.", "(2)"])
def test_a_bullet_needs_no_blank_before_a_han_character(bullet: str, item: str) -> None:
    assert items.unlisted(Piece(bullet + item, 0)) == Piece(item, len(bullet))


def test_brackets_without_end_take_no_time() -> None:
    """Each sign is looked at once or twice, not once for each bracket before it."""
    assert items.pairs([Piece("[, " * 100_000, 0)], nowhere) == []
