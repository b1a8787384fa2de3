"""A small data root of made-up documents, laid out as the owners' files are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

Record = tuple[str, str, str, list[tuple[str, str]]]
"""PMID, title, abstract, and the mentions: (text, type), each at its first occurrence."""


def pubtator(records: Iterable[Record]) -> str:
    """The records in PubTator's form."""
    found = []
    for pmid, title, abstract, mentions in records:
        text = f"{title} {abstract}"
        lines = [f"{pmid}|t|{title}", f"{pmid}|a|{abstract}"]
        for surface, type_ in mentions:
            start = text.index(surface)
            lines.append(f"{pmid}\t{start}\t{start + len(surface)}\t{surface}\t{type_}\tD1")
        found.append("\n".join(lines) + "\n")
    return "\n".join(found)


def numbered(first: int, count: int) -> list[Record]:
    """Different abstracts with a chemical each, every second one with a disease too."""
    return [
        (
            str(1000 + number),
            f"Drug{number} in patients of group {number}.",
            f"We gave drug{number} to {number} people"
            + (f" with illness{number}." if number % 2 else "."),
            [(f"Drug{number}", "Chemical")]
            + ([(f"illness{number}", "Disease")] if number % 2 else []),
        )
        for number in range(first, first + count)
    ]


def bc5cdr(root: Path, **splits: list[Record]) -> Path:
    """Write BC5CDR's files: `train`, `dev` and `test`, as far as they are given."""
    names = {"train": "Training", "dev": "Development", "test": "Test"}
    for split, records in splits.items():
        (root / f"CDR_{names[split]}Set.PubTator.txt").write_text(pubtator(records))
    return root


def ncbi_disease(root: Path, **splits: list[Record]) -> Path:
    """Write the files of the NCBI disease corpus, as far as they are given."""
    for split, records in splits.items():
        diseases = [
            (pmid, title, abstract, [(m, "SpecificDisease") for m, t in found if t == "Disease"])
            for pmid, title, abstract, found in records
        ]
        name = {"train": "train", "dev": "develop", "test": "test"}[split]
        (root / f"NCBI{name}set_corpus.txt").write_text(pubtator(diseases))
    return root
