"""Entries and corpora that are made up for the tests of the catalogue."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taiyi_ray.catalogue import Entry

ABSTRACT = (
    "1|t|Aspirin eased pain.\n1|a|It did not ease gout.\n"
    "1\t0\t7\tAspirin\tDrug\tMESH:D001241\n"
    "1\t36\t40\tgout\tDisease\tMESH:D006073\n"
    "1\tHelps\tMESH:D001241\tMESH:D006073\n\n"
)
"""A document of PubTator with two mentions and a relation."""

VALUES: dict[str, Any] = {
    "name": "made",
    "group": "further",
    "description": "A made-up corpus.",
    "language": ["en"],
    "tasks": ["ner", "re"],
    "format": "pubtator",
    "layouts": [
        {
            "origin": "the tests",
            "splits": {
                "train": {"files": ["made/train*.txt*"], "counts": {"documents": 1, "mentions": 2}},
                "test": {"files": ["made/test.txt*"]},
            },
        }
    ],
    "types": {"Drug": "chemical", "Disease": "disease"},
    "relations": {"Helps": "treatment"},
    "licence": None,
    "terms": "none",
    "agreement": False,
    "may_train": "yes",
    "address": "https://example.org/made",
    "paper": None,
    "verified": True,
}
"""The fields of an entry."""


def entry(**changed: Any) -> Entry:
    """An entry with these fields in place of those of VALUES."""
    return Entry(**{**VALUES, **changed})


def layout(**splits: Any) -> list[dict[str, Any]]:
    """A layout of these splits: patterns, or fields of a split."""
    fields = {
        name: {"files": one} if isinstance(one, list) else one for name, one in splits.items()
    }
    return [{"origin": "the tests", "splits": fields}]


def corpus(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files below a folder, and return it."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def zipped(members: Mapping[str, str]) -> bytes:
    """A zip archive of these members."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


def tarred(members: Mapping[str, str]) -> bytes:
    """A tar.gz archive of these members."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content.encode())
            archive.addfile(info, io.BytesIO(content.encode()))
    return data.getvalue()
