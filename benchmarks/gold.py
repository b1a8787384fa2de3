"""Gold mentions to ask for, and the question forms that are compared on them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from taiyi_ray import catalogue
from taiyi_ray.records import Annotations, Document
from taiyi_ray.tasks import ner
from taiyi_ray.tasks.task import Assignment, Question
from taiyi_ray.tasks.template import SHORT_FORM
from taiyi_ray.tasks.vocabulary import MENTION_TYPES, Term, terms
from tests import samples

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

NAMES = {
    "BC5CDR": "bc5cdr",
    "NCBI disease": "ncbi_disease",
    "CMeEE": "CMeEE-V2",
    "cMedQANER": "cMedQANER",
}
"""The names in the catalogue of the corpora that the tables name."""

_CHINESE = terms(["disease", "symptom", "anatomy", "chemical"], MENTION_TYPES)
TYPES = {
    "BC5CDR": terms(["chemical", "disease"], MENTION_TYPES),
    "NCBI disease": terms(["disease"], MENTION_TYPES),
    "CMeEE": _CHINESE,
    "cMedQANER": _CHINESE,
}
"""The asked types; of the Chinese corpora the four that a drug or disease search needs."""

_IN_ORDER = {"en": ", in the order of the text", "zh": "，按出现的先后排列"}


def train(corpus: str) -> Iterator[samples.Gold]:
    """Documents to fine-tune on; raises ConfigError where the owner does not allow it."""
    entry = catalogue.entry(NAMES[corpus])
    catalogue.check_terms([entry], [])
    return _asked(corpus, "train")


def held_out(corpus: str, size: int) -> list[samples.Gold]:
    """The first documents of the development part."""
    return list(islice(_asked(corpus, "dev"), size))


def _asked(corpus: str, split: str) -> Iterator[samples.Gold]:
    asked = {term.name for term in TYPES[corpus]}
    for document, gold in samples.corpus(DATA, NAMES[corpus], split):
        yield document, Annotations([m for m in gold.mentions if m.type in asked])


@dataclass(frozen=True, slots=True)
class Form:
    """How mentions are asked for: the choices that a model sees."""

    together: bool = True
    document_first: bool = False
    text_order: bool = True
    short: bool = False
    """The short form, whose question says nothing of an order."""

    def questions(
        self, document: Document, types: tuple[Term, ...], *, grammar: bool = False
    ) -> list[Question]:
        """The questions in this form."""
        ask = "together" if self.together else "apart"
        options = ner.Options(types=types, ask=ask)
        assignment = Assignment(ner.TASK, options, grammar, self.document_first)
        if self.short:
            assignment = assignment.in_form(SHORT_FORM)
        asked = ner.questions(document, assignment)
        return (
            asked if self.text_order or self.short else [_unordered(question) for question in asked]
        )

    def target(self, question: Question, gold: Annotations, order: random.Random) -> str:
        """The answer that a model in training sees: in text order, or in none."""
        answer = ner.TASK.answer(question, gold)
        if self.text_order or self.short:
            return answer
        heads = ner.heads(question.types, question.language)
        shuffled = []
        for line in answer.split("\n"):
            head = next((head for head in heads if line.startswith(head)), "")
            items = line[len(head) :].split("; ")
            order.shuffle(items)
            shuffled.append(head + "; ".join(items))
        return "\n".join(shuffled)


def _unordered(question: Question) -> Question:
    (message,) = question.messages
    phrase = _IN_ORDER[question.language]
    assert phrase in message["content"]
    return replace(
        question, messages=[message | {"content": message["content"].replace(phrase, "")}]
    )
