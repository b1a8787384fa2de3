"""Documents + tasks + an engine -> annotated documents, in asyncio and without Ray.

The corpus job, the endpoint and the evaluation all annotate through this module.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from taiyi_ray.engine.engine import Completion, Engine, Prompt
from taiyi_ray.errors import ConfigError, EngineDied, QuestionError, ServerGone
from taiyi_ray.forms import running
from taiyi_ray.records import (
    NOT_APPLICABLE,
    SEPARATOR,
    Annotations,
    Answer,
    Document,
    Event,
    Failure,
    Label,
    Mention,
    Relation,
    Status,
    Text,
    as_values,
    document_row,
    passages,
    storable_text,
)
from taiyi_ray.tasks.answering import OWN_QUESTION
from taiyi_ray.tasks.task import LANGUAGES, Assignment, NotApplicable, Parsed, Question, Task

_log = logging.getLogger(__name__)

SECOND_CHANCE = 2
"""An answer that was cut is asked for once more, with so many times the tokens."""

_Asked = tuple[Task, Question, Prompt]

_SHARE, _LEAST_SHARE = 1 / 4, 16
"""One document has at most this part of the questions that an engine answers at once, and so many
in any case: a question on each of a dozen types shares its text with the others."""

_SMALLEST_WINDOW = 64
_LONGEST_TOKEN = 32
"""A window of more characters a token than that is not tried: of usual text a token holds four."""

_CUT = {"length": "cut_off", "repetition": "repetition"}

_INSTRUCTION = 1000
"""Characters, more or less, of an instruction around a document's own question."""
_CHARACTERS_A_TOKEN = {"en": 3, "zh": 1}
"""The fewest that are usual; prompts are measured by it where none is made."""


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


def internal_error(document: Document, error: Exception) -> Annotated:
    """A document that met a fault of ours: `failed`; the log has the whole of the fault."""
    where = document.source or "a request"
    _log.error("document %s of %s", document.position, where, exc_info=error)
    return failed(document, "internal_error", f"{type(error).__name__}: {error}")


async def guarded(annotator: Annotator, document: Document) -> Annotated:
    """Annotate one document; a fault of ours is a `failed` row as well, so that the others go on.

    Raises:
        EngineDied, ServerGone, ConfigError: no document is to blame.
    """
    try:
        return await annotator.annotate(document)
    except (EngineDied, ServerGone, ConfigError):
        raise
    except Exception as error:
        return internal_error(document, error)


@dataclass(slots=True)
class _Outcome:
    """What became of one question; None stands for a task whose questions were too long.

    `usable` is False when it gave nothing at all.
    """

    question: Question | None
    answers: list[Answer]
    annotations: Annotations
    failure: Failure | None = None
    usable: bool = True


class Annotator:
    """Annotates documents concurrently; at most `engine.most_in_flight` at a time.

    What is long work on a long text (making prompts, reading answers) is done in threads: the loop
    goes on with all else.

    Args:
        engine: what answers the questions.
        assignments: what to find; several share a document's prefix in the engine's cache.
        max_tokens: of an answer, at the first attempt.
    """

    def __init__(self, engine: Engine, assignments: Sequence[Assignment], max_tokens: int) -> None:
        self._engine = engine
        self._assignments = assignments
        self._max_tokens = max_tokens
        self._room = asyncio.Semaphore(engine.most_in_flight)
        self._tokens = engine.context_limit - min(max_tokens, engine.context_limit // 2)
        self._lengths: dict[tuple[int, str], list[int]] = {}
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
        outcomes, reasons = await self._outcomes(document)
        return await asyncio.to_thread(_joined, document, outcomes, reasons)

    async def _outcomes(self, document: Document) -> tuple[list[_Outcome], list[Failure]]:
        """What became of every question, and why tasks have none; the questions asked at once."""
        asked, failures = await asyncio.to_thread(self.asked, document)
        reasons = [failure for failure in failures if failure.kind == NOT_APPLICABLE]
        too_long = [
            _Outcome(None, [], Annotations(), failure, usable=False)
            for failure in failures
            if failure.kind != NOT_APPLICABLE
        ]
        return await self._ask_all(asked, document) + too_long, reasons

    def asked(self, document: Document) -> tuple[list[_Asked], list[Failure]]:
        """All questions on a document, with their prompts, in windows that fit the context.

        And why some tasks have none: they do not apply, or are too long however they are cut.
        """
        asked: list[_Asked] = []
        failures: list[Failure] = []
        for assignment in self._assignments:
            task = assignment.task
            try:
                fitting = self._fitting(assignment, document)
            except NotApplicable as reason:
                failures.append(Failure(NOT_APPLICABLE, task.name, str(reason)))
            except QuestionError as error:
                failures.append(Failure("too_long", task.name, str(error)))
            else:
                asked += [(task, question, prompt) for question, prompt in fitting]
        return asked, failures

    async def _ask_all(self, asked: Sequence[_Asked], document: Document) -> list[_Outcome]:
        """Ask all at once: what questions share of their prompts, the engine computes once.

        A long document (a book in a thousand windows) does not hold the others: it never has more
        than its share of the engine.
        """
        share = asyncio.Semaphore(max(_LEAST_SHARE, int(_SHARE * self._engine.most_in_flight)))

        async def ask(one: _Asked) -> _Outcome:
            async with share:
                return await self._ask(*one, document)

        return list(await asyncio.gather(*map(ask, asked)))

    def size(self, document: Document) -> int:
        """How many characters all prompts about a document have, more or less; none is made.

        A prompt is an instruction and a window of the text. How many questions there are on a
        window, and how long their instructions are, shows on a text of one word; where that asks
        nothing, the document itself does.
        """
        if document.status != "ok":
            return 0
        of_language: Counter[str] = Counter()
        for passage in document.passages:
            of_language[passage.language] += len(passage.text)
        languages = [language for language in LANGUAGES if of_language[language]]
        own = [len(p.text) + _INSTRUCTION for p in document.passages if p.type == OWN_QUESTION]
        total = 0
        for number in range(len(self._assignments)):
            on_a_word = {language: self._on_a_word(number, language) for language in languages}
            if not any(on_a_word.values()):
                total += self._size(of_language.total(), own or [_INSTRUCTION], "zh")
            for language, instructions in on_a_word.items():
                total += self._size(of_language[language], instructions, language)
        return total

    def _size(self, text: int, instructions: Sequence[int], language: str) -> int:
        """Characters of the prompts with these instructions about so many characters of text."""
        room = self._tokens * _CHARACTERS_A_TOKEN[language] - max(instructions, default=0)
        windows = -(-text // max(_SMALLEST_WINDOW, room))
        return len(instructions) * text + windows * sum(instructions)

    def _on_a_word(self, number: int, language: str) -> list[int]:
        """How long each question of an assignment is on a text of one word."""
        if (number, language) not in self._lengths:
            word = Document("", passages([("text", language, "word")]))
            try:
                questions = self._assignments[number].questions(word)
            except NotApplicable:
                questions = []
            self._lengths[number, language] = [
                sum(len(message["content"]) for message in question.messages)
                for question in questions
            ]
        return self._lengths[number, language]

    def _fitting(self, assignment: Assignment, document: Document) -> list[tuple[Question, Prompt]]:
        """A task's questions with their prompts, in windows small enough for the context.

        Raises:
            NotApplicable: there are none.
            QuestionError: the instruction alone leaves no room for text and answer.
        """
        limit = self._tokens * _LONGEST_TOKEN
        while True:
            asked: list[tuple[Question, Prompt]] = []
            for question in assignment.questions(document, limit):
                prompt = self._engine.prompt(question)
                if prompt.tokens > self._tokens:
                    break
                asked.append((question, prompt))
            else:
                return asked
            shown = len(question.window.text)
            limit = min(int(shown * self._tokens / prompt.tokens * 0.95), int(shown * 0.9))
            if limit < _SMALLEST_WINDOW:
                raise QuestionError(
                    f"the prompt of {assignment.task.name} takes {prompt.tokens} of "
                    f"{self._engine.context_limit} tokens however little text it holds; raise "
                    "--context-limit or ask for less"
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
                completion = _storable(await self._engine.complete(question, prompt, allowed))
            except QuestionError as error:
                answers.append(_answer(question, attempt, None, prompt, "engine_error"))
                problem, message = "engine_error", storable_text(str(error))
                break
            cut = _CUT.get(completion.finish_reason)
            parsed = await asyncio.to_thread(
                task.parse,
                completion.text,
                question,
                document,
                cut=bool(cut),
                scores=completion.scores,
            )
            problem = cut or parsed.problem
            message = f"the answer ended after {completion.output_tokens} tokens" if cut else ""
            answers.append(_answer(question, attempt, completion, prompt, problem))
            if cut != "cut_off" or allowed == min(first * SECOND_CHANCE, room):
                break
        annotations = parsed.annotations if parsed else Annotations()
        if problem is None or problem == "not_in_text":
            return _Outcome(question, answers, annotations)
        where = f"{question.key} {question.language} window {question.window.index}"
        return _Outcome(
            question,
            answers,
            annotations,
            Failure(problem, where, message or "the answer is not in the form asked for"),
            usable=annotations != Annotations() or problem in _CUT.values(),
        )


_MOST_TOKENS = (1 << 31) - 1


def _storable(completion: Completion) -> Completion:
    """The answer as a row can hold it, whatever an engine says.

    Half a character (a lone surrogate) becomes U+FFFD, a count is within 32 bits, and scores that
    are no numbers are none.
    """
    scores = completion.scores
    if scores is not None:
        scores = replace(scores, text=storable_text(scores.text))
        if any(math.isnan(logprob) for logprob in scores.logprobs):
            scores = None
    return replace(
        completion,
        text=storable_text(completion.text),
        scores=scores,
        prompt_tokens=_count(completion.prompt_tokens),
        cached_tokens=_count(completion.cached_tokens),
        output_tokens=_count(completion.output_tokens),
    )


def _count(tokens: int) -> int:
    return min(max(tokens, 0), _MOST_TOKENS)


def _answer(
    question: Question,
    attempt: int,
    completion: Completion | None,
    prompt: Prompt,
    error: str | None,
) -> Answer:
    return Answer(
        task=question.key,
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


def _joined(
    document: Document, outcomes: Sequence[_Outcome], reasons: Sequence[Failure]
) -> Annotated:
    """A document with what became of all questions on it."""
    errors = [outcome.failure for outcome in outcomes if outcome.failure]
    status: Status = "partial" if errors else "ok"
    if outcomes and not any(outcome.usable for outcome in outcomes):
        status = "failed"
    _over_windows(outcomes)
    return Annotated(
        document,
        merge([outcome.annotations for outcome in outcomes]),
        [answer for outcome in outcomes for answer in outcome.answers],
        status,
        [*document.errors, *errors, *reasons],
    )


def _over_windows(outcomes: Sequence[_Outcome]) -> None:
    """Make of the answers to the same question about several windows the one for the document.

    Texts in one language are joined by a line feed, in order. Where one label is true, the first
    that was given counts, in whatever language.
    """
    texts: dict[tuple[str, str], tuple[Text, list[str]]] = {}
    labelled: set[str] = set()
    for outcome in outcomes:
        question, found = outcome.question, outcome.annotations
        if question is None:
            continue
        for text in list(found.texts):
            whole, parts = texts.setdefault((text.task, question.language), (text, []))
            parts.append(text.text)
            if whole is not text:
                found.texts.remove(text)
        if found.labels and not question.several:
            if question.key in labelled:
                found.labels.clear()
            labelled.add(question.key)
    for whole, parts in texts.values():
        whole.text = SEPARATOR.join(parts)


_Place = tuple[int | None, int | None, str]
_Places = dict[_Place, dict[str | None, Mention]]


def _place(mention: Mention) -> _Place:
    return (mention.start, mention.end, mention.text)


def merge(parts: Sequence[Annotations]) -> Annotations:
    """Join the annotations of several answers about one document.

    The same mention is kept once; a mention without a type (known from a relation or as an argument
    only) gives way to those with a type at its place; mentions are numbered in text order. The same
    relation, event or label is kept once as well, every text as it is.
    """
    places: _Places = {}
    for part in parts:
        for mention in part.mentions:
            at = places.setdefault(_place(mention), {})
            if mention.type not in at or mention.grounded == "exact":
                at[mention.type] = mention
    for at in places.values():
        if len(at) > 1:
            at.pop(None, None)
    old = [{mention.id: (_place(mention), mention.type) for mention in p.mentions} for p in parts]
    merged = Annotations(
        mentions=sorted(
            (mention for at in places.values() for mention in at.values()),
            key=lambda m: (m.start is None, m.start or 0, -(m.end or 0), m.type or "", m.text),
        )
    )
    for number, mention in enumerate(merged.mentions):
        mention.id = number
    merged.relations = _relations(parts, old, places, merged.mentions)
    merged.events = _events(parts, old, places)
    labels: dict[tuple[str, str], Label] = {}
    for part in parts:
        for label in part.labels:
            labels.setdefault((label.task, label.label), label)
    merged.labels = list(labels.values())
    merged.texts = [text for part in parts for text in part.texts]
    return merged


_Known = dict[int, tuple[_Place, str | None]]
"""Where the mentions of an answer stand, and their types, by the numbers they had in it."""


def _relations(
    parts: Sequence[Annotations],
    old: Sequence[_Known],
    places: _Places,
    mentions: Sequence[Mention],
) -> list[Relation]:
    """The relations, their parts by the new numbers of all mentions with these surfaces."""
    of_surface: dict[str, list[int]] = {}
    for mention in mentions:
        of_surface.setdefault(running(mention.text), []).append(mention.id)
    relations: dict[tuple[str, str, str], tuple[Relation, set[int], set[int]]] = {}
    for part, known in zip(parts, old, strict=True):
        for relation in part.relations:
            key = (relation.type, relation.head_text, relation.tail_text)
            _, head, tail = relations.setdefault(key, (relation, set(), set()))
            head.update(_ids(relation.head, known, places))
            tail.update(_ids(relation.tail, known, places))
    for number, (relation, head, tail) in enumerate(relations.values()):
        relation.id = number
        relation.head = sorted(head.union(of_surface.get(running(relation.head_text), ())))
        relation.tail = sorted(tail.union(of_surface.get(running(relation.tail_text), ())))
    return [relation for relation, _, _ in relations.values()]


def _ids(numbers: list[int], known: _Known, places: _Places) -> list[int]:
    """Numbers in the merged list of the mentions that stand where these stood."""
    return [m.id for number in numbers for m in places[known[number][0]].values()]


def _events(parts: Sequence[Annotations], old: Sequence[_Known], places: _Places) -> list[Event]:
    """The events, their trigger and arguments by the new numbers of their mentions."""
    events: dict[tuple[object, ...], Event] = {}
    for part, known in zip(parts, old, strict=True):
        for event in part.events:
            event.trigger = _id(event.trigger, known, places)
            for argument in event.arguments:
                argument.mention = _id(argument.mention, known, places)
            players = frozenset((a.role, a.mention, a.text) for a in event.arguments)
            events.setdefault((event.type, event.trigger, players), event)
    for number, event in enumerate(events.values()):
        event.id = number
    return list(events.values())


def _id(number: int | None, known: _Known, places: _Places) -> int | None:
    """The number in the merged list of this mention, or of the first that took its place."""
    if number is None:
        return None
    place, type_ = known[number]
    at = places[place]
    return at[type_].id if type_ in at else min(mention.id for mention in at.values())
