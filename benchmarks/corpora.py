"""Real abstracts of about 1,100 characters: files for the job, and what it asks about them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from benchmarks.gold import DATA, held_out
from benchmarks.measure import ROOT
from taiyi_ray.catalogue import load
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.engine.prepare import asking_form
from taiyi_ray.errors import FormatError
from taiyi_ray.formats import documents, format_of, raw_records
from taiyi_ray.records import Annotations, Document
from taiyi_ray.tasks import assigned
from taiyi_ray.tasks.task import Assignment, Question

LENGTHS = range(900, 1300)
CHINESE_LENGTHS = range(400, 800)
"""The longest of the corpus: about as many tokens as 1,100 characters of English."""

_PUBMED = DATA / "pubmed-xml"


def read(path: Path) -> list[Document]:
    """The documents of a file."""
    format_ = format_of(path.name)
    assert format_ is not None
    with path.open("rb") as stream:
        return list(documents(stream, path.name, format_, "source", 0, sys.maxsize - 1))


def assignments(config: AnnotateConfig) -> list[Assignment]:
    """The tasks of the job, in the form that its model wants."""
    form = asking_form(config)
    return [assignment.in_form(form) for assignment in assigned(config)[0]]


def questions(config: AnnotateConfig) -> list[tuple[Question, Document]]:
    """What the job asks about its input, in order."""
    asked = assignments(config)
    return [
        (question, document)
        for path in config.inputs
        for document in read(Path(path))
        for assignment in asked
        for question in assignment.questions(document)
    ]


def pubmed(folder: Path, size: int) -> Path:
    """Write PubMed XML of `size` abstracts; of the few samples where there is no more."""
    path = folder / "pubmed.xml"
    records = b"\n".join(islice(_records(), size))
    path.write_bytes(b"<PubmedArticleSet>\n" + records + b"\n</PubmedArticleSet>\n")
    return path


def _records() -> Iterator[bytes]:
    real = _PUBMED.is_dir()
    files = sorted(_PUBMED.glob("*.xml.gz")) if real else [ROOT / "examples" / "pubmed-sample.xml"]
    for file in files:
        format_ = format_of(file.name)
        assert format_ is not None
        with file.open("rb") as stream:
            for record in raw_records(stream, file.name, format_):
                try:
                    length = len(format_.parse(record).text)
                except FormatError:
                    continue
                if length in LENGTHS or (length and not real):
                    yield record.data


def chinese(folder: Path, size: int) -> Path:
    """Write JSON lines of `size` Chinese abstracts; of the few samples where there is no more."""
    path = folder / "chinese.jsonl"
    if not DATA.is_dir():
        path.write_bytes((ROOT / "examples" / "chinese-sample.jsonl").read_bytes())
        return path
    found = (d for split in ("dev", "test") for d in load("csl_medical", split, data_root=DATA))
    fitting = (document for document in found if len(document.text) in CHINESE_LENGTHS)
    _write(
        path,
        [
            {"document_id": str(n), "title": document.gold.texts[0].text, "text": document.text}
            for n, document in enumerate(islice(fitting, size))
        ],
    )
    return path


def gold(folder: Path, size: int) -> tuple[Path, dict[str, Annotations]]:
    """Write JSON lines of `size` abstracts of BC5CDR; return their gold by document id as well."""
    fitting = [found for found in held_out("BC5CDR", 500) if len(found[0].text) in LENGTHS][:size]
    path = folder / "bc5cdr.jsonl"
    write(path, [document for document, _ in fitting])
    return path, {str(document.document_id): found for document, found in fitting}


def write(path: Path, documents: Iterable[Document]) -> None:
    """Write documents as JSON lines, without their gold."""
    _write(path, [_record(document) for document in documents])


def _record(document: Document) -> dict[str, object]:
    texts = [{"text": p.text, "type": p.type, "language": p.language} for p in document.passages]
    return {"document_id": document.document_id, "passages": texts}


def _write(path: Path, records: list[dict[str, object]]) -> None:
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
