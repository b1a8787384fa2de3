"""Running and folded text: what is the same in them, and the way back to the text as it stands."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import taiyi_ray
from taiyi_ray.forms import BORDER, Folded, Running, is_han, running

# ------------------------------------------------------------------------------------ characters


@pytest.mark.parametrize(
    ("character", "han"),
    [
        ("中", True),
        ("㐀", True),
        ("𠮷", True),
        ("豈", True),
        ("䷀", False),
        ("。", False),
        ("a", False),
        ("あ", False),
    ],
)
def test_han_characters(character: str, han: bool) -> None:
    assert is_han(character) is han


def test_the_ranges_of_han_characters_are_written_in_one_module() -> None:
    folder = Path(taiyi_ray.__file__).parent
    holders = {
        path.name for path in folder.rglob("*.py") if r"\u9fff" in path.read_text(encoding="utf-8")
    }
    assert holders == {"forms.py"}


# ---------------------------------------------------------------------------------------- running


@pytest.mark.parametrize(
    ("text", "as_it_runs_on"),
    [
        pytest.param("breast cancer", "breast cancer", id="no line end"),
        pytest.param("breast\ncancer", "breast cancer", id="a line end"),
        pytest.param("breast \n  cancer", "breast cancer", id="blanks around it"),
        pytest.param("breast\r\ncancer", "breast cancer", id="carriage return and line feed"),
        pytest.param("breast\rcancer", "breast cancer", id="carriage return alone"),
        pytest.param("breast\u2028cancer", "breast cancer", id="Unicode's own line end"),
        pytest.param("breast  cancer", "breast  cancer", id="blanks alone stay"),
        pytest.param("one.\n\nTwo", "one.\nTwo", id="an empty line is a border"),
        pytest.param("one.\n \t\r\n\nTwo", "one.\nTwo", id="one with blanks in it, too"),
        pytest.param("one.\u2029Two", "one.\nTwo", id="the separator of paragraphs"),
        pytest.param("x\ty\nz\t1", "x\ty\nz\t1", id="rows of a table"),
        pytest.param("\tIn breast\n\tcancer", "\tIn breast cancer", id="lines that are set in"),
        pytest.param("乳腺\n癌", "乳腺癌", id="nothing between Han characters"),
        pytest.param("（乳腺），\n　出现", "（乳腺），出现", id="nor beside full-width signs"),
        pytest.param("HER2\n阳性", "HER2 阳性", id="a blank beside a Latin word"),
        pytest.param("유방\n암", "유방 암", id="Korean has blanks"),
        pytest.param("can\u00ad\ncer", "can\u00adcer", id="a soft hyphen holds a word together"),
        pytest.param("\nbreast\n", " breast ", id="at the ends"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_running_text(text: str, as_it_runs_on: str) -> None:
    assert running(text) == as_it_runs_on


def test_the_end_of_a_part_is_a_border_and_offsets_are_those_of_the_whole() -> None:
    whole = "Breast\ncancer.|Keuchhusten|BRCA1\n\nin breast\n cancer"
    text = Running([(0, whole[:14]), (27, whole[27:])])
    assert text.text == "Breast cancer.\nBRCA1\nin breast cancer"
    at = text.text.index("breast cancer")
    start, end = text.range(at, at + 13)
    assert whole[start:end] == "breast\n cancer"
    assert text.range(15, 20) == (27, 32)
    assert text.range(0, 13) == (0, 13)


WORDS = st.text("aB- \n\r\t\u2028\u00ad中癌，e\u0301🧬")


@given(parts=st.lists(WORDS, max_size=3), data=st.data())
def test_a_range_of_running_text_holds_what_runs_on_as_it_says(
    parts: list[str], data: st.DataObject
) -> None:
    offsets = [sum(len(part) + 2 for part in parts[:n]) for n in range(len(parts))]
    whole = "||".join(parts)
    text = Running(zip(offsets, parts, strict=True))
    assert "".join(text.text.split()) == "".join("".join(parts).split())
    if text.text.strip():
        start = data.draw(st.integers(0, len(text.text) - 1))
        end = data.draw(st.integers(start + 1, len(text.text)))
        piece = text.text[start:end]
        if BORDER not in piece and piece == piece.strip():
            first, last = text.range(start, end)
            assert running(whole[first:last]) == piece


# ----------------------------------------------------------------------------------------- folded

SAME = [
    ("Sjögren", "Sjo\u0308gren"),
    ("SJO\u0308GREN", "sjögren"),
    ("Việt", "Vie\u0323\u0302t"),
    ("Vie\u0302\u0323t", "Việt"),
    ("cancer", "can\u00adcer"),
    ("cancer", "c\u200ba\u200cn\u200dc\u2060e\ufeffr"),
    ("Crohn's", "Crohn’s"),
    ("5'-UTR", "5′-UTR"),
    ('"wild type"', "“wild type”"),
    ("IL-2", "IL–2"),
    ("IL—2", "IL‑2"),
    ("10⁻⁵", "10-5"),
    ("ガン", "ｶﾞﾝ"),
    ("각", "\u1100\u1161\u11a8"),
    ("µm", "μm"),
    ("ΐ", "Ϊ́"),
    ("e\u00ad\u0301x", "éx"),
    ("\u2764", "\u2764\ufe0f"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_readers_take_for_the_same_is_the_same_folded(
    one: str, other: str, language: str
) -> None:
    assert Folded(one, language).text == Folded(other, language).text


def test_outside_chinese_a_hyphen_is_as_good_as_a_blank_and_several_as_one() -> None:
    assert Folded("non \u2013 small-cell", "en").text == "non small cell"
    assert Folded("non \u2013 small-cell", "zh").text == "non-small-cell"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("e", "é"),
        ("o", "o\u0308"),
        ("pain", "pains"),
        ("α", "a"),
        ("a\nb", "a b"),
        ("x", "x\u0301"),
    ],
)
def test_what_readers_tell_apart_is_not(one: str, other: str) -> None:
    assert Folded(one, "en").text != Folded(other, "en").text


FOLDABLE = st.text('aB -\u2010ßﬁé\u0301\u0323Ａ中压。\t🧬\u00ad\u200b\ufe0f’"İｶﾞ\u1100\u1161\n¨')


@given(text=FOLDABLE, language=st.sampled_from(["en", "zh"]), data=st.data())
def test_a_range_of_folded_text_folds_to_it_and_parts_no_letter_from_its_marks(
    text: str, language: str, data: st.DataObject
) -> None:
    folded = Folded(text, language)
    if folded.text:
        start = data.draw(st.integers(0, len(folded.text) - 1))
        end = data.draw(st.integers(start + 1, len(folded.text)))
        first, last = folded.range(start, end)
        assert 0 <= first < last <= len(text)
        # Wider only where one character folds to several.
        assert folded.text[start:end].strip() in Folded(text[first:last], language).text
        if not any(unicodedata.category(c)[0] == "M" for c in folded.text[start : end + 1]):
            assert unicodedata.category(text[last : last + 1] or " ")[0] != "M"


@given(text=FOLDABLE, language=st.sampled_from(["en", "zh"]))
def test_folding_does_not_ask_how_letters_are_composed(text: str, language: str) -> None:
    composed, apart = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert Folded(composed, language).text == Folded(apart, language).text
