"""Documents for the tests of the tasks: made up, and gold ones out of the shared corpora."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

from taiyi_ray.records import Annotations, Document, Mention, Relation, passages
from taiyi_ray.tasks.task import Options
from taiyi_ray.tasks.vocabulary import MENTION_TYPES, RELATION_TYPES, terms

Gold = tuple[Document, Annotations]


def english(*texts: str) -> Document:
    return Document("d", passages(("text", "en", text) for text in texts))


def chinese(*texts: str) -> Document:
    return Document("d", passages(("text", "zh", text) for text in texts))


def options(types: str = "", relations: str = "", *, grammar: bool = True) -> Options:
    """Options of these types, named with commas between; of all default ones without any."""
    return Options(
        types=terms(types.split(",") if types else None, MENTION_TYPES),
        relations=terms(relations.split(",") if relations else None, RELATION_TYPES),
        grammar=grammar,
        together=True,
        document_first=False,
    )


# ------------------------------------------------------------------------------------ gold corpora


def pubtator(path: Path) -> Iterator[Gold]:
    """Documents of a PubTator file; a CID line relates the first surfaces of two identifiers."""
    for block in gzip.decompress(path.read_bytes()).decode().strip().split("\n\n"):
        title, abstract, *rest = block.split("\n")
        number = title.split("|")[0]
        parts = [line.split("|", 2)[2] for line in (title, abstract)]
        document = Document(number, passages(("text", "en", text) for text in parts))
        gold = Annotations()
        surfaces: dict[str, str] = {}
        for row in (line.split("\t") for line in rest):
            if row[1] == "CID":
                head, tail = (surfaces[identifier] for identifier in row[2:4])
                gold.relations.append(
                    Relation(len(gold.relations), "chemical_induced_disease", head, tail, [], [])
                )
                continue
            start, text, type_ = int(row[1]), row[3].rstrip(), row[4].casefold()
            end = start + len(text)  # one mention of NCBI disease ends in blanks of nowhere
            assert document.text[start:end] == text
            gold.mentions.append(Mention(len(gold.mentions), type_, text, start, end))
            for identifier in row[5].split("|") if len(row) > 5 else ():
                surfaces.setdefault(identifier, text)
        yield document, gold


def cmeee(path: Path) -> Iterator[Gold]:
    """Documents of CMeEE-V2: nested mentions, inclusive ends."""
    for number, record in enumerate(json.loads(gzip.decompress(path.read_bytes()))):
        document = Document(str(number), passages([("text", "zh", record["text"])]))
        gold = [
            Mention(n, e["type"], e["entity"], e["start_idx"], e["end_idx"] + 1)
            for n, e in enumerate(record["entities"])
        ]
        yield document, Annotations(gold)


def cmeie(path: Path) -> Iterator[Gold]:
    """Documents of CMeIE: triples of surfaces without offsets."""
    for number, line in enumerate(gzip.decompress(path.read_bytes()).decode().splitlines()):
        record = json.loads(line)
        document = Document(str(number), passages([("text", "zh", record["text"])]))
        gold = [
            Relation(n, t["predicate"], t["subject"], t["object"]["@value"], [], [])
            for n, t in enumerate(record["spo_list"])
        ]
        yield document, Annotations(relations=gold)
