"""Terminologies: files of terms, the entries that words may mean, the names in a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from taiyi_ray.forms import Running
from taiyi_ray.tasks import terminology
from taiyi_ray.tasks.terminology import Entry

TERMS = terminology.from_mapping(
    {
        "D001241": ["Aspirin", "acetylsalicylic acid", "阿司匹林"],
        "D003920": ["Diabetes Mellitus", "diabetes"],
        "D003924": ["Diabetes Mellitus, Type 2", "2型糖尿病"],
        "D006261": "Headache",
    }
)


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("diabetes", "D003920"),
        ("ASPIRIN", "D001241"),
        ("acetylsalicylic-acid", "D001241"),
        ("type 2 diabetes mellitus", "D003924"),
        ("headaches", "D006261"),
        ("２型糖尿病", "D003924"),
        ("阿斯匹林", "D001241"),
    ],
)
def test_the_likeliest_entry_comes_first(words: str, first: str) -> None:
    assert TERMS.candidates(words, 2)[0].id == first


def test_each_entry_is_a_candidate_once_and_no_more_are_given_than_asked_for() -> None:
    assert len({entry.id for entry in TERMS.candidates("diabetes", 3)}) == 3
    assert len(TERMS.candidates("diabetes", 9)) == 4
    assert TERMS.candidates("", 2)


@pytest.mark.parametrize(
    ("text", "language", "names"),
    [
        ("Aspirin, diabetes mellitus", "en", ["Aspirin", "diabetes mellitus"]),
        ("aspirins and prediabetes", "en", []),
        ("acetylsalicylic\nacid", "en", ["acetylsalicylic acid"]),
        ("服用阿司匹林治2型糖尿病。", "zh", ["阿司匹林", "2型糖尿病"]),
        ("服用Acetylsalicylic Acid。", "zh", ["Acetylsalicylic Acid"]),
        ("治12型糖尿病，Prediabetes2", "zh", []),
        ("Aspirin Diabetes头headache痛", "zh", ["Aspirin", "Diabetes", "headache"]),
        ("", "en", []),
    ],
)
def test_names_in_a_text_are_the_longest_ones(text: str, language: str, names: list[str]) -> None:
    found = list(TERMS.occurrences(Running([(0, text)]), language))
    assert [words for words, _ in found] == names
    assert [text[s.start : s.end].replace("\n", " ") for _, s in found] == names


def test_a_file_has_an_identifier_and_names_in_each_line(tmp_path: Path) -> None:
    path = tmp_path / "terms.tsv"
    path.write_text("\ufeffC1\tAspirin\tASA\n\nC2\tPain\nC1\tacetylsalicylic acid\n", "utf-8")
    read = terminology.read(str(path))
    assert read.entries == (
        Entry("C1", ("Aspirin", "ASA", "acetylsalicylic acid")),
        Entry("C2", ("Pain",)),
    )
    assert (
        read.digest
        == terminology.from_mapping(
            {"C1": ["Aspirin", "ASA", "acetylsalicylic acid"], "C2": ["Pain"]}
        ).digest
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"C1\tAspirin\nC2\n", "line 2: expected an identifier, a tab and a name"),
        (b"\n", "there is no entry"),
        (b"C1\t\xff\n", "not UTF-8"),
        (None, "no such file"),
    ],
)
def test_a_file_of_another_form_is_an_error(
    tmp_path: Path, data: bytes | None, message: str
) -> None:
    path = tmp_path / "terms.tsv"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        terminology.read(str(path))


@pytest.mark.parametrize("entries", [{}, {"C1": []}, {"C1": [""]}, {1: "a"}, {"C1": ["a\tb"]}])
def test_entries_of_another_form_are_an_error(entries: dict[object, object]) -> None:
    with pytest.raises(ValueError, match=r"entry|text in one line|has no name"):
        terminology.from_mapping(entries)


def test_a_name_may_belong_to_very_many_entries() -> None:
    same = terminology.from_mapping({str(n): ["Same", "same"] for n in range(20_000)})
    assert [entry.id for entry in same.candidates("same", 3)] == ["0", "1", "2"]
