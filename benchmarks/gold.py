"""Gold mentions to ask for, and the question forms that are compared on them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from taiyi_ray.records import Annotations, Document
from taiyi_ray.tasks import ner
from taiyi_ray.tasks.task import Assignment, Question
from taiyi_ray.tasks.vocabulary import Term
from tests import samples

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

DISEASE = Term("disease", "disease", "疾病")
TYPES = {
    "BC5CDR": (Term("chemical", "chemical", "药物"), DISEASE),
    "NCBI disease": (DISEASE,),
    "CMeEE": (
        Term("dis", "disease", "疾病"),
        Term("sym", "symptom", "临床表现"),
        Term("bod", "anatomy", "身体部位"),
        Term("dru", "chemical", "药物"),
    ),
}
"""The asked types; of CMeEE's nine the four most frequent that a drug or disease search needs."""

_IN_ORDER = {"en": ", in the order of the text", "zh": "，按出现的先后排列"}


def train(corpus: str) -> Iterator[samples.Gold]:
    """Documents to fine-tune on; disjoint from `held_out`."""
    if corpus == "BC5CDR":
        return _pubtator("bc5cdr/CDR_TrainingSet.PubTator.txt.gz", None)
    if corpus == "NCBI disease":
        return _pubtator("ncbi-disease/NCBItrainset_corpus.txt.gz", "disease")
    return islice(_cmeee(), 500, None)


def held_out(corpus: str, size: int) -> list[samples.Gold]:
    """The first documents of the development part, CMeEE's of the only part there is."""
    if corpus == "BC5CDR":
        found = _pubtator("bc5cdr/CDR_DevelopmentSet.PubTator.txt.gz", None)
    elif corpus == "NCBI disease":
        found = _pubtator("ncbi-disease/NCBIdevelopset_corpus.txt.gz", "disease")
    else:
        found = islice(_cmeee(), 500)
    return list(islice(found, size))


def _pubtator(name: str, type_: str | None) -> Iterator[samples.Gold]:
    for document, gold in samples.pubtator(DATA / name):
        for mention in gold.mentions:
            mention.type = type_ or mention.type
        yield document, gold


def _cmeee() -> Iterator[samples.Gold]:
    asked = {term.name for term in TYPES["CMeEE"]}
    for document, gold in samples.cmeee(DATA / "cmeee-v2" / "CMeEE-V2_dev_first2500.json.gz"):
        yield document, Annotations([m for m in gold.mentions if m.type in asked])


@dataclass(frozen=True, slots=True)
class Form:
    """How mentions are asked for: the three choices that a model sees."""

    together: bool = True
    document_first: bool = False
    text_order: bool = True

    def questions(
        self, document: Document, types: tuple[Term, ...], *, grammar: bool = False
    ) -> list[Question]:
        """The questions in this form."""
        ask = "together" if self.together else "apart"
        options = ner.Options(types=types, ask=ask)
        assignment = Assignment(ner.TASK, options, grammar, self.document_first)
        asked = ner.questions(document, assignment)
        return asked if self.text_order else [_unordered(question) for question in asked]

    def target(self, question: Question, gold: Annotations, order: random.Random) -> str:
        """The answer that a model in training sees: in text order, or in none."""
        answer = ner.target(question, gold)
        if self.text_order:
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
