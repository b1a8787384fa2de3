"""Documents for the tests of the tasks: made up, and gold ones out of the shared corpora."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from taiyi_ray.annotation import merge
from taiyi_ray.records import Annotations, Document, Mention, Relation, passages
from taiyi_ray.tasks import TASKS, assign
from taiyi_ray.tasks.task import Assignment, NotApplicable, Question
from taiyi_ray.tasks.vocabulary import Term

Gold = tuple[Document, Annotations]


def english(*texts: str) -> Document:
    return Document("d", passages(("text", "en", text) for text in texts))


def chinese(*texts: str) -> Document:
    return Document("d", passages(("text", "zh", text) for text in texts))


def asked(
    task: str,
    names: str | Sequence[Term] = "",
    *,
    grammar: bool = True,
    document_first: bool = False,
    **options: object,
) -> Assignment:
    """A task with these options.

    Args:
        names: mention types or relations, named with commas between; all default ones without any.
            Types are asked about together, unless `ask` says otherwise.
    """
    if names:
        given = names.split(",") if isinstance(names, str) else list(names)
        options["types" if task == "ner" else "relations"] = given
    if task == "ner":
        options.setdefault("ask", "together")
    (assignment,) = assign([task], {task: options}, grammar=grammar)
    return replace(assignment, document_first=document_first)


OPTIONS: dict[str, dict[str, object]] = {
    "ner": {"types": ["disease", "gene"], "ask": "together"},
    "re": {"relations": ["treatment"]},
    "ee": {"types": {"Binding": ["Theme", "Site"], "反应": {"roles": ["部位"], "trigger": None}}},
    "tc": {"labels": ["Treatment", "Risk: high"], "multi_label": True},
    "qa": {"form": "yes_no_maybe", "questions": {"safe": "Is it safe?"}},
    "summary": {"sentences": 1},
    "nen": {"terms": {"D1": ["Aspirin", "阿司匹林"], "D2": ["Pain"]}, "mentions": "names"},
    "act": {"labels": ["Treatment", "yes"]},
}
"""Options for every task that wants some, and few types where it has many."""


def every(*names: str, **settings: bool) -> list[Assignment]:
    """All tasks, or those of these names, with OPTIONS."""
    return [asked(name, **OPTIONS.get(name, {}), **settings) for name in names or TASKS]


def questions(assignment: Assignment, document: Document) -> list[Question]:
    """The questions on a document, none where the task does not apply."""
    try:
        return assignment.questions(document)
    except NotApplicable:
        return []


def back(assignment: Assignment, document: Document, gold: Annotations) -> Annotations:
    """What is read from the answers that state the gold; each must be in the form asked for."""
    found = []
    for question in assignment.questions(document):
        answer = assignment.task.target(question, gold)
        parsed = assignment.task.parse(answer, question, document)
        assert parsed.problem is None, (answer, parsed.problem)
        found.append(parsed.annotations)
    return merge(found)


def everything(text: str = "Aspirin eased pain.", chinese: str = "阿司匹林缓解头痛。") -> Document:
    """A document that most tasks have something to ask about."""
    return Document("d", passages([("patient", "en", text), ("patient", "zh", chinese)]))


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
