"""Instructions: what a document with gold annotations becomes, one row for each question.

A row holds the chat that a model is trained on, its last message being the answer that states the
gold. The same questions are asked in production, so there is nothing to keep in step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import BaseModel

from taiyi_ray.instruct.draws import Draws, times
from taiyi_ray.records import Annotations, Document
from taiyi_ray.tasks.task import Assignment, Message, NotApplicable, Question

STAGE_TWO = frozenset({"qa", "dialogue", "chat"})
"""The tasks that only the second stage trains, which trains all others too."""

TYPES = {"ner": "types", "re": "relations", "ee": "types"}
"""The option that lists what a question names, of the tasks that can ask about a part of it."""

_OF_WINDOWS = frozenset({"ner", "re", "ee", "nen", "coref", "causal"})
"""The tasks whose answers state what stands in the window that a question shows."""

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

SCHEMA = pa.schema(
    [
        pa.field(name, type_, metadata={"description": description})
        for name, type_, description in (
            ("messages", _MESSAGES, "the chat, with the answers of the assistant"),
            ("prompt", _MESSAGES, "the chat without its answer; null where it has more than one"),
            ("completion", _MESSAGES, "the answer alone; null where there is more than one"),
            ("dataset", pa.string(), "name of the catalogue's entry"),
            ("task", pa.string(), "name of the task"),
            ("language", pa.string(), "language of the question: en or zh"),
            ("types", pa.list_(pa.string()), "what the question names: types, relations, labels"),
            ("wording", pa.int32(), "number of the wording of the question, from 1"),
            ("document_first", pa.bool_(), "whether the document stands before the instruction"),
            ("split", pa.string(), "split of the dataset that the document is of"),
            ("stage", pa.int32(), "1 or 2: the first stage that trains it"),
            ("group", pa.string(), "questions about one text share it: they can share its tokens"),
            ("document_id", pa.string(), "the dataset's own identifier of the document"),
        )
    ]
)
"""The columns of an instruction."""


class Mix(BaseModel, frozen=True):
    """How documents of a dataset become instructions of one task.

    Attributes:
        rate: records of a document, on average. The first asks about all types together; each
            further one asks about a single type, or in another wording where there are no types.
        ask: `mixed` as above; `together` and `apart` ask about all types of every document in one
            question, or each in its own, and use `rate` only below 1, to sample documents.
        negatives: the share that is kept of the questions about a single type without any gold.
        wordings: the numbers of the wordings to draw from, from 1.
        first: the share of documents that stand before their instructions.
        characters: the most characters of a document that one question shows.
        headed: whether an answer keeps its head when it says that there is nothing.
    """

    rate: float
    ask: Literal["mixed", "together", "apart"]
    negatives: float
    wordings: tuple[int, ...]
    first: float
    characters: int
    headed: bool = False

    def asked(self, documents: int, types: int) -> int:
        """How many questions documents get, each in one window, before any is left out.

        Args:
            documents: the number of documents.
            types: how many types can be asked about apart; 0 for a task that has none.
        """
        drawn = documents * (self.rate if self.ask == "mixed" else min(self.rate, 1.0))
        return round(drawn * (types or 1 if self.ask == "apart" else 1))


@dataclass(slots=True)
class Tally:
    """What was counted while instructions were made.

    Each document that was read is used, not drawn, or has a reason among those of `rejected`.

    Attributes:
        documents: documents that were read.
        used: documents that gave an instruction.
        not_drawn: documents that gave none because a rate below 1 passed over them, or because all
            that was asked about them were questions without gold, and none of these was kept.
        rejected: documents, and questions of one, that gave none, by reason.
        overlaps: documents that occur in a test set, as `kind in dataset`.
        lost: gold that an answer cannot state, as `task: reason`.
        instructions: instructions, as `task/language/wording`.
    """

    documents: int = 0
    used: int = 0
    not_drawn: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    overlaps: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    instructions: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Add the counts of another tally to these."""
        self.documents += other.documents
        self.used += other.used
        self.not_drawn += other.not_drawn
        for name in ("rejected", "overlaps", "lost", "instructions"):
            getattr(self, name).update(getattr(other, name))

    def as_dict(self) -> dict[str, Any]:
        """The counts as JSON can hold them, in a fixed order."""
        return {
            f.name: dict(sorted(value.items())) if isinstance(value, Counter) else value
            for f in fields(self)
            for value in [getattr(self, f.name)]
        }

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """Read what `as_dict` made."""
        counted: dict[str, Any] = {
            name: Counter(value) if isinstance(value, dict) else value
            for name, value in values.items()
        }
        return cls(**counted)


def rows(
    document: Document,
    assignment: Assignment,
    mix: Mix,
    *,
    dataset: str,
    split: str,
    seed: int,
    tally: Tally,
) -> Iterator[dict[str, Any]]:
    """Yield the instructions of one task on a document, as rows of SCHEMA.

    Args:
        document: the document, with its gold and its position.
        assignment: the task, about everything that the dataset annotates.
        mix: how the dataset's documents become instructions of this task.
        dataset: the name of the dataset.
        split: the split that the document is of.
        seed: the seed of all draws.
        tally: counts what is made, lost and rejected.
    """
    task = assignment.task.name
    draws = Draws(seed, (dataset, split, document.position))
    start = Draws(seed, (dataset, task)).uniform("start")
    uses = times(document.position, mix.rate, start)
    first = draws.uniform("first") < mix.first
    for number, asked in enumerate(_asked(assignment, mix, uses, draws)):
        name = f"{task}/{number}"
        wording = mix.wordings[draws.index(f"wording/{name}", len(mix.wordings))]
        options = asked.options.model_copy(update={"wording": wording})
        worded = replace(asked, options=options, document_first=first, headed=mix.headed)
        try:
            lessons = worded.task.lessons(document, worded, mix.characters)
        except NotApplicable:
            lessons = []
        if not lessons:
            tally.rejected[f"{task}: nothing to ask"] += 1
            return
        if task not in _OF_WINDOWS and _in_windows([question for question, _ in lessons]):
            tally.rejected[f"{task}: too long"] += 1
            return
        for question, gold in lessons:
            answer = _answer(worded, question, gold, tally)
            if answer is None:
                continue
            single = task in TYPES and len(question.types) == 1 and mix.ask != "together"
            empty = single and answer == worded.task.target(question, Annotations())
            if empty and draws.uniform(f"negative/{name}/{question.window.index}") >= mix.negatives:
                continue
            tally.instructions[f"{task}/{question.language}/{wording}"] += 1
            messages = worded.task.conversation(question, gold)
            yield _row(question, messages, document, dataset, split, wording, first)


def _in_windows(questions: Sequence[Question]) -> bool:
    """Whether the same is asked of parts of a text: no part may be answered by the whole's gold."""
    asked = Counter((question.language, question.key) for question in questions)
    return any(number > 1 for number in asked.values())


def _asked(assignment: Assignment, mix: Mix, uses: int, draws: Draws) -> Iterator[Assignment]:
    """The task as it is asked about one document: once for each use."""
    option = TYPES.get(assignment.task.name)
    every = getattr(assignment.options, option) if option else ()

    def about(types: Sequence[Any]) -> Assignment:
        if option is None:
            return assignment
        given = {option: tuple(types)} | ({"ask": "together"} if option == "types" else {})
        known = {k: v for k, v in given.items() if k in type(assignment.options).model_fields}
        return replace(assignment, options=assignment.options.model_copy(update=known))

    if not uses:
        return
    if mix.ask == "apart" and option:
        yield from (about([type_]) for type_ in every)
        return
    yield about(every)
    if mix.ask == "mixed":
        singles = draws.order(f"types/{assignment.task.name}", every) if len(every) > 1 else []
        for number in range(uses - 1):
            yield about([singles[number % len(singles)]] if singles else every)


def _answer(
    assignment: Assignment, question: Question, gold: Annotations, tally: Tally
) -> str | None:
    """The answer that states the gold; None when there is none to state, which is counted."""
    task = assignment.task
    if question.types and not question.multi_label:  # one label is true
        names = {term.name for term in question.types}
        mine = [label.label for label in gold.labels if label.task == question.key]
        if not mine or not names.issuperset(mine):
            reason = "no label" if not mine else "the label is not in the label list"
            tally.rejected[f"{task.name}: {reason}"] += 1
            return None
    tally.lost.update({f"{task.name}: {why}": n for why, n in task.lost(question, gold).items()})
    answer = task.target(question, gold)
    if not answer.strip():
        tally.rejected[f"{task.name}: no answer"] += 1
        return None
    return answer


def _row(
    question: Question,
    messages: list[Message],
    document: Document,
    dataset: str,
    split: str,
    wording: int,
    first: bool,
) -> dict[str, Any]:
    of_document = f"{dataset}/{split}/{document.position}"
    single = len(messages) == 2
    return {
        "messages": messages,
        "prompt": messages[:1] if single else None,
        "completion": messages[1:] if single else None,
        "dataset": dataset,
        "task": question.task,
        "language": question.language,
        "types": [term.name for term in question.types],
        "wording": wording,
        "document_first": first,
        "split": split,
        "stage": 2 if question.task in STAGE_TWO else 1,
        "group": f"{of_document}/{question.language}{question.window.index}",
        "document_id": document.document_id,
    }
