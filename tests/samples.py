"""Documents for the tests of the tasks: made up, and gold ones of the catalogue's datasets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from taiyi_ray import catalogue
from taiyi_ray.merging import merge
from taiyi_ray.records import Annotations, Document, passages
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


def corpus(data_root: Path, name: str, *splits: str) -> Iterator[Gold]:
    """Documents of some splits of a dataset of the catalogue, with their gold."""
    for split in splits:
        for document in catalogue.load(name, split, data_root=data_root):
            yield document, document.gold
