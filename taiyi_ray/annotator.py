"""Documents + tasks + an engine -> annotated documents, in asyncio and without Ray.

The corpus job, the endpoint and the evaluation all annotate through this module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from taiyi_ray.engine import Completion, Engine, Prompt
from taiyi_ray.errors import EngineDied, QuestionError
from taiyi_ray.records import (
    Annotations,
    Answer,
    Document,
    Failure,
    Mention,
    Relation,
    Status,
    as_values,
    document_row,
)
from taiyi_ray.tasks.task import Options, Parsed, Question, Task

SECOND_CHANCE = 2
"""An answer that was cut is asked for once more, with so many times the tokens."""

_Asked = tuple[Task, Question, Prompt]

_SMALLEST_WINDOW = 64
_CUT = {"length": "cut_off", "repetition": "repetition"}


@dataclass(slots=True)
class Annotated:
    """A document with all that was found in it, and all that was asked and answered."""

    document: Document
    annotations: Annotations = field(default_factory=Annotations)
    answers: list[Answer] = field(default_factory=list)
    status: Status = "ok"
    errors: list[Failure] = field(default_factory=list)

    def row(self, *, unit: str, run_id: str, fingerprint: str) -> dict[str, Any]:
        """The row of OUT/annotations (records.SCHEMA)."""
        return {
            **document_row(self.document),
            **as_values(self.annotations),
            "answers": as_values(self.answers),
            "status": self.status,
            "errors": as_values(self.errors),
            "unit": unit,
            "run_id": run_id,
            "fingerprint": fingerprint,
            "content_hash": self.document.content_hash(),
        }


def failed(document: Document, kind: str, message: str) -> Annotated:
    """A document that could not be annotated at all."""
    failure = Failure(kind, document.document_id or f"record {document.position}", message)
    return Annotated(document, status="failed", errors=[*document.errors, failure])


@dataclass(slots=True)
class _Outcome:
    """What became of one question. `usable` is False when it gave nothing at all."""

    answers: list[Answer]
    annotations: Annotations
    failure: Failure | None = None
    usable: bool = True


class Annotator:
    """Annotates documents concurrently; at most `engine.most_in_flight` at a time.

    Args:
        engine: what answers the questions.
        tasks: what to find; several share a document's prefix in the engine's cache.
        options: the types, and whether answers are constrained.
        max_tokens: of an answer, at the first attempt.
    """

    def __init__(
        self, engine: Engine, tasks: Sequence[Task], options: Options, max_tokens: int
    ) -> None:
        self._engine = engine
        self._tasks = tasks
        self._options = options
        self._max_tokens = max_tokens
        self._room = asyncio.Semaphore(engine.most_in_flight)
        self.in_flight: set[tuple[str, int]] = set()
        """Keys (source, position) of the documents with questions at the engine."""

    async def annotate(self, document: Document) -> Annotated:
        """Annotate one document; whatever is wrong with it or its answers is in the result.

        Raises:
            EngineDied: the engine is gone, and this document was in flight.
        """
        if document.status != "ok":
            return Annotated(document, status=document.status, errors=document.errors)
        key = (document.source, document.position)
        async with self._room:
            self.in_flight.add(key)
            try:
                annotated = await self._annotate(document)
            except EngineDied:
                raise  # the key stays: it names what was in flight
            except BaseException:
                self.in_flight.discard(key)
                raise
            self.in_flight.discard(key)
            return annotated

    async def _annotate(self, document: Document) -> Annotated:
        try:
            outcomes = await self._outcomes(document)
        except QuestionError as error:
            return failed(document, "too_long", str(error))
        errors = [outcome.failure for outcome in outcomes if outcome.failure]
        status: Status = "partial" if errors else "ok"
        if outcomes and not any(outcome.usable for outcome in outcomes):
            status = "failed"
        return Annotated(
            document,
            merge([outcome.annotations for outcome in outcomes]),
            [answer for outcome in outcomes for answer in outcome.answers],
            status,
            [*document.errors, *errors],
        )

    async def _outcomes(self, document: Document) -> list[_Outcome]:
        asked = [
            (task, question, prompt)
            for task in self._tasks
            for question, prompt in self._fitting(task, document)
        ]
        return await self._ask_all(asked, document)

    async def _ask_all(self, asked: Sequence[_Asked], document: Document) -> list[_Outcome]:
        """Ask all at once: what questions share of their prompts, the engine computes once."""
        return list(await asyncio.gather(*(self._ask(*one, document) for one in asked)))

    def _fitting(self, task: Task, document: Document) -> list[tuple[Question, Prompt]]:
        """The task's questions with their prompts, in windows small enough for the context.

        Raises:
            QuestionError: the instruction alone leaves no room for text and answer.
        """
        room = self._engine.context_limit - min(self._max_tokens, self._engine.context_limit // 2)
        limit = None
        while True:
            asked = [
                (question, self._engine.prompt(question))
                for question in task.questions(document, self._options, limit)
            ]
            worst = max((prompt.tokens for _, prompt in asked), default=0)
            if worst <= room:
                return asked
            widest = max(len(question.window.text) for question, _ in asked)
            limit = min(int(widest * room / worst * 0.95), int(widest * 0.9))
            if limit < _SMALLEST_WINDOW:
                raise QuestionError(
                    f"the prompt of {task.name} takes {worst} of {self._engine.context_limit} "
                    "tokens however little text it holds; raise --context-limit or ask fewer types"
                )

    async def _ask(
        self, task: Task, question: Question, prompt: Prompt, document: Document
    ) -> _Outcome:
        room = self._engine.context_limit - prompt.tokens
        first = min(self._max_tokens, room)
        answers: list[Answer] = []
        parsed: Parsed | None = None
        problem: str | None = None
        message = ""
        for attempt, allowed in enumerate((first, min(first * SECOND_CHANCE, room))):
            try:
                completion = await self._engine.complete(question, prompt, allowed)
            except QuestionError as error:
                answers.append(_answer(question, attempt, None, prompt, "engine_error"))
                problem, message = "engine_error", str(error)
                break
            cut = _CUT.get(completion.finish_reason)
            parsed = task.parse(
                completion.text, question, document, cut=bool(cut), scores=completion.scores
            )
            problem = cut or parsed.problem
            message = f"the answer ended after {completion.output_tokens} tokens" if cut else ""
            answers.append(_answer(question, attempt, completion, prompt, problem))
            if cut != "cut_off" or allowed == min(first * SECOND_CHANCE, room):
                break
        annotations = parsed.annotations if parsed else Annotations()
        if problem is None or problem == "not_in_text":
            return _Outcome(answers, annotations)
        where = f"{question.task} {question.language} window {question.window.index}"
        found = bool(annotations.mentions or annotations.relations)
        return _Outcome(
            answers,
            annotations,
            Failure(problem, where, message or "the answer is not in the form asked for"),
            usable=parsed is not None and (found or problem in _CUT.values()),
        )


def _answer(
    question: Question,
    attempt: int,
    completion: Completion | None,
    prompt: Prompt,
    error: str | None,
) -> Answer:
    return Answer(
        task=question.task,
        types=[term.name for term in question.types],
        language=question.language,
        window=question.window.index,
        attempt=attempt,
        raw=completion.text if completion else None,
        prompt_tokens=completion.prompt_tokens if completion else prompt.tokens,
        cached_tokens=completion.cached_tokens if completion else 0,
        output_tokens=completion.output_tokens if completion else 0,
        finish_reason=completion.finish_reason if completion else None,
        error=error,
    )


_Place = tuple[int | None, int | None, str]


def _place(mention: Mention) -> _Place:
    return (mention.start, mention.end, mention.text)


def merge(parts: Sequence[Annotations]) -> Annotations:
    """Join the annotations of several answers about one document.

    The same mention is kept once; a mention without a type (known from a relation only) gives way
    to those with a type at its place; mentions are numbered in text order.
    """
    places: dict[_Place, dict[str | None, Mention]] = {}
    for part in parts:
        for mention in part.mentions:
            at = places.setdefault(_place(mention), {})
            if mention.type not in at or mention.grounded == "exact":
                at[mention.type] = mention
    for at in places.values():
        if len(at) > 1:
            at.pop(None, None)
    place_of = [{mention.id: _place(mention) for mention in part.mentions} for part in parts]
    merged = Annotations(
        mentions=sorted(
            (mention for at in places.values() for mention in at.values()),
            key=lambda m: (m.start is None, m.start or 0, -(m.end or 0), m.type or "", m.text),
        )
    )
    for number, mention in enumerate(merged.mentions):
        mention.id = number
    of_surface: dict[str, list[int]] = {}
    for mention in merged.mentions:
        of_surface.setdefault(mention.text, []).append(mention.id)
    relations: dict[tuple[str, str, str], Relation] = {}
    for part, place in zip(parts, place_of, strict=True):
        for relation in part.relations:
            relation.head = _ids(relation.head, place, places)
            relation.head += of_surface.get(relation.head_text, [])
            relation.tail = _ids(relation.tail, place, places)
            relation.tail += of_surface.get(relation.tail_text, [])
            key = (relation.type, relation.head_text, relation.tail_text)
            same = relations.setdefault(key, relation)
            same.head = sorted({*same.head, *relation.head})
            same.tail = sorted({*same.tail, *relation.tail})
    merged.relations = list(relations.values())
    for number, relation in enumerate(merged.relations):
        relation.id = number
    return merged


def _ids(
    old: list[int], place: dict[int, _Place], places: dict[_Place, dict[str | None, Mention]]
) -> list[int]:
    """Numbers in the merged list of the mentions that stand where these stood."""
    return [mention.id for number in old for mention in places[place[number]].values()]
